"""The package as a whole: its public names, and how its modules lean on each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import showattend

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "showattend"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# From below to above: a module imports from its own room and from those before it.
ROOMS = [
    ["errors", "quiet", "settings", "checks"],
    [
        "config",
        "depth",
        "pixels",
        "imagefiles",
        "images",
        "text",
        "model",
        "device",
        "processes",
    ],
    [
        "data",
        "depthwise",
        "backbones",
        "encoders",
        "search",
        "search_options",
        "sampling",
        "checkpoint",
        "familiarity",
        "calibration",
        "caption",
    ],
    ["builders"],
    ["captioner"],
    ["training", "evaluation", "visualize", "outputs", "export"],
    ["terminal", "server", "cli_options"],
    [
        *("cli_prepare", "cli_compare", "cli_attend", "cli_errors", "cli_ground"),
        *("cli_export", "cli_finetune", "cli_serve"),
    ],
    ["cli"],
    ["__main__"],
]
LEVEL = {name: level for level, room in enumerate(ROOMS) for name in room}
# A Caption draws itself, when asked to.
EXCEPTIONS = {("caption", "visualize")}


def imports(path: Path) -> set[str]:
    """The rooms of the package that a module imports, type checking and functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            names = [node.module or ""]
            if node.module == "showattend":
                names = [f"showattend.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("showattend.")}
    return found - {"__version__"}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "showattend"])
def test_imports_run_one_way(module: str) -> None:
    room = module.split(".")[1]
    assert room in LEVEL, f"{room}: say in ROOMS where it belongs"
    for other in imports(MODULES[module]) - {room}:
        above = LEVEL[other] > LEVEL[room]
        assert not above or (room, other) in EXCEPTIONS, f"{module} imports {other}"


def test_the_core_knows_as_little_as_it_should() -> None:
    for below in ("images", "imagefiles", "text", "errors"):
        known = imports(PACKAGE / f"{below}.py")
        assert known <= {"errors", "quiet", "images", "imagefiles", "pixels", "depth"}, (
            below,
            known,
        )
    assert imports(PACKAGE / "pixels.py") == {"depth"}, "exported with it"
    assert imports(PACKAGE / "depth.py") == set()
    # Search knows decoders by a protocol only; a decoder gets plain arguments, no config.
    assert imports(PACKAGE / "search.py") <= {"model", "search_options", "text"}
    below = {"checks", "model", "search", "search_options", "text"}
    assert imports(PACKAGE / "sampling.py") <= below
    for path in (PACKAGE / "model").rglob("*.py"):
        assert imports(path) <= {"errors", "model"}
    # The plain code does not know the fast one.
    for folder in ("attention", "decoders"):
        for path in (PACKAGE / "model" / folder).glob("*.py"):
            assert "model.fast" not in re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
    # Only builders read configs.
    configured = {name.split(".")[1] for name, path in MODULES.items() if "config" in imports(path)}
    assert configured <= {"builders", "captioner", "cli", "search_options", "training"}


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are_and_stay_short(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    if source.strip():
        docstring = ast.get_docstring(ast.parse(source))
        assert docstring
        assert docstring.splitlines()[0].endswith((".", ":", "?"))
    # The exported program is one file by its nature: it is delivered as it stands.
    assert source.count("\n") <= (520 if module == "showattend.export.caption" else 450)


def test_public_names() -> None:
    assert set(showattend.__all__) == {"Caption", "Captioner", "__version__"}
    from showattend.caption import Caption
    from showattend.captioner import Captioner

    assert showattend.Caption is Caption
    assert showattend.Captioner is Captioner
    with pytest.raises(AttributeError, match="Captain"):
        _ = showattend.Captain


def test_importing_the_package_is_quick() -> None:
    program = (
        "import sys, showattend; showattend.__version__; "
        "sys.exit(bool({'torch', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == showattend.__version__
    assert project["scripts"] == {"showattend": "showattend.cli:main"}
