"""``showattend ground``: what it prints of right and wrong words, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.exceptions import UserError
from tests.commandline import CommandLine


@pytest.fixture
def data(tmp_path: Path) -> tuple[object, ...]:
    """Two photos of a cat with a dog in a corner; the human captions name a dog and a car."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 40, "height": 40} for k in (1, 2)]
    for k in (1, 2):
        Image.new("RGB", (40, 40), (60 * k, 90, 120)).save(tmp_path / f"{k}.png")
    boxes = {1: [0, 0, 40, 40], 2: [0, 0, 10, 10]}
    annotations = [
        {"id": 10 * k + c, "image_id": k, "category_id": c, "bbox": box}
        for k in (1, 2)
        for c, box in boxes.items()
    ]
    categories = [{"id": c, "name": name} for c, name in ((1, "cat"), (2, "dog"), (3, "car"))]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    said = [{"id": k, "image_id": k, "caption": "a dog near a car"} for k in (1, 2)]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": said}))
    return ("--annotations", tmp_path / "instances.json", "--images", tmp_path)


def test_captions_of_something_else_are_forced(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    """The same captions, given as results, have the same maps; other images are left out."""
    rows = [{"image_id": k, "caption": "a dog near a car"} for k in (1, 2, 99)]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    found = []
    for option in ("captions", "results"):
        output = tmp_path / f"by-{option}.json"
        args = (f"--{option}", tmp_path / f"{option}.json", "--output", output)
        assert run("ground", *data, *args, "--model", run.model).code == 0
        found.append(json.loads(output.read_text(encoding="utf-8")))
    human, other = found
    assert other["captions"] == human["captions"]
    assert other["pointing"] == human["pointing"]
    assert (human["settings"]["sentences"], other["settings"]["sentences"]) == ("human", "results")
    assert other["settings"]["beam_size"] is None
    assert other["provenance"]["model"]["weights"] == human["provenance"]["model"]["weights"]
    assert other["provenance"]["data"]["captions"] != human["provenance"]["data"]["captions"]
    both = ("--captions", tmp_path / "captions.json", "--results", tmp_path / "results.json")
    assert "use one of them" in run.refused("ground", *data, *both)
    beam = ("--results", tmp_path / "results.json", "--beam-size", 2)
    assert "leave --beam-size out" in run.refused("ground", *data, *beam)
    (tmp_path / "results.json").write_text(json.dumps(rows[2:]))
    refused = run.refused("ground", *data, *both[2:], "--model", run.model)
    assert "has no caption of an image" in refused


def test_right_and_wrong_words_are_reported(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    args = ("ground", *data, "--captions", tmp_path / "captions.json", "--model", run.model)
    result = run(*args, "--output", tmp_path / "ground.json", "--gallery", tmp_path / "looks.png")
    assert result.code == 0
    told = "\n".join(result.out)
    assert "2 words in 2 images" in told
    assert "right, 2" in told
    (wrong,) = [line.split() for line in result.out if "wrong, 2" in line]
    assert wrong[-6:] == ["-", "1.000", "0.000", "-", "1.000", "0.000"]  # the cat is everywhere
    uniform = [line.split() for line in result.out if line.strip().startswith("uniform")]
    assert uniform[1][1:4] == ["0.062", "0.938", "0.000"]  # the dog's corner, the cat's rest
    assert "said car, looked at cat: " in told
    assert "(a uniform map: 1.9)" in told
    (overlooked,) = [line.split() for line in result.out if "overlooked, 2" in line]
    assert overlooked[2:] == ["model", "1.000", "1.000"]
    assert all(len(line) <= 100 for line in result.out)
    found = json.loads((tmp_path / "ground.json").read_text(encoding="utf-8"))
    assert found["where"]["wrong"]["words"] == 2
    assert found["where"]["big"]["categories"] == {"cat": 2}
    assert [word["right"] for word in found["captions"][0]["named"]] == [True, False]
    with Image.open(tmp_path / "looks.png") as sheet:
        assert sheet.format == "PNG"


def test_without_wrong_words_there_is_no_table(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    captions = tmp_path / "captions.json"
    captions.write_text(captions.read_text().replace("near a car", "and a cat"))
    result = run("ground", *data, "--captions", captions, "--model", run.model)
    told = "\n".join(result.out)
    assert (result.code, result.err) == (0, [])
    assert "right, 4" in told
    assert "wrong, " not in told
    assert "said " not in told
    assert "overlooked, " not in told


# The gallery beside the measurement --------------------------------------------------------------


def measured(tmp_path: Path) -> int:
    """How many words the JSON counts."""
    return int(json.loads((tmp_path / "ground.json").read_text(encoding="utf-8"))["words"])


def test_a_gallery_that_fails_does_not_lose_the_results(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("ground", *data, "--captions", tmp_path / "captions.json", "--model", run.model)
    args += ("--output", tmp_path / "ground.json", "--gallery", tmp_path / "looks.png")
    monkeypatch.setattr("showattend.visualize.gallery.LONGEST_SIDE", 200)
    result = run(*args)
    assert result.code == 2
    assert result.err[0] == f"wrote {tmp_path / 'ground.json'}"
    assert result.err[1].endswith("pixels high, more than 200; give a lower --shown")
    assert len(result.err) == 2
    assert measured(tmp_path) == 2
    assert not (tmp_path / "looks.png").exists()


def test_images_left_out_do_not_affect_the_gallery(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "2.png").unlink()
    args = ("ground", *data, "--captions", tmp_path / "captions.json", "--model", run.model)
    for more in ((), ("--output", tmp_path / "ground.json")):
        result = run(*args, *more, "--gallery", tmp_path / "looks.png")
        assert result.code == 1
        assert result.err[-1] == f"wrote {tmp_path / 'looks.png'}"
        (tmp_path / "looks.png").unlink()
    assert measured(tmp_path) == 1


def test_a_gallery_never_overwrites_a_photo(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    before = (tmp_path / "1.png").read_bytes()
    said = ("--captions", tmp_path / "captions.json", "--output", tmp_path / "ground.json")
    args = ("ground", *data, *said, "--model", run.model, "--gallery", tmp_path / "1.png")
    line = run.refused(*args)
    assert f"{tmp_path / '1.png'}: is one of the photos; choose another name" in line
    assert (tmp_path / "1.png").read_bytes() == before
    assert not (tmp_path / "ground.json").exists()


def test_too_large_a_gallery_is_refused_before_measuring(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise UserError("the model was loaded")

    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(loaded))
    gallery = ("--gallery", tmp_path / "looks.png")
    line = run.refused("ground", *data, *gallery, "--shown", 59)
    assert "--shown 59: a gallery has room for 58 hits and as many misses" in line
    for more in ((*gallery, "--shown", 58), ("--shown", 59)):
        assert "the model was loaded" in run.refused("ground", *data, *more)


def test_letters_without_a_glyph_in_the_gallery_are_reported(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    captions = tmp_path / "captions.json"
    captions.write_text(captions.read_text().replace("near a", "near \U00012000"))
    args = ("ground", *data, "--captions", captions, "--model", run.model)
    result = run(*args, "--gallery", tmp_path / "looks.png")
    assert result.code == 0
    complaint, wrote = result.err
    assert complaint.startswith("showattend: no font on this machine has U+12000 (Cuneiform)")
    assert wrote == f"wrote {tmp_path / 'looks.png'}"


def test_ground(run: CommandLine, folder: Path, annotations: Path, tmp_path: Path) -> None:
    content = {
        "images": [
            {"id": i, "file_name": name, "width": 24, "height": 16}
            for i, name in ((1, "a.jpg"), (3, "gone.jpg"))
        ],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 18, "bbox": [0, 0, 12, 8]} for i in (1, 3)
        ],
    }
    instances, output = tmp_path / "instances.json", tmp_path / "ground.json"
    instances.write_text(json.dumps(content))
    result = run(
        *("ground", "--annotations", instances, "--images", folder, "--captions", annotations),
        *("--model", run.model, "--output", output),
    )
    assert result.code == 1, "one image is not there"
    assert len(result.err) == 2
    assert "gone.jpg" in result.err[0]
    found = json.loads(output.read_text(encoding="utf-8"))
    assert (found["words"], found["images"]) == (1, 1)
    maps = {"model", "uniform", "centre", "other_word"}
    assert set(found["pointing"]) == set(found["mass"]) == maps
    assert found["pointing"]["uniform"] == pytest.approx(0.25)
    for measure in ("pointing", "mass"):
        assert set(found["interval"][measure]) == maps - {"model"}
    shown = next(line for line in result.out if line.strip().startswith("uniform"))
    assert shown.split()[1] == "0.250"


def test_faithfulness_is_measured_on_request(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    output = tmp_path / "ground.json"
    args = ("ground", *data, "--captions", tmp_path / "captions.json", "--model", run.model)
    result = run(*args, "--faithful", "--pixels", "1", "--replace", "other", "--output", output)
    assert result.code == 0
    told = "\n".join(result.out)
    assert "On the feature grid, 4 content words in 2 images" in told
    assert "On pixels, 2 content words in 1 images" in told
    for name in ("Grad-CAM", "another word", "function words", "looked everywhere"):
        assert name in told
    assert "Rank correlation of β" in told
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["words"] == 2, "the tables of ground are there as before"
    assert found["faithful"]["settings"]["replace"] == "other"
    assert set(found["faithful"]["orders"]["ranking"]) >= {"attention", "integrated", "random"}

    assert not output.with_name("ground.json.part").exists()


def test_faithfulness_is_continued(
    run: CommandLine,
    data: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from showattend.evaluation.grounding import faithfulness

    output = tmp_path / "ground.json"
    args = ("ground", *data, "--captions", tmp_path / "captions.json", "--model", run.model)
    args += ("--faithful", "--output", output)
    real, measured = faithfulness._measure, []

    def measure(*given: object, **more: object) -> object:
        if len(measured) == 1:
            raise KeyboardInterrupt
        measured.append(given)
        return real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(faithfulness, "_measure", measure)
    result = run(*args)
    assert result.code == 130
    told = f"made so far are in {output}.part; the same command with --resume continues"
    assert any(told in line for line in result.err)
    assert "add --resume" in run.refused(*args)
    monkeypatch.setattr(
        faithfulness, "_measure", lambda *a, **k: measured.append(a) or real(*a, **k)
    )
    assert run(*args, "--resume").code == 0
    assert len(measured) == 2
    assert json.loads(output.read_text(encoding="utf-8"))["faithful"]["images"] == 2
    assert not output.with_name("ground.json.part").exists()
    assert "give that too" in run.refused(*args[:-2], "--resume")


@pytest.mark.parametrize("option", [("--pixels", "1"), ("--replace", "mean"), ("--resume",)])
def test_options_of_faithfulness_need_it(
    option: tuple[str, str], run: CommandLine, data: tuple[object, ...]
) -> None:
    result = run("ground", *data, "--model", run.model, *option)
    assert result.code == 2
    assert result.err[-1].endswith(
        f"{option[0]} is for --faithful; add that, or leave {option[0]} out"
    )
