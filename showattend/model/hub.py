"""Models on the Hugging Face Hub: ``hf:user/name``, fetched once and kept in the Hub's own cache.

Nothing is downloaded unless a model is given in this form, and a line announces it. A copy in the
cache is used without asking the Hub; ``hf:user/name@REVISION`` selects another version.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from showattend.exceptions import CheckpointError

PREFIX = "hf:"
LIBRARY = "showattend"
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_log = logging.getLogger(__name__)


def is_hub(model: str) -> bool:
    """Whether a name refers to a model on the Hub."""
    return model.startswith(PREFIX)


def looks_like_hub(model: str) -> bool:
    """Whether a name could be a model's on the Hub, without the prefix."""
    return _REPOSITORY.fullmatch(model) is not None


def fetch(model: str, file_name: str, others: tuple[str, ...]) -> Path:
    """Find a model in the Hub's cache, or download it.

    Args:
        model: ``hf:user/name`` or ``hf:user/name@revision``.
        file_name: The model's file, without which it is refused.
        others: Files that may accompany it. No other file is downloaded.

    Returns:
        The path of the model's file in the cache.

    Raises:
        CheckpointError: The name has another form, there is no such model, it is not a showattend
            model, or the Hub cannot be reached.
    """
    repository, at, revision = model.removeprefix(PREFIX).partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not revision):
        raise CheckpointError(f"{model}: write hf:user/name, or hf:user/name@revision")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    version, wanted = revision or None, [file_name, *others]
    try:
        kept = snapshot_download(
            repository, revision=version, allow_patterns=wanted, local_files_only=True
        )
        if (Path(kept) / file_name).is_file():
            return Path(kept) / file_name
    except (LocalEntryNotFoundError, EntryNotFoundError):
        pass
    try:
        found = HfApi().model_info(repository, revision=version, files_metadata=True)
        sizes = {each.rfilename: each.size or 0 for each in found.siblings or ()}
        if file_name not in sizes or found.library_name not in (None, LIBRARY):
            what = found.library_name or f"without {file_name}"
            raise CheckpointError(f"{model}: not a model of showattend ({what})")
        total = sum(sizes.get(name, 0) for name in wanted)
        _log.info("downloading %s from the Hugging Face Hub (%.1f MB)", repository, total / 1e6)
        folder = snapshot_download(repository, revision=version, allow_patterns=wanted)
    except CheckpointError:
        raise
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{model}: the Hub has no such revision") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{model}: the Hub has no such model, or it is private (log in with hf auth login)"
        ) from error
    except OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"{model}: not in the cache, and HF_HUB_OFFLINE forbids fetching it"
        ) from error
    except Exception as error:  # from requests, httpx or httpx2, depending on huggingface_hub
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise CheckpointError(
            f"{model}: cannot be fetched from the Hugging Face Hub ({reason})"
        ) from error
    return Path(folder) / file_name


def kept_models(file_name: str) -> Iterator[tuple[str, Path]]:
    """Yield the names and files of models in the Hub's cache, of any library."""
    from huggingface_hub.constants import HF_HUB_CACHE

    for folder in sorted(Path(HF_HUB_CACHE).glob("models--*--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        for ref in sorted((folder / "refs").glob("*")):
            file = folder / "snapshots" / ref.read_text(encoding="utf-8").strip() / file_name
            if file.is_file():
                version = "" if ref.name == "main" else f"@{ref.name}"
                yield f"{PREFIX}{name}{version}", file
