"""The package as a whole: its public names, its version, the length of its files."""

from __future__ import annotations

import ast
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


@pytest.mark.parametrize("module", MODULES)
def test_modules_have_docstrings_and_stay_short(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    if source.strip():
        docstring = ast.get_docstring(ast.parse(source))
        assert docstring
        assert docstring.splitlines()[0].endswith((".", ":", "?"))
    # The exported program is one file by its nature: it is delivered as it stands.
    assert source.count("\n") <= (520 if module == "showattend.export.program" else 450)


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


def test_the_wheel_has_the_photographs_of_the_page() -> None:
    """`showattend.server.examples` looks for them where the build puts them."""
    from showattend.server.examples import SHOWN

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    put = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert put["assets/photos"] == "showattend/assets/photos"
    assert all((ROOT / "assets" / "photos" / f"{name}.jpg").is_file() for name in SHOWN)
