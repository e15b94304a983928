"""Writing captions: no file of the user's is lost, and none is half written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.cli.caption_writer import CaptionWriter
from showattend.exceptions import UserError
from showattend.images.geometry import Geometry


def make(text: str, image: Path | None = None) -> Caption:
    words = tuple(text.split())
    return Caption(
        words=words,
        log_probs=(-0.5,) * (len(words) + 1),
        attention=np.full((len(words), 2, 2), 0.25, np.float32),
        betas=np.full(len(words), 0.5, np.float32),
        geometry=Geometry((20, 10), (0, 0, 20, 10)),
        score=-0.5,
        image=image,
    )


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), "teal").save(path)
    return path


# Text files beside the photos ------------------------------------------------------------------


def test_sidecars_have_one_caption_per_line(tmp_path: Path) -> None:
    path = tmp_path / "photo.v1.jpg"
    caption = replace(make("a dog"), alternatives=(make("a cat"),))
    with CaptionWriter([path], sidecar=True) as writer:
        assert writer.write(path, caption) == []
    assert (tmp_path / "photo.v1.txt").read_text() == "A dog.\nA cat.\n"


def test_an_existing_text_is_kept(tmp_path: Path) -> None:
    path, beside = tmp_path / "photo.jpg", tmp_path / "photo.txt"

    def write(text: str, overwrite: bool = False) -> list[str]:
        with CaptionWriter([path], sidecar=True, overwrite=overwrite) as writer:
            return writer.write(path, make(text))

    assert write("a dog") == []
    assert write("a dog") == [], "its own, unchanged, is no matter"
    beside.write_text("My dog Rex.\n")
    assert write("a dog") == [f"{beside}: has another text; --overwrite replaces it"]
    assert beside.read_text() == "My dog Rex.\n"
    assert write("a dog", overwrite=True) == []
    assert beside.read_text() == "A dog.\n"


def test_two_photos_do_not_share_a_text(tmp_path: Path) -> None:
    first, second = tmp_path / "photo.jpg", tmp_path / "photo.png"
    with CaptionWriter([first, second], sidecar=True, overwrite=True) as writer:
        assert writer.write(first, make("a dog")) == []
        assert writer.write(second, make("a dog")) == []
        (problem,) = writer.write(second, make("a cat"))
    assert (
        problem == f"{second}: has no photo.txt of its own, photo.jpg has it; rename one of the two"
    )
    assert (tmp_path / "photo.txt").read_text() == "A dog.\n"


def test_a_photo_named_txt_is_not_overwritten(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png").rename(tmp_path / "photo.txt")
    before = path.read_bytes()
    with CaptionWriter([path], sidecar=True, overwrite=True) as writer:
        (problem,) = writer.write(path, make("a dog"))
    assert "photo.txt: is named .txt" in problem
    assert path.read_bytes() == before


def test_a_text_that_cannot_be_written_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    (tmp_path / "photo.txt").mkdir()
    with CaptionWriter([path], sidecar=True) as writer:
        (problem,) = writer.write(path, make("a dog"))
    assert problem == f"{tmp_path / 'photo.txt'}: cannot be written (Is a directory)"


# Figures ---------------------------------------------------------------------------------------


def test_figures_of_the_same_name_are_numbered(tmp_path: Path) -> None:
    images = [
        photo(tmp_path / name) for name in ("a/photo.png", "b/photo.png", "b/Photo.jpg", "b/x.png")
    ]
    with CaptionWriter(images, overlay=tmp_path / "out") as writer:
        assert writer.figures is not None
        names = [writer.figures[path].name for path in images]
        assert names == ["photo.png", "photo-2.png", "Photo-3.png", "x.png"]
        assert writer.write(images[1], make("dog", images[1])) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo-2.png"]


def test_figures_never_replace_photos(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png")
    with pytest.raises(UserError, match="holds photos; give --overlay another folder"):
        CaptionWriter([path], overlay=tmp_path / "x" / "..")


def test_one_problem_does_not_stop_the_rest(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.jpg")
    (tmp_path / "photo.txt").write_text("My dog Rex.\n")
    output = tmp_path / "captions.jsonl"
    with CaptionWriter([path], output=output, sidecar=True, overlay=tmp_path / "out") as writer:
        assert len(writer.write(path, make("dog", path))) == 1
    assert output.exists()
    assert (tmp_path / "out" / "photo.png").exists()


# The output file -------------------------------------------------------------------------------


def test_captions_are_written_at_once(tmp_path: Path) -> None:
    output = tmp_path / "captions.jsonl"
    with CaptionWriter([], output=output) as writer:
        assert writer.partial is None
        for count, text in enumerate(("a dog", "a cat"), 1):
            writer.write(Path("photo.jpg"), make(text))
            assert writer.partial == tmp_path / "captions.jsonl.part"
            assert len(writer.partial.read_text().splitlines()) == count
            assert not output.exists()
    assert writer.partial is None
    lines = output.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["caption"] for line in lines] == ["A dog.", "A cat."]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_confidence_is_in_both_forms(tmp_path: Path) -> None:
    logs = tuple(np.log([0.9, 0.25, 0.5, 0.8]))
    caption = replace(make("a dog barks"), log_probs=logs, unsure_below=0.4, familiarity=0.0123)
    assert caption.note
    path, jsonl, table = tmp_path / "a.jpg", tmp_path / "out.jsonl", tmp_path / "out.csv"
    for output in (jsonl, table):
        with CaptionWriter([path], output=output) as writer:
            writer.write(path, replace(caption, alternatives=(make("a cat"),)))
    values = json.loads(jsonl.read_text())
    assert values["confidences"] == pytest.approx([0.9, 0.25, 0.5])
    assert values["confidence"] == pytest.approx((0.9 * 0.25 * 0.5 * 0.8) ** 0.25)
    assert values["unsure"] == [False, True, False]
    best, other = csv.DictReader(table.read_text().splitlines())
    assert list(best)[:6] == ["image", "rank", "caption", "words", "log_prob", "score"]
    assert float(best["confidence"]) == pytest.approx(values["confidence"], abs=1e-4)
    assert best["confidences"] == "0.9000 0.2500 0.5000"
    assert best["unsure"] == "dog"
    assert other["unsure"] == ""
    assert (best["familiarity"], best["note"]) == ("0.012", caption.note)
    assert (values["familiarity"], values["note"]) == (0.0123, caption.note)
    assert other["familiarity"] == other["note"] == ""


def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    output = tmp_path / "captions.csv"
    (tmp_path / "captions.csv.part").symlink_to("/dev/full")
    with (
        pytest.raises(UserError, match=r"captions\.csv: cannot be written \(No space left"),
        CaptionWriter([], output=output) as writer,
    ):
        writer.write(Path("photo.jpg"), make("a dog"))
    assert not output.exists()


@pytest.mark.parametrize("name", ["captions.txt", "captions", "captions.json"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"ends in \.jsonl or \.csv"):
        CaptionWriter([], output=tmp_path / name)
    assert list(tmp_path.iterdir()) == []
