"""Captioner: any source, any batch, the same captions; maps, options, geometry, errors."""

from __future__ import annotations

import inspect
import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.config import AttentionConfig, DecoderConfig
from showattend.exceptions import ConfigError, ImageError, UserError
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import build_decoder, build_encoder
from showattend.model.checkpoint import load, save
from showattend.model.description import describe
from showattend.model.encoder import Encoder
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary

SIZE = 96  # a grid of 3 x 3


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    """Random weights far from uniform, so that images and beams differ in their captions."""
    return make()


def test_gaps_are_filled_by_the_captioner(captioner: Captioner, pictures: list[Path]) -> None:
    filled = captioner.fill(pictures[0], "A ___ runs, zeppelin _____.", candidates=4)
    words = filled.words
    assert (words[0], words[2], words[3]) == ("a", "runs", "zeppelin")
    assert [gap.place for gap in filled.gaps] == [1, 4]
    for gap in filled.gaps:
        assert 1 <= len(gap.candidates) <= 4
        assert {word for word, _ in gap.candidates} <= set(captioner.vocabulary.words)
    # What is said is a sentence like any other: the same scores and maps when it is forced.
    forced = captioner.attend(pictures[0], words)
    assert filled.log_probs == pytest.approx(forced.log_probs, abs=1e-5)
    np.testing.assert_allclose(filled.attention, forced.attention, atol=1e-6)
    values = json.loads(json.dumps(filled.to_dict()))
    assert values["gaps"][0] == {
        "place": 1,
        "candidates": [list(c) for c in filled.gaps[0].candidates],
    }
    assert "gaps" not in forced.to_dict()


def test_a_sentence_without_a_gap_is_not_filled(captioner: Captioner, pictures: list[Path]) -> None:
    with pytest.raises(UserError, match="has no gap; write ___"):
        captioner.fill(pictures[0], "a snake_case dog")
    with pytest.raises(ConfigError, match="candidates"):
        captioner.fill(pictures[0], "a ___", candidates=0)


def test_a_model_without_self_attention_says_so(captioner: Captioner, pictures: list[Path]) -> None:
    with pytest.raises(UserError, match="no self-attention; decoder"):
        captioner.self_attention(pictures[0])


def make(fit: str = "squash") -> Captioner:
    words = ["a", "dog", "runs", "through", "the", "grass", "man", "in", "red", "shirt", "on"]
    vocabulary = Vocabulary(words)
    values = {"embedding_dim": 16, "hidden_dim": 16, "attention_dim": 16}
    decoder = FusedLSTMDecoder(vocabulary_size=len(vocabulary), feature_dim=1280, **values)
    torch.manual_seed(1)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return Captioner(
        encoder=build_encoder(name="efficientnet_lite0"),
        decoder=decoder,
        vocabulary=vocabulary,
        preprocessing=Preprocessing(size=SIZE, fit=fit, mean=(0.5,) * 3, std=(0.5,) * 3),
        search=SearchOptions(beam_size=3, max_length=8),
        config={
            "encoder": {"name": "efficientnet_lite0"},
            "decoder": values,
            "search": {"beam_size": 3, "max_length": 8},
        },
        precision="fp32",
    )


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Seven pictures that differ, of different shapes."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(7):
        colours = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.png"
        size = (60 + 10 * number, 90)
        Image.fromarray(colours).resize(size, Image.Resampling.NEAREST).save(path)
        paths.append(path)
    return paths


def same(one: Caption, other: Caption) -> None:
    assert one.words == other.words
    assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
    assert one.attention == pytest.approx(other.attention, abs=1e-5)
    assert one.geometry == other.geometry


def test_a_path_a_picture_and_an_array_give_the_same_caption(
    captioner: Captioner, pictures: list[Path]
) -> None:
    by_path = captioner.caption(pictures[0])
    assert isinstance(by_path, Caption)
    with Image.open(pictures[0]) as picture:
        for source in (str(pictures[0]), picture, np.asarray(picture)):
            found = captioner.caption(source)
            same(found, by_path)
            assert found.image is source


def test_every_kind_of_source_gives_the_same_caption(
    captioner: Captioner, pictures: list[Path], tmp_path: Path
) -> None:
    by_path = captioner.caption(pictures[0])
    content = pictures[0].read_bytes()
    with Image.open(pictures[0]) as picture:
        pixels = torch.from_numpy(np.array(picture))
    with pictures[0].open("rb") as opened, os.scandir(pictures[0].parent) as entries:
        entry = next(each for each in entries if each.name == pictures[0].name)
        sources = [content, opened, io.BytesIO(content), entry, pixels, pixels.permute(2, 0, 1)]
        found = [captioner.caption(source) for source in sources]
        found += [result for _, result in captioner.stream(sources)]
        found += [result for source in sources for _, result in captioner.stream(source)]
        forced = [captioner.attend(source, by_path.text) for source in sources]
    for number, each in enumerate(found):
        same(each, by_path)
        each.save_overlay(tmp_path / f"drawn{number}.png")  # the file is closed by now
    for each in forced:
        same(each, captioner.attend(pictures[0], by_path.text))
    drawn = {(tmp_path / f"drawn{number}.png").read_bytes() for number in range(len(found))}
    assert len(drawn) == 1


@pytest.mark.parametrize("given", [None, {"photo.png": 1}, 7])
def test_what_is_no_image_is_named_by_its_type(given: Any, captioner: Captioner) -> None:
    kind = type(given).__name__
    for call in (captioner.caption, captioner.stream):
        with pytest.raises(ImageError, match=f"not {kind}; or a list of these"):
            call(given)
    with pytest.raises(ImageError, match=f"not {kind}$"):
        captioner.caption([given])
    with pytest.raises(ImageError, match=f"not {kind}$"):
        captioner.attend(given, "a dog")


def test_a_batch_is_what_its_images_are_one_by_one(
    captioner: Captioner, pictures: list[Path]
) -> None:
    together = captioner.caption(pictures, batch_size=3)
    assert isinstance(together, list)
    assert len({each.words for each in together}) > 1, "the test needs captions that differ"
    for path, found in zip(pictures, together, strict=True):
        assert found.image == path
        same(found, captioner.caption(path))
    assert captioner.caption([]) == []
    assert len(captioner.caption(pictures[:1])) == 1


def test_a_caption_has_a_map_and_a_gate_for_each_word(
    captioner: Captioner, pictures: list[Path]
) -> None:
    found = captioner.caption(pictures[1], n_best=3)
    ranked = (found, *found.alternatives)
    assert len(ranked) == 3
    assert len({each.words for each in ranked}) == 3
    assert [each.score for each in ranked] == sorted((e.score for e in ranked), reverse=True)
    for each in ranked:
        T = len(each.words)
        assert each.attention.shape == (T, 3, 3)
        assert each.attention.dtype == np.float32
        assert each.attention.sum((1, 2)) == pytest.approx(np.ones(T), abs=1e-5)
        assert each.betas.shape == (T,)
        assert len(each.log_probs) in (T, T + 1)
        assert set(each.words) <= set(captioner.vocabulary.words)
        assert each.alternatives == () or each is found
        assert each.image == pictures[1]


def test_a_model_without_a_gate_says_so(captioner: Captioner, photo: Path, tmp_path: Path) -> None:
    gateless = by_hand(captioner.encoder, gate="none")
    found = gateless.caption(photo, n_best=2)
    for each in (found, *found.alternatives, gateless.attend(photo, "a dog"),
                 gateless.sample(photo, seed=0)):  # fmt: skip
        assert each.betas is None
        assert each.to_dict()["betas"] is None
        assert each.attention.sum((1, 2)) == pytest.approx(np.ones(len(each.words)), abs=1e-5)
    for suffix in (".png", ".svg", ".gif", ".html", ".npz", ".json"):
        found.save_overlay(tmp_path / f"figure{suffix}")
        assert (tmp_path / f"figure{suffix}").stat().st_size > 500
    captioned = json.loads((tmp_path / "figure.json").read_text())
    assert "betas" not in captioned


def test_a_model_knows_whether_it_attends(captioner: Captioner, photo: Path) -> None:
    assert captioner.looks
    decoder = build_decoder(
        DecoderConfig(embedding_dim=8, hidden_dim=8, attention_dim=8),
        AttentionConfig(kind="none"),
        vocabulary_size=len(captioner.vocabulary),
        feature_dim=1280,
    )
    blind = Captioner(
        encoder=captioner.encoder,
        decoder=decoder,
        vocabulary=captioner.vocabulary,
        preprocessing=captioner.preprocessing,
    )
    assert not blind.looks
    assert np.ptp(blind.attend(photo, "a dog").attention) == 0


def test_options_reach_the_search(captioner: Captioner, pictures: list[Path]) -> None:
    assert len(captioner.caption(pictures[0], max_length=2).words) <= 2
    assert len(captioner.caption(pictures[0], min_length=8).words) == 8
    greedy, wide = (captioner.caption(pictures[2], beam_size=k, length_penalty=0) for k in (1, 8))
    assert wide.log_prob >= greedy.log_prob


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"n_best": 9}, "n_best 9 is over beam_size 3"),
        ({"max_length": 0}, "max_length is 0"),
        ({"min_length": 99}, "min_length 99 is over max_length"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"beam_size": 2.5}, "beam_size is 2.5; it must be a whole number"),
        ({"length_penalty": float("nan")}, "length_penalty is nan; it must be a finite number"),
        ({"block_ngrams": "2"}, "block_ngrams is '2'; it must be a whole number"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: dict[str, Any], message: str, captioner: Captioner, photo: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        captioner.caption(photo, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 0},
        {"batch_size": 0},
        {"length_penalty": float("nan")},
        {"prefix": "a dog", "max_length": 2},
        {"beam": 3},
    ],
)
def test_a_stream_checks_its_options_when_it_is_called(
    options: dict[str, Any], captioner: Captioner
) -> None:
    def images() -> Any:
        raise AssertionError("no image is asked for")
        yield

    with pytest.raises((ConfigError, TypeError)):
        captioner.stream(images(), **options)


# Errors in a stream ----------------------------------------------------------------------------


def test_a_stream_keeps_the_order_and_puts_errors_in_their_place(
    captioner: Captioner, pictures: list[Path], tmp_path: Path
) -> None:
    text, gone = tmp_path / "text.jpg", tmp_path / "gone.jpg"
    text.write_text("no picture")
    # Bad ones at both sides of a border between batches of two, and a whole batch of them.
    sources = [pictures[0], text, gone, pictures[1], text, gone, pictures[2], gone, pictures[3]]
    found = list(captioner.stream(iter(sources), batch_size=2))
    assert [source for source, _ in found] == sources
    for source, result in found:
        if source in (text, gone):
            assert isinstance(result, ImageError)
            assert str(source) in str(result)
        else:
            assert isinstance(result, Caption)
            same(result, captioner.caption(source))


def test_a_stream_does_not_read_far_ahead(captioner: Captioner, pictures: list[Path]) -> None:
    taken = []

    def endless() -> Any:
        while True:
            taken.append(1)
            yield pictures[0]

    stream = captioner.stream(endless(), batch_size=2)
    for _ in range(5):
        next(stream)
    stream.close()
    assert len(taken) < 16


def test_caption_raises_for_a_bad_image(captioner: Captioner, pictures: list[Path]) -> None:
    with pytest.raises(ImageError, match="no such file"):
        captioner.caption([pictures[0], "nowhere.jpg"])
    with pytest.raises(ImageError, match="no such file"):
        captioner.attend("nowhere.jpg", "a dog")


# Steering --------------------------------------------------------------------------------------


def test_a_prefix_comes_first_and_keeps_unknown_words(
    captioner: Captioner, pictures: list[Path]
) -> None:
    found = captioner.caption(pictures[0], prefix="A Zebra in,", n_best=3)
    for each in (found, *found.alternatives):
        assert each.words[:3] == ("a", "zebra", "in")
        assert "<unk>" not in each.words
        forced = captioner.attend(pictures[0], " ".join(each.words))
        assert each.attention == pytest.approx(forced.attention, abs=1e-5)
    assert captioner.caption(pictures[0], prefix="  ").words == captioner.caption(pictures[0]).words


def test_banned_words_are_not_said(captioner: Captioner, pictures: list[Path]) -> None:
    free = captioner.caption(pictures[0])
    without = captioner.caption(pictures[0], banned=[free.words[0].upper(), "giraffe"])
    assert free.words[0] not in without.words
    assert without.words


def test_a_prefix_without_room_is_refused(captioner: Captioner, photo: Path) -> None:
    with pytest.raises(ConfigError, match="leave room"):
        captioner.caption(photo, prefix="a dog", max_length=2)


def test_samples_have_maps_and_follow_their_seed(
    captioner: Captioner, pictures: list[Path]
) -> None:
    options: dict[str, Any] = {"samples": 4, "prefix": "a zebra", "banned": ["dog"]}
    found = captioner.sample(pictures[0], seed=3, **options)
    ranked = (found, *found.alternatives)
    assert [each.words for each in ranked] == [
        each.words
        for again in [captioner.sample(pictures[0], seed=3, **options)]
        for each in (again, *again.alternatives)
    ]
    assert 1 < len(ranked) <= 4
    assert len({each.words for each in ranked}) == len(ranked)
    assert [each.score for each in ranked] == sorted((e.score for e in ranked), reverse=True)
    for each in ranked:
        assert each.words[:2] == ("a", "zebra")
        assert not {"dog", "<unk>"} & set(each.words)
        assert each.image == pictures[0]
        assert len(each.log_probs) in (len(each.words), len(each.words) + 1)
        assert each.attention.sum((1, 2)) == pytest.approx(np.ones(len(each.words)), abs=1e-5)
    others = {captioner.sample(pictures[0], seed=k, **options).words for k in range(5)}
    assert len(others) > 1


def test_a_cold_sample_is_the_greedy_caption(captioner: Captioner, pictures: list[Path]) -> None:
    cold = captioner.sample(pictures[2], temperature=1e-3, samples=2)
    same(cold, captioner.caption(pictures[2], beam_size=1))
    assert cold.alternatives == ()


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 0},
        {"samples": 1.5},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"max_length": 2.5},
        {"seed": 1.5},
    ],
)
def test_samples_that_mean_nothing_are_refused(
    options: dict[str, Any], captioner: Captioner, photo: Path
) -> None:
    with pytest.raises(ConfigError, match="must be"):
        captioner.sample(photo, **options)


# A given sentence ------------------------------------------------------------------------------


def test_attend_follows_a_given_sentence_word_by_word(
    captioner: Captioner, pictures: list[Path]
) -> None:
    found = captioner.attend(pictures[0], "A zebra runs, through THE grass!")
    assert found.words == ("a", "zebra", "runs", "through", "the", "grass")
    assert found.text == "A zebra runs through the grass."
    assert found.attention.shape == (6, 3, 3)
    assert found.attention.sum((1, 2)) == pytest.approx(np.ones(6), abs=1e-5)
    assert len(found.log_probs) == 7
    # The unknown word is read as <unk>, like any other unknown word.
    same_unknown = captioner.attend(pictures[0], "a giraffe runs through the grass")
    assert same_unknown.log_probs == found.log_probs
    assert same_unknown.words[1] == "giraffe"


def test_attend_agrees_with_caption_and_sample(captioner: Captioner, pictures: list[Path]) -> None:
    """The same words have the same log-probabilities, maps and score, however they were found."""
    ended = 0
    for picture in pictures:
        found = [
            captioner.caption(picture, n_best=3),
            captioner.caption(picture, banned=["dog", "man"], block_ngrams=1),
            captioner.caption(picture, prefix="a zebra"),
            captioner.sample(picture, seed=1, max_length=8),
        ]
        for each in (one for best in found for one in (best, *best.alternatives)):
            forced = captioner.attend(picture, each.words)
            assert forced.words == each.words
            wanted = forced.log_probs[: len(each.log_probs)]
            assert each.log_probs == pytest.approx(wanted, abs=1e-5)
            assert forced.attention == pytest.approx(each.attention, abs=1e-5)
            if len(each.log_probs) > len(each.words):  # else it was cut off, and has no end
                ended += 1
                assert forced.score == pytest.approx(each.score, abs=1e-5)
                same(captioner.attend(picture, each.raw), forced)
    assert ended > 5, "the test needs captions that come to their end"


@pytest.mark.parametrize("text", ["", "  ", "?!", "."])
def test_a_sentence_without_words_is_refused(text: str, captioner: Captioner, photo: Path) -> None:
    with pytest.raises(UserError, match="has no words"):
        captioner.attend(photo, text)


def test_many_sentences_cost_one_encoding(
    captioner: Captioner, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a dog runs", "the man in the red shirt", "a zebra"]
    alone = [captioner.attend(pictures[0], text) for text in texts]
    encoded: list[int] = []
    encode = captioner.encoder.forward

    def counted(images: torch.Tensor) -> torch.Tensor:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(captioner.encoder, "forward", counted)
    together = captioner.attend_all(pictures[0], texts)
    assert encoded == [1]
    for one, other in zip(together, alone, strict=True):
        assert one.words == other.words
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-6)
    assert captioner.attend_all(pictures[0], []) == []
    with pytest.raises(UserError, match="'!' has no words"):
        captioner.attend_all(pictures[0], ["a dog", "!"])


# Loading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fit", "box"),
    [
        ("squash", (0, 0, 90, 60)),
        ("crop", (15, 0, 75, 60)),
        ("pad", (0, -15, 90, 75)),
    ],
)
def test_preprocessing_travels_with_the_model(
    fit: str, box: tuple[float, ...], tmp_path: Path, photo: Path
) -> None:
    owner = make(fit)
    path = save(tmp_path / "model", owner.to_checkpoint())
    again = Captioner.from_pretrained(path, device="cpu", precision="fp32")
    assert again.preprocessing == owner.preprocessing
    assert again.vocabulary == owner.vocabulary
    assert (again.search.beam_size, again.search.max_length) == (3, 8)
    found = again.caption(photo)
    same(found, owner.caption(photo))
    assert found.geometry.image_size == (90, 60)
    assert found.geometry.box == pytest.approx(box)


def by_hand(encoder: Encoder, size: int = 64, **decoder: Any) -> Captioner:
    """By the public constructor, with nothing but what it asks for."""
    vocabulary = Vocabulary(["a", "dog", "runs", "on", "grass"])
    sizes = {"embedding_dim": 16, "hidden_dim": 24, "attention_dim": 8} | decoder
    torch.manual_seed(2)
    made = FusedLSTMDecoder(vocabulary_size=len(vocabulary), feature_dim=encoder.dim, **sizes)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return Captioner(
        encoder=encoder,
        decoder=made,
        vocabulary=vocabulary,
        preprocessing=Preprocessing(size=size, fit="pad", mean=(0.4,) * 3, std=(0.6,) * 3),
        precision="fp32",
    )


def altered() -> Encoder:
    encoder = build_encoder(name="efficientnet_lite0")
    with torch.no_grad():
        next(encoder.parameters()).mul_(1.01)
    return encoder


@pytest.mark.parametrize(
    ("make_encoder", "stored"),
    [
        (lambda: build_encoder(name="efficientnet_lite0"), False),
        (lambda: build_encoder(name="efficientnet_lite0", pretrained=False), True),
        (lambda: build_encoder(name="efficientnet_lite0", beside="blocks.4"), False),
        (lambda: build_encoder(name="torchvision:mobilenet_v3_small", pretrained=False), True),
        (altered, True),
    ],
)
def test_a_captioner_made_by_hand_saves_and_loads(
    make_encoder: Any, stored: bool, tmp_path: Path, photo: Path
) -> None:
    torch.manual_seed(3)
    owner = by_hand(make_encoder())
    owner.search = SearchOptions(beam_size=4, n_best=2, max_length=6, length_penalty=0.2)
    path = save(tmp_path / "model", owner.to_checkpoint())
    assert stored == any(key.startswith("encoder.") for key in load(path).weights)
    again = Captioner.from_pretrained(path, device="cpu", precision="fp32")
    assert again.search == owner.search
    one, other = owner.caption(photo), again.caption(photo)
    same(one, other)
    assert one.score == pytest.approx(other.score, abs=1e-5)
    same(one.alternatives[0], other.alternatives[0])
    # And what was loaded saves as well.
    assert again.to_checkpoint().config == owner.to_checkpoint().config
    assert "weights of its own" in describe(path) or not stored


@pytest.mark.parametrize(
    "shape",
    [
        {"gate": "vector", "attend_with": "current"},
        {"gate": "none", "projection_dim": 12, "dropout": 0.25},
    ],
)
def test_a_decoder_made_by_hand_is_saved_as_it_is(
    shape: dict[str, Any], tmp_path: Path, captioner: Captioner, photo: Path
) -> None:
    owner = by_hand(captioner.encoder, **shape)
    path = save(tmp_path / "model", owner.to_checkpoint())
    again = Captioner.from_pretrained(path, device="cpu", precision="fp32")
    same(again.caption(photo), owner.caption(photo))
    assert load(path).config["decoder"].items() >= shape.items()


def test_search_defaults_set_later_are_saved(
    tmp_path: Path, captioner: Captioner, photo: Path
) -> None:
    path = save(tmp_path / "model", captioner.to_checkpoint())
    owner = Captioner.from_pretrained(path, device="cpu", precision="fp32")
    owner.search = replace(owner.search, beam_size=1, max_length=3, block_ngrams=1)
    save(path, owner.to_checkpoint())
    again = Captioner.from_pretrained(path, device="cpu", precision="fp32")
    assert again.search == owner.search
    same(again.caption(photo), owner.caption(photo))
    for steered in ({"prefix": (4,)}, {"banned": (4,)}):
        with pytest.raises(ConfigError, match=r"pass them to caption\(\)"):
            owner.search = replace(owner.search, **steered)


def test_an_encoder_that_no_name_builds_is_not_saved(captioner: Captioner) -> None:
    body = torch.nn.Conv2d(3, 4, 3, stride=32)
    owner = by_hand(captioner.encoder)
    owner.encoder = Encoder(body, {"only": body}, "mine")
    with pytest.raises(ConfigError, match="unknown encoder 'mine'"):
        owner.to_checkpoint()


def test_a_larger_input_makes_a_finer_grid(
    tmp_path: Path, captioner: Captioner, photo: Path
) -> None:
    path = save(tmp_path / "model", captioner.to_checkpoint())
    own = captioner.preprocessing.size
    finer = Captioner.from_pretrained(path, device="cpu", precision="fp32", size=2 * own)
    assert finer.preprocessing == replace(captioner.preprocessing, size=2 * own)
    one, other = (each.attend(photo, "a dog runs").attention for each in (captioner, finer))
    assert other.shape[1:] == (2 * one.shape[1], 2 * one.shape[2])
    assert finer.to_checkpoint().config["encoder"]["size"] == 2 * own
    same_size = Captioner.from_pretrained(path, device="cpu", precision="fp32", size=own)
    same(same_size.caption(photo), captioner.caption(photo))


def test_a_size_that_the_encoder_does_not_take_is_one_line(
    tmp_path: Path, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "model", captioner.to_checkpoint())

    def forward(*_: object) -> torch.Tensor:
        raise AssertionError("Input height (160) doesn't match model (64).")

    monkeypatch.setattr(Encoder, "forward", forward)
    with pytest.raises(ConfigError, match="does not take images of 160 pixels"):
        Captioner.from_pretrained(path, device="cpu", size=160)
    for size in (0, 96.5, 10**9):
        with pytest.raises(ConfigError, match=f"size is {size}; it must be"):
            captioner.resize(size)  # type: ignore[arg-type]


def test_bf16_rounds_products_and_neither_maps_nor_probabilities(
    tmp_path: Path, captioner: Captioner, photo: Path
) -> None:
    path = save(tmp_path / "model", captioner.to_checkpoint())
    rounded = Captioner.from_pretrained(path, device="cpu", precision="bf16")
    assert rounded.decoder.L_o.weight.dtype == torch.bfloat16
    found = rounded.attend(photo, "a dog runs")
    assert found.attention.dtype == np.float32
    assert found.attention.sum((1, 2)) == pytest.approx(np.ones(3), abs=1e-5)
    assert np.isfinite(found.log_probs).all()
    assert max(found.log_probs) < 0


@pytest.mark.parametrize("made", [Captioner, Captioner.from_pretrained, Captioner.from_checkpoint])
def test_captions_are_made_in_fp32_unless_something_else_is_asked_for(made: Any) -> None:
    assert inspect.signature(made).parameters["precision"].default == "fp32"


def test_fp32_is_fp32_where_the_process_allows_less(
    captioner: Captioner, photo: Path, pictures: list[Path]
) -> None:
    """On a processor with bfloat16 "medium" takes it for PyTorch's float32 products."""
    sentence = "a dog runs through the grass"

    def results() -> list[Caption]:
        sampled = captioner.sample(photo, seed=0)
        return [captioner.attend(photo, sentence), sampled, *captioner.caption(pictures)]

    wanted = results()
    torch.set_float32_matmul_precision("medium")
    try:
        found = results()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    for one, other in zip(found, wanted, strict=True):
        same(one, other)


@pytest.fixture
def default_again() -> Iterator[None]:
    """Afterwards PyTorch's default is float32 again."""
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("default_again")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_pytorchs_default_precision_does_not_matter(
    dtype: torch.dtype, captioner: Captioner, pictures: list[Path], tmp_path: Path
) -> None:
    def everything(one: Captioner) -> list[Caption]:
        found = one.caption(pictures, n_best=3)
        found = [each for best in found for each in (best, *best.alternatives)]
        found += [one.attend(pictures[0], "a dog runs")]
        return found + [one.sample(pictures[0], seed=seed) for seed in range(3)]

    path = save(tmp_path / "model", captioner.to_checkpoint())
    wanted = everything(captioner)
    torch.set_default_dtype(dtype)
    for one in (captioner, Captioner.from_pretrained(path, device="cpu", precision="fp32")):
        assert one.preprocessing == captioner.preprocessing
        for found, other in zip(everything(one), wanted, strict=True):
            assert found.words == other.words
            assert found.log_probs == other.log_probs
            assert found.score == other.score
            np.testing.assert_array_equal(found.attention, other.attention)
        assert next(one.encoder.parameters()).dtype == torch.float32
    if dtype != torch.float64:  # PyTorch cannot initialise a decoder in it
        return
    handmade = by_hand(build_encoder(name="efficientnet_lite0"))
    path = save(tmp_path / "handmade", handmade.to_checkpoint())
    again = Captioner.from_pretrained(path, device="cpu", precision="fp32")
    for one, other in zip(everything(handmade), everything(again), strict=True):
        same(one, other)
    assert torch.get_default_dtype() == dtype


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99' is not available here"),
        ({"device": "cpu", "precision": "int8"}, "precision 'int8'"),
    ],
)
def test_a_device_or_precision_that_is_not_there_is_one_line(
    values: dict[str, str], message: str, tmp_path: Path, captioner: Captioner
) -> None:
    path = save(tmp_path / "model", captioner.to_checkpoint())
    with pytest.raises(ConfigError, match=message):
        Captioner.from_pretrained(path, **values)
