"""The raw maps: what docs/maps.md says is what the files hold, and its example runs."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.caption_forms import Gap, SelfAttention
from showattend.exceptions import UserError
from showattend.visualize.raw import FORMAT, json_bytes, npz_bytes, raw_maps, read_maps
from tests.visualize.drawing import CELLS, GRID, caption_of, plain

DOCUMENT = (Path(__file__).parents[2] / "docs/maps.md").read_text(encoding="utf-8")


def test_both_forms_hold_what_is_documented() -> None:
    caption = caption_of(plain(90, 60), CELLS, words="a dog catches a ball")
    caption.attention[1] = 1 / 49
    parts = np.stack([caption.attention, caption.attention[::-1]], 1)
    names = ("head 1", "head 2")
    share = np.linspace(0, 1, 5, dtype=np.float32)
    tokens = ("<start>", *caption.words)
    among = SelfAttention(
        tokens,
        np.full((2, 3, 6, 6), 1 / 6, np.float32),
        np.full((1, 2, 49, 49), 1 / 49, np.float32),
    )
    caption = replace(
        caption, parts=parts, part_names=names, sentinel=share, self_attention=among,
        explanation="attention",
        gaps=(Gap(1, (("dog", 0.75), ("cat", 0.25))), Gap(4, (("ball", 1.0),))),
    )  # fmt: skip
    with np.load(io.BytesIO(npz_bytes(caption))) as loaded:
        arrays = dict(loaded)
    plain_values = json.loads(json_bytes(caption))
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", DOCUMENT, re.MULTILINE)
    documented = [row for row in documented if not row[0].startswith("explanation_")]
    documented = [row for row in documented if row[0] != "explanations"]  # of `--explain all`
    assert [key for key, _ in documented] == list(arrays) == list(plain_values)
    lengths = {"T": 5, "P": 2, "H": 7, "W": 7, "W + 1": 8, "H + 1": 8, "2": 2, "4": 4, "T + 1": 6}
    lengths |= {"G": 2, "C": 2}
    for key, form in documented:
        axes = re.match(r"\[(.*)\]", form)
        known = (
            {"layers": arrays[key].shape[0], "heads": arrays[key].shape[-3], "L": 49}
            if key.endswith(("word_attention", "grid_attention"))
            else {}
        )
        shape = tuple((lengths | known)[axis] for axis in axes[1].split(", ")) if axes else ()
        assert arrays[key].shape == shape, key
        assert (arrays[key] == np.array(plain_values[key])).all(), key
        kind = form.split()[-1]
        assert arrays[key].dtype.kind == {"text": "U", "integer": "i", "boolean": "b"}.get(
            kind, "f"
        ), key
        if kind.startswith("float"):
            assert arrays[key].dtype == kind, key
    assert arrays["format"].item() == FORMAT
    assert f"`{FORMAT}`" in DOCUMENT
    assert arrays["words"].tolist() == ["a", "dog", "catches", "a", "ball"]
    assert arrays["entropy"][1] == pytest.approx(np.log2(49))
    assert (raw_maps(caption, ["dog"])["parts"] == parts[1:2]).all()
    assert raw_maps(caption, ["dog"])["sentinel"].tolist() == [0.25]
    assert raw_maps(caption, ["dog"])["gaps"].tolist() == [1, 4]
    assert plain_values["gap_words"] == [["dog", "cat"], ["ball", ""]]
    assert plain_values["gap_shares"] == [[0.75, 0.25], [1.0, 0.0]]


def test_a_model_without_a_gate_has_no_betas() -> None:
    caption = caption_of(plain(90, 60), CELLS, words="a dog catches a ball")
    keys, gateless = list(raw_maps(caption)), replace(caption, betas=None)
    assert list(raw_maps(gateless)) == [key for key in keys if key != "betas"]
    assert "betas" not in json.loads(json_bytes(gateless))
    with np.load(io.BytesIO(npz_bytes(gateless))) as loaded:
        assert "betas" not in loaded


def test_words_choose_maps() -> None:
    caption = caption_of(plain(90, 60), CELLS, words="a dog catches a ball")
    maps = raw_maps(caption, ["A", "ball"])
    assert maps["words"].tolist() == ["a", "a", "ball"]
    assert maps["position"].tolist() == [0, 3, 4]
    assert (maps["attention"] == caption.attention[[0, 3, 4]]).all()
    with pytest.raises(UserError, match="not in the caption: cat"):
        raw_maps(caption, ["cat"])


def test_captions_of_no_words_and_any_letters() -> None:
    empty = caption_of(plain(9, 6), [])
    assert raw_maps(empty)["attention"].shape == (0, *GRID)
    assert json.loads(json_bytes(empty))["words"] == []
    assert npz_bytes(empty) == npz_bytes(empty), "repeatable"
    letters = caption_of(plain(9, 6), [(0, 0), (1, 1)], words="犬 走る")
    assert json.loads(json_bytes(letters))["words"] == ["犬", "走る"]
    with np.load(io.BytesIO(npz_bytes(letters))) as loaded:
        assert loaded["words"].tolist() == ["犬", "走る"]


@pytest.mark.parametrize(
    ("fit", "size"),
    [(fit, size) for fit in ("squash", "crop") for size in ((320, 200), (199, 411), (5, 3), (1, 1))]
    # Padding is of whole pixels of the network's input, which is 56 pixels wide.
    + [("pad", size) for size in ((320, 240), (200, 400), (56, 8), (1, 1))],
)
def test_the_documented_example_lands_on_the_cell(
    size: tuple[int, int], fit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another tool's view: only the file, the photo and the document's own lines."""
    width, height = size
    stored = Image.fromarray(plain(height, width))  # lying; the EXIF turn makes it width × height
    exif = Image.Exif()
    exif[0x0112] = 6
    monkeypatch.chdir(tmp_path)
    stored.save("photo.jpg", format="PNG", exif=exif)
    row, column = 3, 4
    caption = caption_of(Path("photo.jpg"), [(0, 0), (row, column)], fit, words="a dog")
    Path("maps.npz").write_bytes(npz_bytes(caption))
    (example,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    exec(compile(example, "docs/maps.md", "exec"), {})
    with Image.open("dog.png") as drawn:
        assert drawn.size == size
        lit = np.asarray(drawn)[:, :, 0] > 64
    covered = {
        "squash": (width, height),
        "crop": (min(size), min(size)),
        "pad": (max(size), max(size)),
    }[fit]
    x, y = ((side - seen) / 2 for side, seen in zip(size, covered, strict=True))
    box = (
        x + column * covered[0] / 7,
        y + row * covered[1] / 7,
        x + (column + 1) * covered[0] / 7,
        y + (row + 1) * covered[1] / 7,
    )
    centres_y, centres_x = np.mgrid[:height, :width] + 0.5
    inside = (box[0] <= centres_x) & (centres_x < box[2])
    inside &= (box[1] <= centres_y) & (centres_y < box[3])
    assert (lit == inside).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": None}, "has no words"),
        ({"words": [["a"]]}, "must be a list of texts"),
        ({"box": ["a", 0, 1, 1]}, "box: not an array of numbers"),
        ({"box": [0, 0, 10**400, 1]}, "box: not an array of numbers"),
        ({"box": 3}, "must be left, top, right, bottom"),
        ({"grid": "x"}, "grid must be two whole numbers"),
        ({"log_probs": 0.5}, "log_probs"),
    ],
)
def test_damaged_maps_are_refused_in_one_line(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    values = {"words": ["a"], "attention": [[[0.5, 0.5], [0, 0]]]} | changes
    (tmp_path / "maps.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=message) as caught:
        read_maps(tmp_path / "maps.json", plain(90, 60))
    assert len(str(caught.value).splitlines()) == 1


def test_maps_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "maps.json").write_text('{"words": ' + "[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        read_maps(tmp_path / "maps.json", plain(90, 60))
