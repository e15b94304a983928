"""Imports that need a disk, on machines where nothing can be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def need_no_temporary_folder() -> None:
    """Let PyTorch's compiler, which timm and torchvision import, do without a temporary folder.

    At import it creates its cache in the temporary folder, unless this variable names another. A
    read-only container or a full disk has none, and where ``tempfile`` falls back on the current
    folder, we must not write there. The variable then names a folder that exists. Only
    ``torch.compile`` would write to it.
    """
    if os.environ.get(_CACHE):
        return
    try:
        usable = Path(tempfile.gettempdir()) != Path.cwd()
    except OSError:
        usable = False
    if not usable:
        os.environ[_CACHE] = str(Path(__file__).parent)
