"""What captions get wrong, counted by hand; the table of words; the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from showattend.cli.errors_command import _scores, errors
from showattend.cli.terminal import show_log
from showattend.evaluation.mistakes.caption_errors import (
    ErrorReport,
    Fault,
    KindReport,
    find_errors,
    find_faults,
)
from showattend.evaluation.mistakes.errors_report import to_markdown
from showattend.evaluation.mistakes.lexicon import Lexicon, _inflected, lexicons
from showattend.exceptions import DataError, UserError
from showattend.system.provenance import file_digest
from tests.commandline import CommandLine

OBJECTS, COUNTS, COLOURS, ACTIVITIES = lexicons()


def kind(report: ErrorReport, name: str) -> KindReport:
    return next(each for each in report.kinds if each.kind == name)


# The table of words ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lexicon", "text", "concepts"),
    [
        (OBJECTS, "two puppies and a man", {"dog", "man"}),
        (OBJECTS, "a surfer on a tennis court", {"person", "court"}),
        (OBJECTS, "a boy swings from a swing", {"boy", "swing"}),
        (OBJECTS, "a lot of boys and lots of dogs in a lot", {"boy", "dog", "parking lot"}),
        (OBJECTS, "a boy leaves the leaves", {"boy", "plant"}),
        (OBJECTS, "women ride horses", {"woman", "horse"}),
        (OBJECTS, "a dog catches a tennis ball", {"dog", "ball"}),
        (COUNTS, "a couple of dogs in a pair of glasses", {"two"}),
        (COUNTS, "one of three men", {"three"}),
        (COUNTS, "a group of people", {"several"}),
        (COLOURS, "a golden retriever and a gray cat", {"grey"}),
        (COLOURS, "a black and white photograph of a red car", {"red"}),
        (ACTIVITIES, "a surfer is running", {"surf", "run"}),
        (ACTIVITIES, "children slide down a slide", {"slide"}),
        (ACTIVITIES, "a man in flip flops by the swimming pool", set()),
    ],
)
def test_words_name_concepts(lexicon: Lexicon, text: str, concepts: set[str]) -> None:
    assert lexicon.named(text.split()) == concepts


def test_verbs_are_inflected() -> None:
    assert _inflected("hug") == ["hug", "hugs", "hugging", "hugged"]
    assert _inflected("chase") == ["chase", "chases", "chasing", "chased"]
    assert _inflected("carry") == ["carry", "carries", "carrying", "carried"]
    assert _inflected("play") == ["play", "plays", "playing", "played"]
    assert _inflected("catch") == ["catch", "catches", "catching", "catched"]


def test_wider_concepts_and_rivals() -> None:
    assert OBJECTS.implied(["boy"]) == {"boy", "child", "person"}
    rivals = [("man", "woman"), ("boy", "man"), ("baby", "woman"), ("dog", "cat"), ("car", "bus")]
    friends = [
        ("man", "person"),
        ("boy", "child"),
        ("boy", "baby"),
        ("dog", "man"),
        ("bike", "car"),
    ]
    for one, other in rivals:
        assert OBJECTS.are_rivals(one, other)
        assert OBJECTS.are_rivals(other, one)
    for one, other in friends:
        assert not OBJECTS.are_rivals(one, other)
    assert COUNTS.are_rivals("two", "several")
    assert not COUNTS.are_rivals("four", "several")
    assert not COLOURS.are_rivals("red", "red")


@pytest.mark.parametrize("lexicon", lexicons(), ids=lambda each: each.name)
def test_the_tables_are_consistent(lexicon: Lexicon) -> None:
    for concept in lexicon.concepts:
        assert lexicon.above(concept) <= set(lexicon.concepts), concept
        assert concept not in lexicon.above(concept)
    for group in lexicon._groups or ():
        assert group <= set(lexicon.concepts)


# One caption -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "references", "verdict"),
    [
        ("a man", ["a man", "a woman"], "supported"),
        ("a person", ["a woman"], "supported"),
        ("a man", ["a woman", "a person"], "contradicted"),
        ("a man", ["a skateboarder"], "undecided"),
        ("a man", ["a tree"], "unconfirmed"),
    ],
)
def test_verdicts_of_a_noun(caption: str, references: list[str], verdict: str) -> None:
    figures = kind(find_errors({1: references}, {1: caption}), "object").model
    assert figures.mentions == 1
    assert getattr(figures, verdict) == 1


def test_faults_and_their_tags() -> None:
    references = ["three brown dogs run", "three dogs run on grass", "two dogs run on grass"]
    faults = find_faults("four white dogs run on a beach", references)
    assert faults == [
        Fault("object", "beach", ("grass",)),
        Fault("count", "four", ("three", "two")),
        Fault("colour", "white", ("brown",)),
        Fault("object", None, ("grass",)),
        Fault("count", None, ("three",)),
    ]
    assert faults[1].tag == "count: four / three, two"
    assert faults[-1].tag == "missing: three"
    assert find_faults("a bench", ["a sky"])[-1].tag == "object: bench / not named"
    assert find_faults("two brown dogs run on grass", references) == [
        Fault("count", None, ("three",))
    ]


# Many captions -----------------------------------------------------------------------------------

REFERENCES = {
    1: ["a man runs", "a man runs", "a woman walks"],
    2: ["two red dogs", "two dogs", "two black dogs"],
}
CANDIDATES = {1: "a woman jumps", 2: "three red cats"}


def test_figures_against_all_references() -> None:
    report = find_errors(REFERENCES, CANDIDATES)
    assert report.images == 2
    assert report.references == 3
    objects = kind(report, "object")
    assert objects.model.mentions == 2
    assert (objects.model.supported, objects.model.contradicted) == (1, 1)
    assert (objects.model.wanted, objects.model.found, objects.model.recall) == (2, 0, 0)
    assert objects.confusions == (("cat", "dog", 1),)
    assert objects.wrong == (("cat", 1, 1),)
    assert objects.missed == (("dog", 1, 1), ("man", 1, 1))
    assert kind(report, "count").confusions == (("three", "two", 1),)
    assert kind(report, "activity").confusions == (("jump", "run", 1),)
    colours = kind(report, "colour")
    assert (colours.model.naming, colours.model.supported, colours.model.wanted) == (1, 1, 0)


def test_people_and_model_are_judged_by_the_same_references() -> None:
    objects = kind(find_errors(REFERENCES, CANDIDATES), "object")
    human, equal = objects.human, objects.model_equal
    assert human is not None
    assert equal is not None
    # Image 1: each man has the other man, the woman has men only. Image 2: dogs all.
    assert (human.captions, human.mentions) == (6, 6)
    assert (human.supported, human.contradicted) == (5, 1)
    # Wanted, by both others: man only when the woman is left out (she does not say it); dog thrice.
    # In the other rounds "a person" is what man and woman share, and a man is one.
    assert (human.wanted, human.found) == (6, 5)
    # The model's woman has her woman in two of three rounds; its cats never.
    assert (equal.mentions, equal.supported, equal.contradicted) == (6, 2, 4)
    assert (equal.wanted, equal.found) == (6, 2)


def test_one_reference_gives_no_comparison() -> None:
    report = find_errors({1: ["a dog"]}, {1: "a dog"})
    assert kind(report, "object").human is None
    assert "people, against the others" not in to_markdown(report)


def test_overused_phrases_and_wording() -> None:
    references = {k: [f"the dog number {k} runs", f"a brown dog near house {k}"] for k in range(10)}
    candidates = {k: "a dog is running" if k < 6 else f"the dog number {k} on" for k in range(10)}
    report = find_errors(
        references, candidates, train=["A dog is running.", "the dog number 3 runs"]
    )
    # Phrases of 3 within longer ones are left out; "the dog number" is in half of the references.
    assert [phrase.words for phrase in report.phrases] == ["a dog is running"]
    phrase = report.phrases[0]
    assert (phrase.count, phrase.share, phrase.human_count) == (6, 0.6, 0)
    assert report.wording["distinct"] == 0.5
    assert report.wording["bad_endings"] == 0.4
    assert report.human_wording["distinct"] == 1
    assert report.human_wording["length"] == (5 + 6) / 2
    assert report.verbatim == 0.6
    assert report.human_verbatim == 1 / 20


def test_captions_without_references_are_refused() -> None:
    with pytest.raises(DataError, match="image 2"):
        find_errors({1: ["a dog"]}, {1: "a dog", 2: "a cat"})
    with pytest.raises(DataError, match="no captions"):
        find_errors({1: ["a dog"]}, {})


def test_the_page() -> None:
    page = to_markdown(find_errors(REFERENCES, CANDIDATES, train=["a b"]), command="showattend x")
    assert page.startswith("# What the captions get wrong\n\nMade by\n\n```\nshowattend x\n```\n")
    assert "| cat | dog | 1 |" in page
    assert "| objects | 66.7 % | 16.7 % | 33.3 % | 83.3 % |" in page
    assert "identical to a training caption" in page
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


@pytest.mark.parametrize("train", [None, ["a b"]])
def test_a_report_is_rebuilt_from_its_json(train: list[str] | None) -> None:
    report = find_errors(REFERENCES, CANDIDATES, train=train)
    values = json.loads(json.dumps(report.to_dict() | {"provenance": {}}))
    assert ErrorReport.from_dict(values) == report
    assert to_markdown(ErrorReport.from_dict(values)) == to_markdown(report)
    alone = find_errors({1: ["a dog"]}, {1: "a cat"})
    assert ErrorReport.from_dict(json.loads(json.dumps(alone.to_dict()))) == alone


# The command -------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    annotations = {
        "images": [{"id": k, "file_name": f"{k}.jpg"} for k in REFERENCES],
        "annotations": [
            {"id": 10 * k + n, "image_id": k, "caption": caption}
            for k, captions in REFERENCES.items()
            for n, caption in enumerate(captions)
        ],
    }
    (tmp_path / "captions.json").write_text(json.dumps(annotations))
    rows = [
        {"image_id": k, "caption": caption, "scores": {"CIDEr": 1 / k}}
        for k, caption in CANDIDATES.items()
    ]
    (tmp_path / "results.json").write_text(json.dumps({"captions": rows}))
    (tmp_path / "list.json").write_text(json.dumps(rows[:1]))
    return tmp_path


def call(files: Path, *args: object, results: str = "results.json") -> str:
    show_log()  # as the program does
    app = typer.Typer()
    app.command()(errors)
    given = ["--annotations", files / "captions.json", "--results", files / results, *args]
    result = CliRunner().invoke(app, [str(each) for each in given])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_command_prints_the_page_or_writes_it(files: Path) -> None:
    assert "| cat | dog | 1 |" in call(files)
    call(files, "--output", files / "errors.md")
    page = (files / "errors.md").read_text()
    assert "showattend errors --annotations" in page
    made = page.partition("## How it was made")[2]
    assert "code         showattend" in made
    assert f"data.results {file_digest(files / 'results.json')}" in made
    call(files, "--output", files / "errors.json", "--train", files / "captions.json")
    found = json.loads((files / "errors.json").read_text())
    assert found["images"] == 2
    assert found["verbatim"] == 0
    assert found["human_verbatim"] == 1
    assert found["kinds"][0]["confusions"] == [["cat", "dog", 1]]


def test_the_page_says_how_evaluate_made_the_captions(files: Path) -> None:
    assert "The captions are from" not in call(files)
    content = json.loads((files / "results.json").read_text())
    settings = {"beam_size": 3, "block_ngrams": 2, "size": 288, "precision": "float32"}
    content["settings"] = {"model": "mine"} | settings
    content["provenance"] = {"model": {"name": "mine", "weights": "0123456789abcdef"}}
    (files / "results.json").write_text(json.dumps(content))
    how = "model mine, beam 3, no 2-gram twice, 288 pixels, float32."
    page = call(files)
    assert f"The captions are from `showattend evaluate --output`: {how}" in page
    assert "model.weights 0123456789abcdef" in page


def test_the_command_reports_what_is_left_out(files: Path) -> None:
    assert "1 of 2 images have no caption" in call(files, results="list.json")


def test_the_gallery_shows_the_worst_first(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr(
        "showattend.visualize.gallery.save_gallery",
        lambda cards, _path, title, advice: seen.update(cards=cards, title=title, advice=advice),
    )
    (files / "photos").mkdir()
    Image.new("RGB", (8, 4), "teal").save(files / "photos" / "2.jpg")
    call(files, "--gallery", files / "worst.png", "--images", files / "photos", "--worst", "1")
    (card,) = seen["cards"]
    assert card.caption == "three red cats"
    assert card.image.size == (240, 120), "in memory, as it is drawn"
    assert card.references == ("two red dogs", "two dogs")
    assert card.tags == ("object: cat / dog", "count: three / two", "missing: dog, two")
    assert card.score == "CIDEr 0.50"
    assert seen["title"] == "The 1 worst of 2 captions, by CIDEr"
    assert seen["advice"] == "give a lower --worst"


def test_letters_without_a_glyph_in_the_gallery_are_reported(files: Path) -> None:
    results = files / "results.json"
    results.write_text(results.read_text().replace("three red cats", "three \U00012000 cats"))
    for k in REFERENCES:
        Image.new("RGB", (8, 4)).save(files / f"{k}.jpg")
    told = call(files, "--gallery", files / "worst.png")
    assert "showattend: no font on this machine has U+12000 (Cuneiform)" in told
    assert f"wrote {files / 'worst.png'}" in told


def test_the_error_gallery_never_overwrites_a_photo(files: Path) -> None:
    photo = files / "photos" / "2.png"
    photo.parent.mkdir()
    photo.write_bytes(b"a photo")
    annotations = files / "captions.json"
    annotations.write_text(annotations.read_text().replace("2.jpg", "2.png"))
    with pytest.raises(UserError, match=r"2\.png: is one of the photos"):
        call(files, "--gallery", photo, "--images", photo.parent, "--output", files / "errors.md")
    assert photo.read_bytes() == b"a photo"
    assert not (files / "errors.md").exists()


def test_unreadable_photos_give_exit_code_1(run: CommandLine, files: Path) -> None:
    given = ("--annotations", files / "captions.json", "--results", files / "results.json")
    sheet, page = files / "worst.png", files / "errors.md"
    args = ("errors", *given, "--gallery", sheet, "--output", page)
    code, out, err = run(*args)
    assert (code, out, err[0]) == (2, [], f"wrote {page}")
    assert err[1:] == [
        f"showattend: {sheet}: not drawn, none of its 2 photos can be opened (for example "
        f"{files / '2.jpg'}: no such file); check --images"
    ]
    assert not sheet.exists()

    Image.new("RGB", (8, 4)).save(files / "1.jpg")
    told = [f"wrote {page}", f"showattend: {files / '2.jpg'}: no such file", f"wrote {sheet}"]
    assert run(*args) == (1, [], told)
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG"


def test_only_a_few_of_many_unreadable_photos_are_listed(run: CommandLine, files: Path) -> None:
    images = [{"id": k, "file_name": f"{k}.jpg"} for k in range(9)]
    said = [{"id": k, "image_id": k, "caption": "a dog"} for k in range(9)]
    (files / "captions.json").write_text(json.dumps({"images": images, "annotations": said}))
    (files / "results.json").write_text(json.dumps({str(k): "a cat" for k in range(9)}))
    Image.new("RGB", (8, 4)).save(files / "8.jpg")
    given = ("--annotations", files / "captions.json", "--results", files / "results.json")
    code, _, err = run("errors", *given, "--gallery", files / "worst.png")
    assert code == 1
    assert err == [
        *(f"showattend: {files / f'{k}.jpg'}: no such file" for k in range(5)),
        "showattend: 3 more photos cannot be opened; check --images",
        f"wrote {files / 'worst.png'}",
    ]


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("--output", "errors.txt"), r"ends in \.md, \.json or \.html"),
        (("--model", "everyday"), "--model is for a page"),
        (("--output", "page.html", "--worst", "401"), "has room for 400 photographs, not 401"),
        (("--gallery", "worst.gif"), "ends in .png or .pdf"),
        (("--images", "photos"), "--images needs --gallery"),
        (("--split", "nowhere"), "no split"),
        (("--gallery", "worst.png", "--worst", "117"), "--worst 117: .* room for 116 captions"),
    ],
)
def test_bad_input_is_one_line(files: Path, args: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        call(files, *args)
    assert "\n" not in str(caught.value)


def test_results_nested_too_deeply_are_one_line(files: Path) -> None:
    (files / "deep.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"deep\.json: broken JSON \(nested too deeply\)$"):
        call(files, "--gallery", files / "worst.png", results="deep.json")
    assert not (files / "worst.png").exists()
    assert _scores(files / "deep.json") == {}
