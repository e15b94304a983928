"""The image files that files, folders and patterns stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from showattend.exceptions import ImageError
from showattend.images.finding import find_images
from showattend.images.upright import open_image


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
