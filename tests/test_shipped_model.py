"""The model that comes with the package, on photographs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend import Captioner
from showattend.evaluation.evaluate import evaluate
from showattend.evaluation.grounding.ground import ground
from showattend.model.checkpoint import SEARCH_NAME, beside, find_model, weights_digest


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.from_pretrained()


def test_the_astronaut_is_a_person(captioner: Captioner, photos: list[Path]) -> None:
    (astronaut,) = (path for path in photos if path.stem == "astronaut")
    result = captioner.caption(astronaut)
    assert {"man", "woman", "person", "boy", "girl", "child"} & set(result.words)
    assert 4 <= len(result.words) <= 20
    assert result.attention.shape == (len(result.words), 10, 10)
    np.testing.assert_allclose(result.attention.sum((1, 2)), 1, atol=1e-4)


def test_it_knows_a_cat(captioner: Captioner, photos: list[Path]) -> None:
    (cat,) = (path for path in photos if path.stem == "chelsea")
    words = set(captioner.caption(cat).words)
    assert "cat" in words
    assert not {"man", "woman", "person", "boy", "girl", "people"} & words


def test_shipped_models_repeat_no_word_pair(captioner: Captioner) -> None:
    assert captioner.search.block_ngrams == 2
    assert Captioner.from_pretrained("flickr8k").search.block_ngrams == 2


def test_search_defaults_belong_to_their_weights() -> None:
    file, captioner = find_model("flickr8k"), Captioner.from_pretrained("flickr8k")
    given = json.loads(beside(file, SEARCH_NAME))
    assert given["weights"] == weights_digest(file)
    assert captioner.search.block_ngrams == given["block_ngrams"] == 2
    assert captioner.record["figures"] == given["figures"]


def test_different_photographs_get_different_captions(
    captioner: Captioner, photos: list[Path]
) -> None:
    texts = {result.text for result in captioner.caption(photos)}
    assert len(texts) == len(photos)


def test_flickr8k_recognises_unfamiliar_photographs(photos: list[Path]) -> None:
    """A cat, a cup of coffee and a rocket, of which it makes people; the astronaut is one."""
    captions = Captioner.from_pretrained("flickr8k", precision="fp32").caption(photos)
    strange = {path.stem for path, each in zip(photos, captions, strict=True) if each.note}
    assert strange == {"chelsea", "coffee", "rocket"}
    assert 0 < captions[0].unsure_below < 1


def test_words_have_different_maps(captioner: Captioner, photos: list[Path]) -> None:
    maps = captioner.caption(photos[0]).attention
    assert np.abs(maps[1] - maps[2]).max() > 0.01


def test_a_mirrored_photograph_mirrors_its_maps(captioner: Captioner, photos: list[Path]) -> None:
    """Attention follows the picture, not the position on the grid."""
    (astronaut,) = (path for path in photos if path.stem == "astronaut")
    photo = Image.open(astronaut)
    sentence = "a woman smiles"
    straight = captioner.attend(photo, sentence).attention
    mirrored = captioner.attend(
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), sentence
    ).attention
    as_it_is = np.abs(mirrored - straight).sum()
    turned_back = np.abs(mirrored[:, :, ::-1] - straight).sum()
    assert turned_back < as_it_is


def test_bf16_maps_are_close_to_fp32(captioner: Captioner, photos: list[Path]) -> None:
    """It moves the maps by less than half of what is between them and looking everywhere alike."""
    rounded = Captioner.from_pretrained(device="cpu", precision="bf16")
    for photo in photos[:2]:
        wanted = captioner.caption(photo)
        found = rounded.attend(photo, wanted.raw)
        moved = np.abs(found.attention - wanted.attention).sum()
        cells = wanted.attention[0].size
        assert moved < np.abs(wanted.attention - 1 / cells).sum() / 2
        # Scores of words are about 20: rounded to 8 bits, each moves by up to 0.08.
        words = len(wanted.log_probs)
        assert found.log_prob == pytest.approx(wanted.log_prob, abs=0.1 * words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
        {"ATEN_CPU_CAPABILITY": "default"},
    ],
    ids=str,
)
def test_captions_are_the_same_on_another_processor(
    setting: dict[str, str], captioner: Captioner, photos: list[Path]
) -> None:
    """To the letter; the settings have oneDNN and PyTorch do without what is newer."""
    command = [sys.executable, "-m", "showattend", "caption", *map(str, photos)]
    done = subprocess.run(
        command, env=os.environ | setting, check=True, capture_output=True, text=True
    )
    wanted = [
        f"{path}\t{each.text}" for path, each in zip(photos, captioner.caption(photos), strict=True)
    ]
    assert done.stdout.splitlines() == wanted


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("model", "data", "least"),
    [
        ("flickr8k", "flickr8k", {"BLEU-4": 0.25, "METEOR": 0.22, "CIDEr": 0.65}),
        ("everyday", "everyday", {"BLEU-4": 0.24, "METEOR": 0.225, "CIDEr": 0.88}),
        ("everyday", "flickr8k", {"BLEU-4": 0.24, "METEOR": 0.215, "CIDEr": 0.65}),
    ],
)
def test_scores_on_validation_splits(
    model: str, data: str, least: dict[str, float], real_data: Path
) -> None:
    """The cards' figures are those that come out, and no lower than what was shipped."""
    folder, captioner = real_data / data, Captioner.from_pretrained(model, precision="fp32")
    result = evaluate(folder / "captions_val.json", captioner=captioner, images=folder / "images")
    found, worded = result["metrics"], result["statistics"]
    assert worded["distinct_captions"] >= 0.85 * result["settings"]["images"]
    assert worded["bad_endings"] < 0.01
    for name, value in least.items():
        assert found[name] >= value, name
    if model == data:
        (stored,) = captioner.record["figures"]
        assert result["settings"].items() >= stored["settings"].items()
        for name, value in stored["metrics"].items():
            assert found[name] == pytest.approx(value, abs=0.005), name


@pytest.mark.slow
@pytest.mark.realdata
def test_maps_point_at_named_objects(captioner: Captioner, real_data: Path) -> None:
    """Better than a map that looks everywhere alike, and than that of another word."""
    folder = real_data / "coco_subset"
    found = ground(folder / "instances.json", folder / "images", captioner)
    assert found["words"] > 30
    for measure in ("pointing", "mass"):
        assert found["interval"][measure]["uniform"][0] > 0
        assert found["interval"][measure]["other_word"][0] > 0
    assert found["interval"]["mass"]["centre"][0] > 0
