"""The tokenizer against Stanford's, and sentences."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from showattend.text import tokenizer as text_module
from showattend.text.tokenizer import pieces, sentence, tokenize

# What pycocoevalcap's PTBTokenizer (Stanford CoreNLP 3.4.1) gave for these sentences.
PTB = [
    ("A man's dog doesn't run.", "a man 's dog does n't run"),
    ("The dogs' toys aren't here, they're gone!", "the dogs toys are n't here they 're gone"),
    ("A black-and-white dog -- a t-shirt", "a black-and-white dog a t-shirt"),
    ("A man. He runs. A dog", "a man he runs a dog"),
    (
        "He can't and cannot go; I'm gonna wanna",
        "he ca n't and can not go i 'm gon na wan na",
    ),
    ("A man/woman with and/or 1/2 cup", "a man/woman with and/or 1/2 cup"),
    ("Two \"big\" dogs and 'small' cats", "two big dogs and small cats"),
    ("“Curly” quotes aren’t ‘hard’", "curly quotes are n't hard"),
    ("A T.V. on a stand. The U.S. flag.", "a t.v. on a stand the u.s. flag"),
    ("A t.v.", "a t.v."),
    ("St. Bernard on main st.", "st. bernard on main st."),
    (
        "Mr. Smith and Dr. Jones vs. the rest etc. on ave.",
        "mr. smith and dr. jones vs. the rest etc. on ave.",
    ),
    ("5:30 p.m. and 3 a.m.", "5:30 p.m. and 3 a.m."),
    (
        "$5.00 and 50% off, 1,000 men #1 @ home & away",
        "$ 5.00 and 50 % off 1,000 men # 1 @ home & away",
    ),
    ("a man,a woman and a dog.the end", "a man a woman and a dog.the end"),
    ("café naïve – dash — long", "café naïve dash long"),
    ("a dog ;runs: fast", "a dog runs fast"),
    ("it's 6' 2\" tall", "it 's 6 2 tall"),
    ("A man wearing a no. 7 jersey", "a man wearing a no. 7 jersey"),
    ("no.", "no"),
    ("A man is looking at the camera ,smiling .", "a man is looking at the camera smiling"),
    ('a "no parking" sign', "a no parking sign"),
    ("'' two '' quotes ``", "two quotes"),
    ("J. Smith and j. k.", "j. smith and j. k."),
    ("a dog - jumping", "a dog jumping"),
    ("hello....", "hello"),
    ("a dog\tand\u00a0cat", "a dog and cat"),
    ("t-shirt's man-made.", "t-shirt 's man-made"),
    ("cars on blvd. today", "cars on blvd. today"),
    ("an image of a clock reading 3:45.", "an image of a clock reading 3:45"),
    ("girl's and boys' teams'", "girl 's and boys teams"),
    ("it 's a man 's dog", "it 's a man 's dog"),
    ("lemme gimme gotta", "lem me gim me got ta"),
]


@pytest.mark.parametrize(("caption", "expected"), PTB)
def test_tokens_agree_with_the_scorer(caption: str, expected: str) -> None:
    assert tokenize(caption) == expected.split()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", []),
        (" \n", []),
        ("?! ... ()", []),
        # The scorer keeps "-lrb-" and "?!", though both are meant to be dropped.
        ("A man (in red) runs [fast] {now}", ["a", "man", "in", "red", "runs", "fast", "now"]),
        ("wait... what.. no?!", ["wait", "what", "no"]),
        ("A dog runs.\n", ["a", "dog", "runs"]),
        ("ÉTÉ…", ["été"]),
        ("他 在", ["他", "在"]),
    ],
)
def test_tokens_where_the_scorer_has_none(caption: str, expected: list[str]) -> None:
    assert tokenize(caption) == expected


@settings(deadline=None)  # the first call imports nltk
@given(st.text(alphabet="abint ,-.", max_size=20))
def test_the_short_cut_gives_the_same_tokens(caption: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fast = tokenize(caption)
        patch.setattr(text_module, "_SIMPLE", text_module.re.compile("(?!)"))
        assert fast == tokenize(caption)


@settings(deadline=None)  # the first call imports nltk
@given(st.text(max_size=60))
@example("`:µ")
def test_any_text_gives_tokens_without_white_space_or_punctuation(caption: str) -> None:
    for token in tokenize(caption):
        assert token
        assert token == token.lower()
        assert token.strip("'`\".?!,:;-()[]{}")
        assert len(token.split()) == 1


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["flickr8k", "coco_subset"])
def test_agreement_on_real_captions(real_data: Path, name: str) -> None:
    from showattend.evaluation.scores.java import tokenize_ptb

    content = json.loads((real_data / name / "captions_val.json").read_text())
    captions = [annotation["caption"] for annotation in content["annotations"]]
    total = wrong = 0
    for theirs, ours in zip(tokenize_ptb(captions), map(tokenize, captions), strict=True):
        expected = theirs.split()
        total += len(expected)
        for tag, a, b, c, d in difflib.SequenceMatcher(a=expected, b=ours).get_opcodes():
            wrong += max(b - a, d - c) if tag != "equal" else 0
    assert total > 5000
    assert wrong / total < 0.001


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a man 's dog", "A man's dog."),
        ("he does n't run", "He doesn't run."),
        ("two boys and i 'm here", "Two boys and I'm here."),
        ("a t.v.", "A t.v."),
        ("élan", "Élan."),
        ("", ""),
    ],
)
def test_sentence(words: str, expected: str) -> None:
    assert sentence(words.split()) == expected


@pytest.mark.parametrize("caption", ["A man's dog doesn't run.", "A dog in a t-shirt."])
def test_sentence_undoes_tokenize(caption: str) -> None:
    assert sentence(tokenize(caption)) == caption


@pytest.mark.parametrize(
    "words", ["", "a man 's dog", "i do n't know", "he and i", "the t.v.", "éclair i 'm i"]
)
def test_pieces_are_the_words_of_the_sentence(words: str) -> None:
    parts = pieces(words.split())
    assert "".join(parts) == sentence(words.split())
    for part, word in zip(parts, words.split(), strict=True):
        assert part.strip().lower().removesuffix(".") == word.removesuffix(".")
