"""Search against exhaustive enumeration, and at its edges."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from showattend.decoding.beam import search
from showattend.decoding.forced import force
from showattend.decoding.hypotheses import score_of
from showattend.decoding.sampling import sample
from showattend.exceptions import ConfigError
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary
from tests.decoding.small_decoders import END, START, UNK, Table, features, lstm, options


def test_a_wide_beam_finds_what_enumeration_finds() -> None:
    decoder, image = lstm(), features(1)
    words = range(4, 7)
    everything = [
        list(each) for length in range(1, 4) for each in itertools.product(words, repeat=length)
    ]
    cut_off = [list(each) for each in itertools.product(words, repeat=3)]
    scores = {tuple(w): sum(force(decoder, image, w).log_probs) for w in everything}
    scores |= {tuple(w): sum(force(decoder, image, w).log_probs[:-1]) for w in cut_off}
    best = max(scores, key=scores.__getitem__)
    found = search(decoder, image, options(beam_size=200, max_length=3, n_best=5))[0]
    assert tuple(found[0].words) == best
    assert found[0].score == pytest.approx(scores[best], abs=1e-5)
    ranked = sorted(scores.values(), reverse=True)[:5]
    assert [each.score for each in found] == pytest.approx(ranked, abs=1e-5)


@pytest.mark.parametrize(
    "steering", [{}, {"banned": (4,)}, {"block_ngrams": 1}, {"prefix": (UNK, 5)}, {"min_length": 4}]
)
@pytest.mark.parametrize("beam_size", [1, 3, 5])
def test_what_search_returns_is_what_forcing_its_words_gives(
    beam_size: int, steering: dict[str, Any]
) -> None:
    """Words, log-probabilities, maps and score belong together, for every beam of every image."""
    decoder, images = lstm(5), features()
    with torch.no_grad():  # some captions come to their end, and some are cut off
        decoder.output.bias[END] += 2
    settings = {"beam_size": beam_size, "n_best": beam_size, "max_length": 6, **steering}
    found = search(decoder, images, options(length_penalty=0.7, **settings))
    ended = 0
    assert len(found) == 3
    for b, hypotheses in enumerate(found):
        for each in hypotheses:
            forced = force(decoder, images[b : b + 1], each.words)
            wanted = forced.log_probs[: len(each.log_probs)]
            assert each.log_probs == pytest.approx(wanted, abs=1e-5)
            torch.testing.assert_close(each.alpha, forced.alpha, atol=1e-5, rtol=0)
            torch.testing.assert_close(each.beta, forced.beta, atol=1e-5, rtol=0)
            assert len(each.log_probs) in (len(each.words), len(each.words) + 1)
            if len(each.log_probs) > len(each.words):
                ended += 1
                assert each.score == pytest.approx(forced.score, abs=1e-5)
            assert each.score == pytest.approx(score_of(each.log_probs, 0.7), abs=1e-5)
    assert ended, "the test needs captions that come to their end"


def test_a_batch_gives_what_its_images_give_alone() -> None:
    decoder, images = lstm(4), features(5)
    together = search(decoder, images, options(beam_size=3, max_length=6))
    for b in range(5):
        alone = search(decoder, images[b : b + 1], options(beam_size=3, max_length=6))[0][0]
        assert together[b][0].words == alone.words


def test_greedy_takes_the_likeliest_word_every_time() -> None:
    decoder, image = lstm(5), features(1)
    words: list[int] = []
    memory, given = decoder.memory(image), START
    state = decoder.start(memory)
    for _ in range(4):
        scores, state, *_ = decoder.step(torch.tensor([[given]]), state, memory)
        scores[..., [Vocabulary.PAD, START, UNK]] = -1e9
        if not words:
            scores[..., END] = -1e9
        given = int(scores.argmax())
        if given == END:
            break
        words.append(given)
    assert search(decoder, image, options(beam_size=1))[0][0].words == words


def test_maps_follow_their_beams_when_beams_change_places() -> None:
    """The likelier first word leads to a worse sentence: beams must swap, maps with them."""

    def model(said: list[int]) -> list[float]:
        probs = {4: 0.6, 5: 0.4} if not said else {4: 0.3, 6: 0.3, END: 0.4}
        if said == [5]:
            probs = {6: 1.0}
        if said == [5, 6]:
            probs = {END: 1.0}
        scores = [-1e4] * 8
        for word, p in probs.items():
            scores[word] = float(torch.tensor(p).log())
        return scores

    best = search(Table(model), torch.zeros(1, 1, 1), options(beam_size=2))[0][0]
    assert best.words == [5, 6]
    assert best.alpha[0, START] == 1  # before "5" it had read <start>
    assert best.alpha[1, 5] == 2  # before "6" it had read "5", not "4"


def test_nothing_ends() -> None:
    """A model that never says <end> gives captions of the maximum length."""

    def model(said: list[int]) -> list[float]:
        scores = [-1.0] * 8
        scores[END] = float("-inf")
        return scores

    found = search(Table(model), torch.zeros(2, 1, 1), options(beam_size=3, max_length=5))
    for hypotheses in found:
        assert len(hypotheses[0].words) == 5
        assert len(hypotheses[0].log_probs) == 5
        assert len(hypotheses[0].alpha) == 5


def test_everything_ends_at_once() -> None:
    def model(said: list[int]) -> list[float]:
        scores = [-50.0] * 8
        scores[END] = 0.0
        return scores

    empty = search(Table(model), torch.zeros(1, 1, 1), options(min_length=0))[0][0]
    assert empty.words == []
    assert empty.alpha.shape == (0, 50)
    two = search(Table(model), torch.zeros(1, 1, 1), options(min_length=2))[0][0]
    assert len(two.words) == 2


def test_a_broken_model_still_gets_an_answer() -> None:
    for value in (float("nan"), float("-inf"), float("inf")):
        found = search(Table(lambda _, v=value: [v] * 8), torch.zeros(1, 1, 1), options())
        assert len(found[0]) == 1
        assert (found[0][0].words, found[0][0].log_probs, found[0][0].score) == ([], [], 0.0)


def test_no_image_gives_no_caption() -> None:
    assert search(lstm(), features(0)) == []


def test_special_words_are_never_said() -> None:
    def model(said: list[int]) -> list[float]:
        scores = [-9.0] * 8
        scores[UNK] = scores[START] = scores[Vocabulary.PAD] = 0.0
        return scores

    for hypothesis in search(Table(model), torch.zeros(1, 1, 1), options(beam_size=4, n_best=4))[0]:
        assert all(word > UNK for word in hypothesis.words)


def test_more_beams_than_words() -> None:
    found = search(lstm(vocabulary=5), features(1), options(beam_size=9, n_best=9, max_length=2))[0]
    texts = [tuple(each.words) for each in found]
    assert len(set(texts)) == len(texts)
    assert set(texts) <= {(4,), (4, 4)}


def test_ngrams_are_blocked() -> None:
    def model(said: list[int]) -> list[float]:  # would say 4 5 4 5 4 5 ...
        scores = [-5.0] * 8
        scores[5 if said and said[-1] == 4 else 4] = -0.1
        scores[END] = -20.0
        return scores

    free = search(Table(model), torch.zeros(1, 1, 1), options(max_length=6))[0][0].words
    assert free == [4, 5, 4, 5, 4, 5]
    for n in (1, 2, 3):
        words = search(
            Table(model), torch.zeros(1, 1, 1), options(max_length=6, block_ngrams=n, beam_size=3)
        )[0][0].words
        ngrams = list(zip(*(words[i:] for i in range(n)), strict=False))
        assert len(ngrams) == len(set(ngrams)), (n, words)


def test_length_penalty_ranks_by_mean() -> None:
    def model(said: list[int]) -> list[float]:
        scores = [-1e4] * 8
        if not said:
            scores[4], scores[5] = -1.0, -1.2
        elif said[0] == 4:
            scores[END] = -1.0  # 4 <end>: -2.0 over 2
        elif len(said) < 4:
            scores[6] = -0.3
        else:
            scores[END] = -0.3  # 5 6 6 6 <end>: -2.4 over 5
        return scores

    image = torch.zeros(1, 1, 1)
    assert search(Table(model), image, options(max_length=9))[0][0].words == [4]
    long = search(Table(model), image, options(max_length=9, length_penalty=1.0))[0][0]
    assert long.words == [5, 6, 6, 6]
    assert long.score == pytest.approx(-2.4 / 5)


WHOLE = ("beam_size", "n_best", "max_length", "min_length", "block_ngrams")
MEANINGLESS = [
    *((name, value) for name in WHOLE for value in (2.5, 2.0, True, "3", None, -1, 10**6)),
    *(("length_penalty", x) for x in (float("nan"), float("inf"), -1.0, 11, "1", None, False)),
    *((name, value) for name in ("prefix", "banned") for value in ("a dog", 4, (4.5,), (-1,))),
    ("beam_size", 0),
    ("n_best", 0),
    ("n_best", 6),
    ("max_length", 0),
    ("min_length", 31),
]


@pytest.mark.parametrize(("name", "value"), MEANINGLESS)
def test_options_that_mean_nothing_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}.* (must|is over)"):
        SearchOptions(**{name: value})


def test_every_option_is_checked() -> None:
    assert {name for name, _ in MEANINGLESS} == {each.name for each in fields(SearchOptions)}


def test_numbers_of_numpy_are_taken() -> None:
    found = SearchOptions(
        beam_size=np.int64(3),
        length_penalty=np.float32(0.5),
        prefix=np.array([4, 5]),  # type: ignore[arg-type]
    )
    assert found == SearchOptions(beam_size=3, length_penalty=0.5, prefix=(4, 5))
    assert json.dumps(vars(found))


@pytest.mark.parametrize("options", [{"prefix": (4, 99)}, {"banned": (7,)}])
def test_words_that_the_decoder_does_not_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not in a vocabulary of 7"):
        search(lstm(), features(1), SearchOptions(**options))
    with pytest.raises(ConfigError, match="not in a vocabulary of 7"):
        sample(lstm(), features(1), samples=1, **options)


def test_images_that_are_done_leave_the_batch_and_nothing_changes() -> None:
    """Each image alone, where nothing can leave early, gives the same captions and maps."""
    decoder, images = lstm(4), features(12)
    decoder.L_o.bias.data[END] += 4.0  # captions of several lengths
    sizes = []
    step = decoder.step

    def counted(words, state, memory):  # type: ignore[no-untyped-def]
        sizes.append(len(words))
        return step(words, state, memory)

    decoder.step = counted  # type: ignore[method-assign]
    settings = options(beam_size=3, max_length=12, n_best=3, length_penalty=0.7)
    together = search(decoder, images, settings)
    assert sizes[0] == 12
    assert min(sizes) < 9  # some had left by then
    for image, found in enumerate(together):
        (alone,) = search(decoder, images[image : image + 1], settings)
        assert [each.words for each in found] == [each.words for each in alone]
        for one, other in zip(found, alone, strict=True):
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
            torch.testing.assert_close(one.alpha, other.alpha)
            torch.testing.assert_close(one.beta, other.beta)
            assert one.score == pytest.approx(other.score, abs=1e-5)


# Steering --------------------------------------------------------------------------------------


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("prefix", [(6,), (5, UNK, 4)])
def test_a_prefix_is_said_first_with_its_own_maps(prefix: tuple[int, ...], beam_size: int) -> None:
    """Words, log-probabilities and maps are those of forcing the whole caption."""
    decoder, images = lstm(3), features()
    settings = options(beam_size=beam_size, n_best=beam_size, max_length=6, prefix=prefix)
    for b, hypotheses in enumerate(search(decoder, images, settings)):
        assert len(hypotheses) == beam_size
        for each in hypotheses:
            assert tuple(each.words[: len(prefix)]) == prefix
            assert UNK not in each.words[len(prefix) :]
            forced = force(decoder, images[b : b + 1], each.words)
            wanted = forced.log_probs[: len(each.log_probs)]
            assert each.log_probs == pytest.approx(wanted, abs=1e-5)
            torch.testing.assert_close(each.alpha, forced.alpha, atol=1e-5, rtol=0)
            torch.testing.assert_close(each.beta, forced.beta, atol=1e-5, rtol=0)


def test_after_a_prefix_a_wide_beam_finds_what_enumeration_finds() -> None:
    decoder, image, first = lstm(), features(1), [6, 4]
    # All captions of at most four words: ended ones count <end>, those of four are cut off.
    ended = [[*first, *rest] for n in (0, 1) for rest in itertools.product(range(4, 7), repeat=n)]
    cut_off = [[*first, *rest] for rest in itertools.product(range(4, 7), repeat=2)]
    scores = {tuple(w): sum(force(decoder, image, w).log_probs) for w in ended}
    scores |= {tuple(w): sum(force(decoder, image, w).log_probs[:-1]) for w in cut_off}
    found = search(decoder, image, options(beam_size=200, n_best=200, prefix=tuple(first)))[0]
    assert {tuple(each.words): each.score for each in found} == pytest.approx(scores, abs=1e-5)


def test_the_prefix_of_a_caption_gives_that_caption() -> None:
    decoder, images = lstm(8), features()
    for b, (free,) in enumerate(search(decoder, images, options(beam_size=1, max_length=6))):
        for length in range(1, len(free.words)):
            settings = options(beam_size=1, max_length=6, prefix=tuple(free.words[:length]))
            ((again,),) = search(decoder, images[b : b + 1], settings)
            assert again.words == free.words
            assert again.log_probs == pytest.approx(free.log_probs, abs=1e-5)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_banned_words_occur_in_the_prefix_only(beam_size: int) -> None:
    decoder, images = lstm(3), features()
    said = {
        word
        for hypotheses in search(decoder, images, options(beam_size=beam_size, max_length=6))
        for word in hypotheses[0].words
    }
    assert 5 in said or 6 in said, "the test needs words that would be said"
    settings = options(beam_size=beam_size, max_length=6, prefix=(5, 6), banned=(5, 6))
    for hypotheses in search(decoder, images, settings):
        assert hypotheses[0].words[:2] == [5, 6]
        assert set(hypotheses[0].words[2:]) <= {4}


def test_a_ban_leaves_the_others_likelihoods_alone() -> None:
    decoder, image = lstm(3), features(1)
    (found,) = search(decoder, image, options(beam_size=3, n_best=3, banned=(4,)))
    for each in found:
        forced = force(decoder, image, each.words).log_probs[: len(each.log_probs)]
        assert each.log_probs == pytest.approx(forced, abs=1e-5)


def test_all_words_banned_still_gives_an_answer() -> None:
    for least in (0, 1, 3):
        settings = options(beam_size=3, banned=(4, 5, 6), min_length=least)
        for (found,) in search(lstm(), features(2), settings):
            assert found.words == []
            assert found.alpha.shape == (0, 4)
            assert len(found.log_probs) == (0 if least else 1)  # it ends, or is cut off
    cut = search(lstm(), features(1), options(prefix=(4,), banned=(4, 5, 6), min_length=2))[0][0]
    assert cut.words == [4]
    assert cut.log_probs == pytest.approx(force(lstm(), features(1), [4]).log_probs[:1], abs=1e-5)
    assert cut.score == pytest.approx(score_of(cut.log_probs, 0.0))
    ended = search(lstm(), features(1), options(prefix=(4,), banned=(4, 5, 6)))[0][0]
    assert ended.words == [4]
    assert len(ended.log_probs) == 2


@pytest.mark.parametrize("beam_size", [1, 3, 20])
@pytest.mark.parametrize(
    "values",
    [
        {"banned": (4, 5, 6), "min_length": 2},
        {"banned": (4, 6), "block_ngrams": 1, "min_length": 3},
        {"block_ngrams": 1, "min_length": 6},
        {"block_ngrams": 2, "min_length": 15, "max_length": 20},
        {"prefix": (4, UNK), "banned": (4, 5), "block_ngrams": 1, "min_length": 8},
    ],
)
def test_what_is_banned_is_never_said(beam_size: int, values: dict[str, Any]) -> None:
    """However little is left to say: then the caption is cut off there."""
    decoder, images = lstm(3), features()
    settings = options(beam_size=beam_size, n_best=beam_size, **{"max_length": 12, **values})
    first, n = len(settings.prefix), settings.block_ngrams
    for b, hypotheses in enumerate(search(decoder, images, settings)):
        assert hypotheses
        for each in hypotheses:
            assert tuple(each.words[:first]) == settings.prefix
            assert not {*settings.banned, *range(4)} & set(each.words[first:])
            ngrams = list(zip(*(each.words[i:] for i in range(n)), strict=False))
            assert len(ngrams) == len(set(ngrams))
            assert min(each.log_probs, default=0) > -1e3
            assert len(each.alpha) == len(each.beta) == len(each.words)
            forced = force(decoder, images[b : b + 1], each.words)
            assert each.log_probs == pytest.approx(
                forced.log_probs[: len(each.log_probs)], abs=1e-5
            )
        words = {word for each in hypotheses for word in each.words[first:]}
        assert words or {4, 5, 6} <= set(settings.banned), "what may be said is said"


def test_a_prefix_may_repeat_what_is_blocked() -> None:
    settings = options(beam_size=2, max_length=6, block_ngrams=1, prefix=(4, 4))
    found = search(lstm(), features(1), settings)[0][0]
    assert found.words[:2] == [4, 4]
    rest = found.words[2:]
    assert 4 not in rest
    assert len(rest) == len(set(rest))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prefix": (4, END)}, "words only"),
        ({"prefix": (4,) * 5, "max_length": 5}, "leave room"),
    ],
)
def test_prefixes_that_mean_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchOptions(**values)
    with pytest.raises(ConfigError, match=message):
        sample(lstm(), features(1), samples=1, **values)
