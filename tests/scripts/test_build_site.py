"""The documentation site: its pages are complete and their links lead somewhere; built strictly."""

from __future__ import annotations

import html
import importlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest
import typer.main
import yaml

from showattend.cli.app import app
from tests.browser import DESK, PHONE, fits
from tests.visualize.pages import Visit

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "docs"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        yield importlib.import_module("build_site")


@pytest.fixture(scope="module")
def pages(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's pages, of notebooks without outputs."""
    out = tmp_path_factory.mktemp("site") / "docs"
    script.gather(out)
    return out


def places(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for each in nav.values():
            yield from places(each)
    elif isinstance(nav, list):
        for each in nav:
            yield from places(each)


def config() -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def test_every_page_is_in_the_navigation(pages: Path) -> None:
    named = list(places(config()["nav"]))
    assert len(named) == len(set(named))
    found = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}
    assert {each for each in found if not each.startswith("files/")} == set(named)


def test_links_lead_to_pages_and_files_of_the_site(pages: Path, script: ModuleType) -> None:
    count = 0
    for page in pages.rglob("*.md"):
        text = script.FENCE.sub("", page.read_text(encoding="utf-8"))
        if page.is_relative_to(pages / "files"):
            continue
        for _, target, _ in script.LINK.findall(text):
            if target and not re.match("[a-z]+:", target):
                assert (page.parent / target).is_file(), f"{page.name}: {target}"
                count += 1
    assert count > 100


def test_code_and_addresses_are_left_alone(script: ModuleType, tmp_path: Path) -> None:
    site = script.Gathering(tmp_path / "out")
    source = ROOT / "docs" / "hub.md"
    text = (
        "[a](https://a.b/c.md) [b](#here) [c](captioning.md#in-python) [d](../configs/tiny.yaml)\n"
    )
    fenced = f"```\n[e](captioning.md)\n```\n{text}"
    assert site.rewritten(fenced, source, "deep/hub.md") == (
        "```\n[e](captioning.md)\n```\n[a](https://a.b/c.md) [b](#here) "
        "[c](../captioning.md#in-python) [d](../files/configs/tiny.yaml.md)\n"
    )
    site.show_files()
    assert "toy_images: 1200" in (site.out / "files/configs/tiny.yaml.md").read_text()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.md"):
        site.rewritten("[f](nowhere.md)", source, "hub.md")


def test_every_option_of_every_command_is_there(pages: Path) -> None:
    program = typer.main.get_command(app)
    waiting = [("", program)]
    count = 0
    while waiting:
        page, command = waiting.pop()
        for name, other in getattr(command, "commands", {}).items():
            waiting.append((page or name, other))
        if not page:
            continue
        text = (pages / "commands" / f"{page}.md").read_text(encoding="utf-8")
        for each in command.params:
            if each.param_type_name == "option" and not each.hidden:
                assert each.opts[0] in text, f"{page}: {each.opts[0]}"
                count += 1
    assert count > 80


def test_every_key_of_the_config_is_there(pages: Path) -> None:
    text = (pages / "reference" / "config.md").read_text(encoding="utf-8")
    for key in ("train.tensorboard", "data.min_count", "attention.kind", "search.beam_size"):
        assert f"`{key}`" in text
    assert "| `train.epochs` | `15` | passes over" in text


def test_every_module_is_in_the_reference(pages: Path) -> None:
    said = "\n".join(page.read_text(encoding="utf-8") for page in (pages / "api").glob("*.md"))
    named = re.findall(r"^::: (\S+)$", said, re.MULTILINE)
    assert len(named) == len(set(named))
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "showattend").rglob("*.py")
        if path.stem not in ("__init__", "__main__")
    }
    without = {name for name in modules if name.startswith("showattend.cli.")}
    assert set(named) == modules - without


# Built ---------------------------------------------------------------------------------------


NOTEBOOK = "see_where_it_looks"  # the quickest


@pytest.fixture(scope="module")
def outputs(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One notebook with its outputs, run as ``make docs`` runs all of them."""
    if any(find_spec(name) is None for name in ("jupytext", "nbclient", "ipykernel")):
        pytest.skip("the extra docs is absent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("PYTHONWARNINGS", "ignore")
        (source,) = (each for each in script.NOTEBOOKS if each.stem == NOTEBOOK)
        made: dict[str, Path] = script.run([source], tmp_path_factory.mktemp("notebooks"))
        return made


@pytest.fixture(scope="module")
def site(
    script: ModuleType, outputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The site as ``make docs`` builds it, but for the outputs of the other notebooks."""
    if any(find_spec(name) is None for name in ("zensical", "mkdocstrings_handlers")):
        pytest.skip("the extra docs is absent")
    folder = tmp_path_factory.mktemp("built")
    script.gather(folder / "build" / "docs", outputs)
    shutil.copyfile(ROOT / "mkdocs.yml", folder / "mkdocs.yml")
    (folder / "showattend").symlink_to(ROOT / "showattend")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    env = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not re.search("warning|griffe:", said, re.IGNORECASE), said
    return folder / "build" / "site"


class Links(HTMLParser):
    """A page's anchors, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("script", "img", "iframe", "source", "video") and "src" in values:
            self.loaded.append(values["src"])
        elif tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values.get("href", ""))


def outside(address: str) -> bool:
    return re.match(r"(https?:)?//", address) is not None


@pytest.mark.slow
def test_no_link_is_dead_and_nothing_is_loaded_from_outside(site: Path) -> None:
    parsed = {page: Links(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}
    assert len(parsed) > 60
    problems, count = [], 0
    for page, found in parsed.items():
        if page.name == "404.html":  # its links are those of the site's root
            continue
        problems += [f"{page.name} loads {each}" for each in found.loaded if outside(each)]
        for link in (*found.links, *found.loaded):
            target, _, anchor = html.unescape(link).partition("#")
            if outside(link) or re.match("[a-z]+:", link) or link.startswith("data:"):
                continue
            count += 1
            file = (page.parent / unquote(target)).resolve() if target else page
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                problems.append(f"{page.name}: {link}")
            elif anchor and file in parsed and unquote(anchor) not in parsed[file].anchors:
                problems.append(f"{page.name}: no such anchor: {link}")
    assert problems == []
    assert count > 1000
    styles = "\n".join(each.read_text(encoding="utf-8") for each in site.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//|@import", styles)


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The site's address: the search and the notebooks' viewers do not work from files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_in_a_browser(site: Path, served: str, visit: Visit, size: tuple[int, int]) -> None:
    """No error, nothing from outside, and no page wider than the window: every page of the site."""
    pages = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html"))
    tab = visit(f"{served}/index.html", size=size)
    for page in pages:
        if not page.startswith(("files/", "404")):
            tab.goto(f"{served}/{page}")
            assert tab.locator("h1").first.inner_text(), page
            assert fits(tab), page


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_a_notebooks_viewers_work(served: str, visit: Visit, size: tuple[int, int]) -> None:
    """Each in a frame of its own, which nothing can leave: photo, words, and a map when asked."""
    tab = visit(f"{served}/notebooks/{NOTEBOOK}.html", size=size)
    frames = tab.locator("iframe.notebook")
    assert frames.count() >= 4
    alone = 0
    for number in range(frames.count()):
        frame = frames.nth(number)
        frame.scroll_into_view_if_needed()
        inside = frame.content_frame
        inside.locator(".word, .card").first.wait_for()
        assert inside.locator("html").evaluate("(root) => root.scrollWidth <= innerWidth")
        if inside.locator(".card").count():
            inside.locator(".card").first.click()
            inside.locator("dialog .word").first.wait_for()
            continue
        alone += 1
        word = inside.locator("button.word").nth(1)
        word.click()
        assert word.get_attribute("aria-pressed") == "true"
        assert inside.locator(".word.shown").count() == 1
    assert alone >= 2
    assert fits(tab)


@pytest.mark.slow
def test_the_search_finds(served: str, visit: Visit) -> None:
    tab = visit(f"{served}/index.html")
    tab.keyboard.press("/")
    tab.keyboard.type("doubly stochastic")
    found = tab.locator("a:has-text('doubly')").or_(tab.locator("a:has-text('Doubly')"))
    found.first.wait_for()
