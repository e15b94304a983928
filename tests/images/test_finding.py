"""The image files that files, folders and patterns stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from showattend.data.readers import read_dataset
from showattend.exceptions import ImageError
from showattend.images.finding import find_images
from showattend.images.image_files import not_an_address
from showattend.images.upright import open_image
from tests.cli.conftest import picture
from tests.commandline import CommandLine


def test_find_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", "photo[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "bare").mkdir()
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)

    def names(*paths: str, recursive: bool = False) -> list[str]:
        found, problems = find_images(paths, recursive)
        assert not problems
        return [path.as_posix() for path in found]

    assert names(".") == ["a.PNG", "b.jpg", "photo[1].jpg"]
    assert names(".", recursive=True) == ["a.PNG", "b.jpg", "photo[1].jpg", "sub/c.webp"]
    assert names("b.jpg", "./b.jpg", "sub/../b.jpg", str(tmp_path / "b.jpg"), "*.jpg") == [
        "b.jpg",
        "photo[1].jpg",
    ]
    assert names("photo[1].jpg") == ["photo[1].jpg"], "a name that looks like a pattern"
    assert names("**/*.webp") == ["sub/c.webp"]
    assert names(f"{tmp_path}/s*/*") == [f"{tmp_path.as_posix()}/sub/c.webp"]
    assert names("notes.txt") == ["notes.txt"], "what is named is tried"


def test_find_images_reports_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(b"x")
    (tmp_path / "outer/inner").mkdir(parents=True)
    found, problems = find_images(
        [tmp_path / "missing.jpg", tmp_path / "outer", f"{tmp_path}/*.gif", tmp_path / "good.jpg"],
        recursive=False,
    )
    assert found == [tmp_path / "good.jpg"]
    assert len(problems) == 3
    for problem, words in zip(
        problems, ["no such file", "--recursive", "no image matches"], strict=True
    ):
        assert words in problem
        assert "\n" not in problem


def test_links_to_what_is_gone_are_found_and_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    link = tmp_path / "photos" / "link.jpg"
    for path, target in ((link, "gone.jpg"), (link.with_suffix(".txt"), "gone.txt")):
        path.symlink_to(tmp_path / target)
    (tmp_path / "photos" / ".hidden.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "photos" / "folder.jpg").symlink_to(tmp_path)
    for given in (tmp_path / "photos", f"{tmp_path}/photos/*"):
        assert find_images([given]) == ([link], [])
    with pytest.raises(ImageError, match=r"link\.jpg: no such file \(a broken link\)$"):
        open_image(link)


# One walker for all commands -------------------------------------------------------------------

JUNK = (
    ".thumbnails",
    ".Trash-1000/files",
    "$RECYCLE.BIN",
    "@eaDir",
    "__MACOSX",
    ".git",
    "#recycle",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Photos in subfolders, and copies of them in folders that nobody means."""
    top = tmp_path / "photos"
    for folder in ("", "trip", "trip/day 1"):
        for name in ("a.jpg", "B.PNG"):
            (top / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (top / folder / name).write_bytes(b"x")
        for junk in JUNK:
            (top / folder / junk).mkdir(parents=True)
            (top / folder / junk / "a.jpg").write_bytes(b"x")
    return top


def names(top: Path, found: list[Path]) -> list[str]:
    return [path.relative_to(top).as_posix() for path in found]


WANTED = ["B.PNG", "a.jpg", *(f"trip/{name}" for name in ("B.PNG", "a.jpg")),
          *(f"trip/day 1/{name}" for name in ("B.PNG", "a.jpg"))]  # fmt: skip


def test_a_folder_and_a_pattern_find_the_same(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    for given in (tree, f"{tree}/**", f"{tree}/**/*", f"{tree}/**/**/*.*"):
        found, problems = find_images([given], recursive=True)
        assert (sorted(names(tree, found)), problems) == (sorted(WANTED), []), given
        (line,) = {record.getMessage() for record in caplog.records}
        assert "left out: " in line
        assert "more (hidden files, thumbnails or deleted files); name such a folder" in line
        caplog.clear()
    assert names(tree, find_images([f"{tree}/*"])[0]) == ["B.PNG", "a.jpg"]
    assert len(find_images([f"{tree}/*"], recursive=True)[0]) == len(WANTED)
    assert names(tree, find_images([f"{tree}/**/a.jpg"])[0]) == [
        name for name in sorted(WANTED) if name.endswith("a.jpg")
    ]
    assert names(tree, find_images([f"{tree}/*/*/*.jpg"])[0]) == ["trip/day 1/a.jpg"]


def test_what_is_left_out_can_be_named(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The advice of the note, followed."""
    for given in (tree / "@eaDir", tree / ".thumbnails", f"{tree}/.thumb*/*", f"{tree}/@eaDir/*"):
        assert len(find_images([given])[0]) == 1
    assert not caplog.records
    assert len(find_images([f"{tree}/**/@eaDir/*"])[0]) == 3
    caplog.clear()
    (tree / "notes").mkdir()
    (tree / "notes/.cache").mkdir()
    find_images([tree / "notes"], recursive=True)
    assert not caplog.records, "a hidden folder without images is nobody's concern"


def test_linked_folders_are_entered_once(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "elsewhere/deep/c.jpg").write_bytes(b"x")
    (tmp_path / "elsewhere/back").symlink_to(tree)
    (tree / "trip/link").symlink_to(tmp_path / "elsewhere")
    (tree / "aa").symlink_to(tree / "trip")  # a folder is called by its own name
    (tree / "trip/loop").symlink_to(tree)
    (tree / "trip/self").symlink_to(tree / "trip/self")
    for given in (tree, f"{tree}/**"):
        found, problems = find_images([given], recursive=True)
        assert problems == []
        assert sorted(names(tree, found)) == sorted([*WANTED, "trip/link/deep/c.jpg"])


def test_what_cannot_be_entered_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(folder: Any) -> Any:
        if Path(folder).name == "day 1":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    for given in (tree, f"{tree}/**"):
        found, problems = find_images([given], recursive=True)
        assert len(found) == 4
        assert problems == [f"{tree}/trip/day 1: cannot be entered (Permission denied)"]


@pytest.mark.parametrize(
    "command", ["caption", "attend", "prepare", pytest.param("finetune", marks=pytest.mark.slow)]
)
def test_commands_agree(
    command: str, run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They find the same photos, name what they could not enter, and exit with 1."""
    top = tmp_path / "photos"
    (tmp_path / "elsewhere").mkdir()
    for number in range(5):
        for place in (top, top / "@eaDir", top / ".Trash-1000", tmp_path / "elsewhere"):
            photo = picture(place / f"{place.name}-{number}.png", number)
            photo.with_suffix(".txt").write_text("A dog runs.")
    (top / "link").symlink_to(tmp_path / "elsewhere")
    (top / "locked").mkdir()
    scan = os.scandir

    def refuse(folder: Any) -> Any:
        if not isinstance(folder, int) and Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    out = tmp_path / "out"
    if command == "caption":
        result = run.caption(top, "--recursive", "--beam-size", 1)
        found = {line.split("\t")[0] for line in result.out}
    elif command == "attend":
        page = tmp_path / "page.html"
        result = run("attend", top, "--recursive", "--output", page, "--model", run.model)
        found = {line.split("\t")[0] for line in result.out}
    elif command == "prepare":
        result = run("prepare", "folder", top, "--out", out)
        found = {str(record.path) for record in read_dataset(out)}
    else:
        options = ["train.epochs=1", "data.min_count=1", "train.device=cpu"]
        result = run("finetune", top, "--out", out, "--model", run.model, *options)
        found = {str(record.path) for record in read_dataset(out / "data")}
    wanted = {top / f"photos-{i}.png" for i in range(5)}
    wanted |= {top / f"link/elsewhere-{i}.png" for i in range(5)}
    assert {os.path.realpath(path) for path in found} == {os.path.realpath(p) for p in wanted}
    said = "\n".join([*result.err, *result.out])
    assert f"{top}/locked: cannot be entered (Permission denied)" in said
    assert "left out: " in said
    assert result.code == 1, said


# Addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["https://example.org/a%20b.jpg?size=3&x=[1]", "HTTP://example.org/*.jpg"]
)
def test_an_address_is_not_mangled(address: str) -> None:
    found, (problem,) = find_images([address])
    assert found == []
    assert problem.startswith(f"{address}: an address, not a file; download the photo first: curl")
    assert not_an_address(str(Path(address))) is not None, "a path has lost a slash"
    with pytest.raises(ImageError, match="an address, not a file; download the photo first: curl"):
        open_image("https://example.org/photo.jpg")
    assert not_an_address("file:///home/a.jpg") == (
        "file://home/a.jpg: an address, not a file; give the path of a file"
    )
    for path in ("C:/photos/a.jpg", "photos/a:b.jpg", "a.jpg", "https:"):
        assert not_an_address(path) is None
