"""The programs of scripts/, as modules to test."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "scripts"


def load_script(name: str) -> ModuleType:
    """The module that ``scripts/NAME.py`` is."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_from(folder: str, name: str) -> ModuleType:
    """A module of ``scripts/FOLDER``, whose modules import each other."""
    place = str(FOLDER / folder)
    if place not in sys.path:
        sys.path.insert(0, place)
    return importlib.import_module(name)
