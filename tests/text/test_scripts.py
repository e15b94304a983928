"""Captions that are not in the Latin script are split soundly, and scored with a note."""

from __future__ import annotations

import pytest

from showattend.evaluation.scores import java
from showattend.evaluation.scores.metrics import score_captions
from showattend.text.scripts import other_script, split_other
from showattend.text.tokenizer import tokenize
from tests.cli.conftest import no_java as no_java

CAPTIONS = {
    "Chinese": ("一只狗在草地上奔跑。", "一 只 狗 在 草 地 上 奔 跑"),
    "Japanese": ("犬が芝生を、走っている。", "犬 が 芝 生 を 走 っ て い る"),
    "Thai": ("สุนัขวิ่ง", "สุ นั ข วิ่ ง"),
    "Arabic": ("كلب يركض، على العشب؟", "كلب يركض على العشب"),
    "Devanagari": ("एक कुत्ता घास पर दौड़ता है।", "एक कुत्ता घास पर दौड़ता है"),
    "Hangul": ("개가 잔디밭을 달린다.", "개가 잔디밭을 달린다"),
    "Cyrillic": ("Собака бежит — по траве!", "собака бежит по траве"),
}


@pytest.mark.parametrize("script", CAPTIONS)
def test_tokens(script: str) -> None:
    text, expected = CAPTIONS[script]
    assert " ".join(tokenize(text)) == expected
    assert other_script([text]) == script
    assert other_script([text, "A dog runs. " * 40]) is None


def test_latin_text_is_left_to_the_english_tools() -> None:
    for text in (
        "A dog.",
        "Un chien près du café…",
        "¿Dónde está?",
        "straße",
        "Åsa’s dog",
        "",
        "3",
    ):
        assert split_other(text.lower()) is None
        assert other_script([text]) is None


@pytest.mark.parametrize("sign", ["µ", "ª", "ºC", "\u2126", "\u212a", "\uff41", "\U0001d468"])
def test_signs_used_in_text_of_any_script_are_no_other_script(sign: str) -> None:
    assert split_other(f"a {sign} sign") is None
    assert other_script([sign * 9]) is None


def test_mixed_text() -> None:
    assert tokenize("一只 Labrador 狗, 3 岁") == ["一", "只", "labrador", "狗", "3", "岁"]
    assert tokenize("iphone手机") == ["iphone", "手", "机"]


@pytest.mark.parametrize("script", CAPTIONS)
def test_scores_have_a_note_and_no_meteor(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("English tools")

    monkeypatch.setattr(java, "meteor", fail)
    monkeypatch.setattr(java, "tokenize_ptb", fail)
    text, _ = CAPTIONS[script]
    other = CAPTIONS["Thai" if script != "Thai" else "Chinese"][0] * 2
    references = {1: [text], 2: [text * 2 if script == "Thai" else f"{text} {text}"]}
    scores = score_captions(references, {1: text, 2: other})
    assert "METEOR" not in scores.metrics
    assert scores.per_image[1]["BLEU-1"] == pytest.approx(1, abs=1e-6)
    assert scores.per_image[2]["BLEU-1"] == pytest.approx(0, abs=1e-6)
    (note,) = scores.missing
    assert f"the references are in {script} script" in note


def test_cider_of_one_image(no_java: None) -> None:
    scores = score_captions({1: ["A dog runs."]}, {1: "A dog runs."})
    assert scores.metrics["CIDEr"] == 0
    assert "CIDEr of one image is 0 by definition" in scores.missing[-1]
    scores = score_captions({1: ["A dog."], 2: ["A cat."]}, {1: "A dog.", 2: "A cat."})
    assert not any("CIDEr" in line for line in scores.missing)
