"""`CaptionBatch` as Ray Data calls it: the captions of `Captioner`, row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.exceptions import ConfigError
from showattend.export.cluster import CaptionBatch, caption_batch
from showattend.export.cluster.caption_batch import COLUMNS


@pytest.fixture(autouse=True)
def loaded(captioner: Captioner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_batch, "load_worker", lambda *_: captioner)


def column(values: list[object]) -> np.ndarray:
    filled = np.empty(len(values), dtype=object)
    filled[:] = values
    return filled


def test_captions_are_the_captioners(captioner: Captioner, pictures: list[Path]) -> None:
    batch = {
        "bytes": column([path.read_bytes() for path in pictures]),
        "path": column([str(path) for path in pictures]),
        "id": np.arange(len(pictures)),
    }
    found = CaptionBatch(n_best=2)(batch)
    assert set(found) == {"path", "id", *COLUMNS, "alternatives"}
    expected = captioner.caption(pictures, n_best=2)
    assert list(found["caption"]) == [each.text for each in expected]
    assert list(found["words"]) == [each.raw for each in expected]
    assert found["log_prob"] == pytest.approx([each.log_prob for each in expected])
    assert found["confidence"] == pytest.approx([each.confidence for each in expected])
    others = ["\n".join(map(str, each.alternatives)) for each in expected]
    assert list(found["alternatives"]) == others
    assert list(found["error"]) == [None] * len(pictures)
    assert list(found["id"]) == list(range(len(pictures)))
    assert len({each.text for each in expected}) > 1, "the test can fail"


def test_bad_images_keep_their_row(captioner: Captioner, pictures: list[Path]) -> None:
    good = pictures[0].read_bytes()
    names = column(["s3://b/none.jpg", "s3://b/good.jpg", "s3://b/null.jpg"])
    found = CaptionBatch()({"bytes": column([b"none", good, None]), "path": names})
    assert [each is None for each in found["caption"]] == [True, False, True]
    assert found["caption"][1] == captioner.caption(good).text
    assert found["error"][0].endswith("none.jpg: not an image in a supported format") or (
        "none.jpg: " in found["error"][0]
    )
    assert found["error"][1] is None
    assert found["error"][2] == "s3://b/null.jpg: there is no image in this row"
    assert np.isnan(found["log_prob"][0])
    found = CaptionBatch()({"bytes": column([b"none"])})
    assert list(found["caption"]) == [None]
    assert "row 0" in found["error"][0]


@pytest.mark.parametrize("is_object", [True, False])
def test_pixels_and_paths(captioner: Captioner, pictures: list[Path], is_object: bool) -> None:
    sizes = [(40, 30), (20, 50)] if is_object else [(40, 30)] * 2
    pixels = [
        np.asarray(Image.open(path).convert("RGB").resize(size))
        for path, size in zip(pictures, sizes, strict=False)
    ]
    images = column(pixels) if is_object else np.stack(pixels)
    found = CaptionBatch(images="image", keep_images=True)({"image": images})
    assert list(found["caption"]) == [each.text for each in captioner.caption(pixels)]
    assert "image" in found
    by_path = CaptionBatch(images="path")({"path": column([str(path) for path in pictures])})
    assert list(by_path["caption"]) == [each.text for each in captioner.caption(pictures)]
    assert "path" not in by_path


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="beam_size"):
        CaptionBatch(beam_size=0)
    with pytest.raises(ConfigError, match="no column 'bytes', only item, path; give images="):
        CaptionBatch()({"item": column([b""]), "path": column([""])})
