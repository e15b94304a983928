"""Build the documentation site: gather its pages below build/docs, then run zensical, strictly.

    python scripts/docs/build_site.py             # into build/site; needs the extra docs
    python scripts/docs/build_site.py --quick     # notebooks without outputs: seconds

The pages are docs/, the README and the model cards, whose links to files in the checkout become
links to pages that show these files; reference pages made from docstrings, from the command line
and from the config; and the notebooks with their outputs. mkdocs.yml orders them.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from notebooks import page_of, run
from reference import api_pages, command_pages, config_page

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "build" / "docs"
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]*)(#[^)]*)?\)")
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2\s*?$", re.MULTILINE | re.DOTALL)
SHOWN = {".py": "python", ".yaml": "yaml", ".css": "css", ".js": "javascript", ".toml": "toml"}
COPIED = (".jpg", ".png", ".svg", ".gif", ".json")


def known_pages() -> dict[Path, str]:
    """The files in the checkout that are pages, and their places on the site."""
    pages = {ROOT / "README.md": "index.md", ROOT / "SECURITY.md": "security.md"}
    pages[ROOT / "assets/photos/SOURCES.md"] = "photographs.md"
    pages |= {page: page.name for page in sorted((ROOT / "docs").glob("*.md"))}
    pages |= {
        card: f"models/{card.parent.name}.md" for card in sorted(ROOT.glob("assets/model/*/*.md"))
    }
    return pages | {each: f"notebooks/{each.stem}.md" for each in NOTEBOOKS}


class Gathering:
    """Collects the site's pages in a folder, and the targets of their links.

    Args:
        out: The folder; its old content is deleted.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.places = out, known_pages()
        self.files: dict[Path, str] = {}  # other files of the checkout that pages link to
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)

    def write(self, place: str, text: str) -> None:
        """Write a page."""
        path = self.out / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def take(self, source: Path, text: str | None = None) -> None:
        """Write a page of the checkout at its place, its links rewritten."""
        place = self.places[source]
        text = source.read_text(encoding="utf-8") if text is None else text
        self.write(place, self.rewritten(text, source, place))

    def rewritten(self, text: str, source: Path, place: str) -> str:
        """The text of a page, with its links to the checkout rewritten for the site."""

        def moved(found: re.Match[str]) -> str:
            before, target, anchor = found[1], found[2], found[3] or ""
            if not target or re.match(r"[a-z]+:", target):
                return found[0]
            linked = (source.parent / target).resolve()
            return f"{before}{_way(place, self.place_of(linked))}{anchor})"

        parts, at = [], 0
        for fence in FENCE.finditer(text):  # code is left alone
            parts += [LINK.sub(moved, text[at : fence.start()]), fence[0]]
            at = fence.end()
        return "".join([*parts, LINK.sub(moved, text[at:])])

    def place_of(self, linked: Path) -> str:
        """The place of a checkout's file on the site; a file that is not a page becomes one.

        Raises:
            FileNotFoundError: There is no such file.
        """
        if not linked.exists():
            raise FileNotFoundError(f"{linked}: a page links to it, and there is no such file")
        if linked in self.places:
            return self.places[linked]
        inside = linked.relative_to(ROOT).as_posix()
        if linked.suffix in COPIED:
            (self.out / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(linked, self.out / inside)
            return inside
        return self.files.setdefault(linked, f"files/{inside}.md")

    def show_files(self) -> None:
        """Write a page for every file, or folder of files, that the pages link to."""
        for file, place in sorted(self.files.items()):
            shown = sorted(file.iterdir()) if file.is_dir() else [file]
            inside = file.relative_to(ROOT).as_posix()
            text = [f"---\nsearch:\n  exclude: true\n---\n\n# {inside}\n"]
            for each in (each for each in shown if each.is_file()):
                heading = f"## {each.name}\n\n" if file.is_dir() else ""
                content = each.read_text(encoding="utf-8").rstrip()
                language = SHOWN.get(each.suffix, "text")
                text.append(f"{heading}````` {language}\n{content}\n`````\n")
            self.write(place, "\n".join(text))


def _way(page: str, target: str) -> str:
    """A link from a page to another place of the site."""
    return str(PurePosixPath(*_up(page), target)) if "/" in page else target


def _up(page: str) -> list[str]:
    return [".."] * page.count("/")


def gather(out: Path = PAGES, outputs: Mapping[str, Path] | None = None) -> Gathering:
    """Write all pages.

    Args:
        out: The folder.
        outputs: The executed notebooks by name, .ipynb files; others are shown without outputs.
    """
    pages = Gathering(out)
    for source in pages.places:
        if source.suffix == ".md":
            pages.take(source)
    for source in NOTEBOOKS:
        text, files = page_of(source, (outputs or {}).get(source.stem))
        pages.take(source, text)
        for name, content in files.items():
            (out / "notebooks" / name).write_bytes(content)
    for place, text in (*api_pages(), *command_pages(), ("reference/config.md", config_page())):
        pages.write(place, text)
    shutil.copyfile(ROOT / "docs" / "site.css", out / "site.css")
    pages.show_files()
    return pages


def build(strict: bool = True) -> int:
    """Run zensical on the pages; return its exit code."""
    command = [sys.executable, "-m", "zensical", "build", "--clean"]
    return subprocess.call([*command, *(["--strict"] if strict else [])], cwd=ROOT)


def main(arguments: Iterable[str] | None = None) -> int:
    """Build the site."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--quick", action="store_true", help="do not run the notebooks")
    wanted = parser.parse_args(None if arguments is None else list(arguments))
    outputs = {} if wanted.quick else run(NOTEBOOKS, ROOT / "build" / "notebooks")
    gather(PAGES, outputs)
    return build()


if __name__ == "__main__":
    sys.exit(main())
