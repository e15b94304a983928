"""``showattend attend``: every output format, and mistakes in one line."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.decoding.explaining import NAMES
from showattend.visualize.page import longest_side
from tests.commandline import CommandLine


def test_attend(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    figure = tmp_path / "made" / "figure.png"
    result = run("attend", photo, "--output", figure, "--model", run.model)
    assert result.code == 0
    assert result.out == run.caption(photo).out
    assert result.err == [f"wrote {figure}"]
    with Image.open(figure) as opened:
        assert opened.format == "PNG"


@pytest.mark.parametrize("suffix", [".jpg", ".svg", ".pdf", ".gif", ".webp", ".npz", ".json"])
def test_attend_writes_every_format(
    suffix: str, run: CommandLine, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"out{suffix}"
    args = ("--model", run.model, "--caption", "a dog runs", "--words", "dog")
    result = run("attend", photo, "--output", output, *args)
    assert (result.code, result.err) == (0, [f"wrote {output}"])
    if suffix == ".npz":
        with np.load(output) as maps:
            assert maps["words"].tolist() == ["dog"]
            assert maps["attention"].shape[0] == 1
    elif suffix == ".json":
        assert json.loads(output.read_text(encoding="utf-8"))["position"] == [1]
    elif suffix in (".gif", ".webp"):
        with Image.open(output) as opened:
            assert getattr(opened, "n_frames", 1) == 2, "the photo and the word"
    else:
        assert output.stat().st_size > 1000


def test_attend_passes_its_options_on(
    run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr("showattend.visualize.save_figure", lambda *_, **more: drawn.append(more))
    args = ("attend", photo, "--output", tmp_path / "a.svg", "--model", run.model)
    args += ("--caption", "A dog on the zeppelin")
    look = ("--layout", "strip", "--scale", "common", "--style", "light", "--theme", "dark")
    look += ("--details",)
    for more in ((), ("--words", "dog,zeppelin"), look):
        result = run(*args, *more)
        assert result.code == 0
        assert result.out == [f"{photo}\tA dog on the zeppelin."]
        assert result.err == [
            "showattend: the model does not know zeppelin, and reads <unk> there",
            f"wrote {tmp_path / 'a.svg'}",
        ]
    assert drawn == [
        {},
        {"words": ["dog", "zeppelin"]},
        {
            "layout": "strip",
            "scale": "common",
            "style": "light",
            "theme": "dark",
            "details": True,
        },
    ]


def test_missing_words_are_filled_in(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "maps.json"
    args = ("attend", photo, "--output", output, "--model", run.model)
    result = run(*args, "--caption", "a ___ on the zeppelin ___")
    assert result.code == 0
    assert result.err == [
        "showattend: the model does not know zeppelin, and reads <unk> there",
        f"wrote {output}",
    ]
    said, *gaps = result.out
    words = json.loads(output.read_text(encoding="utf-8"))["words"]
    assert said.startswith(f"{photo}\tA {words[1]} on the zeppelin {words[5]}")
    assert len(gaps) == 2
    for line in gaps:
        sign, *candidates = line.split("\t")
        assert sign == "___"
        assert 1 <= len(candidates) <= 5
        shares = [float(each.rpartition(" ")[2]) for each in candidates]
        assert shares == sorted(shares, reverse=True)


def test_attend_shows_the_runners_up_in_a_page(
    run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(
        "showattend.visualize.page.write_page", lambda _, captions, **__: shown.append(captions)
    )
    args = ("attend", photo, "--output", tmp_path / "a.html", "--model", run.model)
    assert run(*args, "--beam-size", "3").code == 0
    assert len(shown[0]) == 3
    assert shown[0][0].score >= shown[0][-1].score
    assert run(*args, "--caption", "a dog").code == 0
    assert [caption.text for caption in shown[1]] == ["A dog."]


def test_a_page_of_some_words(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    args = ("attend", photo, "--output", page, "--model", run.model, "--caption", "a dog on a dog")
    result = run(*args, "--words", "dog,on")
    assert (result.code, result.err) == (0, [f"wrote {page}"])
    (values,) = photos_in(page)
    assert values["captions"][0]["only"] == [1, 2, 4]
    line = run.refused(*args, "--words", "cat")
    assert "not in the caption: cat; its words are: a, dog, on" in line
    assert run(*args).code == 0
    assert "only" not in photos_in(page)[0]["captions"][0]


# Maps of other programs --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".svg", ".gif", ".html", ".json"])
def test_maps_of_a_file_are_drawn_without_a_model(
    suffix: str, run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(never))
    maps, output = tmp_path / "maps.npz", tmp_path / f"out{suffix}"
    attention = np.zeros((2, 5, 8), np.float32)
    attention[:, 2, 3] = 1
    np.savez(maps, words=np.array(["a", "dog"]), attention=attention)
    result = run("attend", photo, "--maps", maps, "--output", output)
    assert (result.code, result.err) == (0, [f"wrote {output}"])
    assert result.out == [f"{photo}\tA dog."]
    assert output.stat().st_size > 100
    assert "not in the caption: cat" in run.refused(
        *("attend", photo, "--maps", maps, "--output", output, "--words", "cat")
    )
    for option in ("--caption", "--beam-size", "--model", "--size"):
        value = "64" if option in ("--beam-size", "--size") else "x"
        args = ("attend", photo, "--maps", maps, "--output", output, option, value)
        assert f"without running a model; leave {option} out" in run.refused(*args)
    same = run.refused("attend", photo, "--maps", maps, "--output", maps)
    assert "maps.npz: is one of" in same
    both = run.refused("attend", photo, photo, "--maps", maps, "--output", "a.html")
    assert "holds the maps of one photo" in both


def test_maps_that_do_not_fit_are_refused(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps.npz"
    np.savez(maps, words=np.array(["a", "dog"]), attention=np.ones((2, 5, 8)))
    line = run.refused("attend", photo, "--maps", maps, "--output", tmp_path / "a.png")
    assert "maps.npz: attention: the map of word 1 sums to 40, not to one" in line
    gone = run.refused("attend", photo, "--maps", "gone.npz", "--output", tmp_path / "a.png")
    assert "gone.npz: cannot be read" in gone


# The gallery -----------------------------------------------------------------------------------


def photos_in(page: Path) -> list[dict[str, Any]]:
    """What a page says of its photos."""
    (data,) = re.findall(r'id="photos">(.*?)</script>', page.read_text(encoding="utf-8"))
    return json.loads(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos in a folder, a broken one, and one in a subfolder with the name of another."""
    folder = tmp_path / "holiday"
    (folder / "within").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name in ("a.png", "b.png", "within/a.png"):
        pixels = draw.integers(0, 256, (30, 1000, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_a_folder_makes_a_gallery(run: CommandLine, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "made" / "gallery.html"
    args = ("attend", folder, "--output", page, "--model", run.model)
    result = run(*args)
    assert result.code == 1, "one file is broken"
    assert result.out == run.caption(folder).out
    assert len(result.err) == 2
    assert "broken.jpg: not an image" in result.err[0]
    assert result.err[1].startswith(f"wrote {page} (2 of 3 photos, 0.")
    assert "<h1>holiday</h1>" in page.read_text(encoding="utf-8")
    assert [photo["name"] for photo in photos_in(page)] == ["a.png", "b.png"]
    for photo, line in zip(photos_in(page), result.out, strict=True):
        assert len(photo["captions"]) == 5
        assert photo["captions"][0]["caption"] == line.split("\t")[1]
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    sizes = [Image.open(io.BytesIO(base64.b64decode(each))).size for each in pictures]
    assert sizes == [(720, 22)] * 2  # 1000 × 30 would make the page large
    assert sorted(path.name for path in page.parent.iterdir()) == ["gallery.html"]

    (folder / "broken.jpg").unlink()
    result = run(*args, "--recursive", "--n-best", 2, "--beam-size", 3)
    assert (result.code, len(result.err)) == (0, 1)
    # Photos of the same name are distinguished by their folder.
    assert [photo["name"] for photo in photos_in(page)] == ["a.png", "b.png", "within/a.png"]
    assert {len(photo["captions"]) for photo in photos_in(page)} == {2}
    assert "is over beam_size" in run.refused(*args, "--n-best", 9)


@pytest.mark.parametrize("how", ["several", "glob", "folder of one"])
def test_what_makes_a_gallery(how: str, run: CommandLine, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "gallery.html"
    named = {
        "several": [folder / "a.png", folder / "b.png"],
        "glob": [folder / "*.png"],
        "folder of one": [folder / "within"],
    }[how]
    result = run("attend", *named, "--output", page, "--model", run.model, "--beam-size", 1)
    assert (result.code, len(result.out)) == (0, 1 if how == "folder of one" else 2)
    assert 'class="cards"' in page.read_text(encoding="utf-8")
    assert ("<h1>2 photos</h1>" in page.read_text(encoding="utf-8")) == (how == "several")
    # A file that is named like a pattern is one photo.
    odd = folder / "[1].png"
    (folder / "a.png").rename(odd)
    result = run("attend", odd, "--output", page, "--model", run.model, "--beam-size", 1)
    assert (result.code, result.err) == (0, [f"wrote {page}"])
    assert 'class="cards"' not in page.read_text(encoding="utf-8")


def test_without_any_photo_the_old_gallery_is_kept(
    run: CommandLine, folder: Path, tmp_path: Path
) -> None:
    page = tmp_path / "gallery.html"
    page.write_text("old")
    args = ("--output", page, "--model", run.model)
    assert "broken.jpg: not an image" in run.refused("attend", folder / "broken.*", *args)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images in this folder" in run.refused("attend", empty, *args)
    result = run("attend", folder / "b.png", tmp_path / "gone.png", *args)
    assert result.code == 1
    assert "gone.png: no such file" in result.err[0]
    assert [photo["name"] for photo in photos_in(page)] == ["b.png"]


def test_an_interrupted_gallery_keeps_what_is_done(
    run: CommandLine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "gallery.html"
    page.write_text("old")
    stream = Captioner.stream

    def interrupted(self: Captioner, *args: Any, **more: Any) -> Any:
        yield next(iter(stream(self, *args, **more)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Captioner, "stream", interrupted)
    result = run("attend", folder, "--output", page, "--model", run.model)
    assert result.code == 130
    partial = tmp_path / "gallery.part.html"
    assert result.err == [
        f"the photos done so far are in {partial}", "showattend: interrupted",
    ]  # fmt: skip
    assert page.read_text() == "old"
    assert [photo["name"] for photo in photos_in(partial)] == ["a.png"]


def test_galleries_have_smaller_photos() -> None:
    sides = [longest_side(count) for count in (1, 100, 101, 400, 401, 100_000)]
    assert sides == [720, 720, 560, 560, 420, 420]


def test_a_large_gallery_gets_a_warning(
    run: CommandLine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("showattend.cli.attend_command.LARGE", 1000)
    args = ("--output", tmp_path / "a.html", "--model", run.model)
    result = run("attend", folder / "*.png", *args)
    assert result.code == 0
    assert "open a page of" in result.err[-1]
    assert "--n-best 1" in result.err[-1]


# Mistakes ---------------------------------------------------------------------------------------


def never(*_: object, **__: object) -> None:
    raise AssertionError("the model was loaded first")


def test_attend_reports_letters_without_a_glyph(
    run: CommandLine, photo: Path, tmp_path: Path
) -> None:
    args = ("attend", photo, "--model", run.model, "--caption", "a \U00012000 dog")
    result = run(*args, "--output", tmp_path / "a.png")
    assert result.code == 0
    (line,) = [line for line in result.err if "no font" in line]
    assert "U+12000 (Cuneiform)" in line
    result = run(*args, "--output", tmp_path / "a.npz")
    assert not any("no font" in line for line in result.err), "numbers need no font"


def test_attend_refuses_words_that_are_not_in_the_caption(
    run: CommandLine, photo: Path, tmp_path: Path
) -> None:
    line = run.refused(
        *("attend", photo, "--output", tmp_path / "a.png", "--model", run.model),
        *("--caption", "a dog", "--words", "cat"),
    )
    assert "not in the caption: cat; its words are: a, dog" in line


def test_an_unreadable_photo_is_refused_before_the_model_is_loaded(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(never))
    photo = tmp_path / "photo.jpg"
    assert "photo.jpg: no such file" in run.refused("attend", photo, "--output", "a.png")
    photo.write_bytes(b"no image")
    assert "photo.jpg: not an image" in run.refused("attend", photo, "--output", "a.png")


@pytest.mark.parametrize("how", ["itself", "link", "other name", "among many"])
def test_attend_never_overwrites_a_photo(
    how: str, run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(never))
    photo = photo.rename(tmp_path / "photo.html") if how == "among many" else photo
    before = photo.read_bytes()
    named, output = [photo], photo
    if how == "link":
        output = tmp_path / "link.png"
        output.symlink_to(photo)
    elif how == "other name":
        output = tmp_path / "link.png"
        output.hardlink_to(photo)
    elif how == "among many":
        named = [tmp_path / "gone.png", photo]
        Image.new("RGB", (8, 8)).save(named[0])
    line = run.refused("attend", *named, "--output", output)
    assert line == f"showattend: {output}: is one of the photos; choose another name to write to"
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--output a.gif --layout grid", "a .gif file has no layout"),
        ("--output a.npz --details", "a .npz file has no details"),
        ("--output a.png --theme blue", "no theme 'blue'; choose from light, dark"),
        ("--output a.npz --style heat", "a .npz file has no style"),
        ("--output a.html --layout strip", "a .html file has no layout; only .png"),
        ("--output a.png --n-best 2", "a .png file shows one caption; --n-best is for .html"),
        ("--output a.html --caption dog --n-best 2", "leave --n-best out"),
        ("other.png --output a.png", "a .png file shows one photo; name an .html file"),
        ("other.png --output a.html --words dog", "--words is for one photo"),
        ("other.png --output a.html --caption dog", "--caption is for one photo"),
        ("--output a.png --scale log", "no scale 'log'; choose from word, common"),
        ("--output a.mp4", "no form .mp4; use one of .png"),
    ],
)
def test_mistakes_are_found_before_the_model_is_loaded(
    args: str, message: str, run: CommandLine, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(never))
    assert message in run.refused("attend", photo, *args.split())


@pytest.mark.parametrize("kind", ["attention", "grad", "gradcam", "occlusion", "integrated"])
def test_attend_explains(kind: str, run: CommandLine, photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "maps.json"
    args = ("attend", photo, "--output", output, "--model", run.model, "--caption", "a dog runs")
    assert run(*args).code == 0
    plain = json.loads(output.read_text(encoding="utf-8"))
    result = run(*args, "--explain", kind)
    assert (result.code, result.err) == (0, [f"wrote {output}"])
    maps = json.loads(output.read_text(encoding="utf-8"))
    assert maps["words"] == plain["words"]
    assert maps["explanation"] == NAMES[kind]
    np.testing.assert_allclose(np.sum(maps["attention"], axis=(1, 2)), 1, atol=1e-5)
    same = np.allclose(maps["attention"], plain["attention"], atol=1e-6)
    assert same == (kind == "attention")


def test_attend_explains_in_all_ways(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.npz"
    args = ("attend", photo, "--model", run.model, "--explain", "all", "--output")
    assert run(*args, output).code == 0
    with np.load(output) as maps:
        assert maps["explanation_names"].tolist() == list(NAMES.values())
        assert len({each.tobytes() for each in maps["explanations"]}) == len(NAMES)
    refused = run(*args, tmp_path / "all.gif")
    assert refused.code == 2
    assert "shows one explanation" in refused.err[-1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--explain", "lime"), "no explanation 'lime'; choose from attention, grad"),
        (("--explain", "grad", "--n-best", "2"), "leave --n-best out"),
        (("--explain", "grad", "--maps", "maps.npz"), "leave --explain out"),
    ],
)
def test_attend_refuses_what_cannot_be_explained(
    args: tuple[str, ...], said: str, run: CommandLine, photo: Path, tmp_path: Path
) -> None:
    result = run("attend", photo, "--output", tmp_path / "a.html", *args)
    assert result.code == 2
    assert said in result.err[-1]
    several = run("attend", photo, photo, "--output", tmp_path / "a.html", "--explain", "grad")
    assert several.code == 2
    assert "--explain is for one photo" in several.err[-1]
