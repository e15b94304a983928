"""What users get wrong, each through the command line: one clear line, and the right exit code."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from showattend.captioner import Captioner
from showattend.evaluation.scores import java
from showattend.model.checkpoint import save_tensors
from tests.commandline import CommandLine


def png(path: Path, side: int) -> Path:
    """A white square of one bit a pixel: few bytes, however large."""
    packer = zlib.compressobj()
    row = b"\0" + b"\xff" * ((side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def truncated(path: Path) -> Path:
    Image.effect_noise((200, 200), 80).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:3000])
    return path


def text(path: Path) -> Path:
    path.write_text("not a photograph\n")
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def missing(path: Path) -> Path:
    return path


def huge(path: Path) -> Path:
    return png(path, 20_000)


BAD_IMAGES = [
    (missing, "no such file"),
    (text, "not an image"),
    (truncated, "damaged or cut short"),
    (empty, "the file is empty (0 bytes)"),
    (huge, "the image has"),
]


# Images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "message"), BAD_IMAGES)
@pytest.mark.parametrize("command", ["caption", "attend"])
def test_a_bad_image(
    run: CommandLine, tmp_path: Path, make: object, message: str, command: str
) -> None:
    path = make(tmp_path / "bad.jpg")  # type: ignore[operator]
    more = ["--output", tmp_path / "a.png"] if command == "attend" else []
    line = run.refused(command, path, "--model", run.model, *more)
    assert message in line
    assert str(path) in line
    assert not (tmp_path / "a.png").exists()


def test_an_empty_folder(run: CommandLine, tmp_path: Path) -> None:
    assert "no images in this folder" in run.refused("caption", tmp_path)
    assert "no image matches" in run.refused("caption", tmp_path / "*.jpg")
    (tmp_path / "within").mkdir()
    assert "--recursive" in run.refused("caption", tmp_path)


def test_a_broken_link_is_named(run: CommandLine, tmp_path: Path) -> None:
    png(tmp_path / "a.png", 5)
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    for given in (tmp_path, tmp_path / "*.png"):
        line = f"{tmp_path / 'b.png'}: no such file (a broken link)"
        code, out, err = run.caption(given, "--beam-size", 1)
        assert (code, len(out), err) == (1, 1, [f"showattend: {line}"])


def test_one_pixel_is_an_image(run: CommandLine, tmp_path: Path) -> None:
    path = png(tmp_path / "dot.png", 1)
    result = run.caption(path, "--beam-size", 1)
    assert (result.code, len(result.out), result.err) == (0, 1, [])
    figure = ("--caption", "a dog", "--output", tmp_path / "a.png")
    assert run("attend", path, "--model", run.model, *figure).code == 0


def test_the_good_photos_are_captioned(run: CommandLine, tmp_path: Path) -> None:
    folder, output = tmp_path / "photos", tmp_path / "captions.jsonl"
    folder.mkdir()
    for make, _ in BAD_IMAGES:
        make(folder / f"{make.__name__}.jpg")
    good = [png(folder / "a.png", 5), png(folder / "z.png", 5)]
    result = run.caption(folder, folder / "missing.jpg", "--output", output)
    assert result.code == 1
    assert [line.split("\t")[0] for line in result.out] == [str(path) for path in good]
    assert len(output.read_text(encoding="utf-8").splitlines()) == 2
    assert result.err[-1] == f"wrote {output} (2 photos)"
    assert len(result.err) == len(BAD_IMAGES) + 1
    for make, message in BAD_IMAGES:
        lines = [line for line in result.err if make.__name__ in line]
        assert len(lines) == 1
        assert lines[0].startswith("showattend: ")
        assert message in lines[0]


def test_a_huge_image_takes_no_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    program = (
        "import resource, sys\n"
        "from showattend.exceptions import ImageError\n"
        "from showattend.images.preprocessing import Preprocessing\n"
        "from showattend.images.upright import open_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for load in (open_image, Preprocessing(size=224).load_pixels):\n"
        "    try: load(sys.argv[1])\n"
        "    except ImageError: print((peak() - before) // 1024)\n"
    )
    path = huge(tmp_path / "huge.png")
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    grown = [int(line) for line in done.stdout.split()]
    assert len(grown) == 2
    assert max(grown) < 50, "megabytes; decoded it would be 400"


# Models and configs ----------------------------------------------------------------------------


def test_checkpoints_of_another_kind(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    pickle, foreign = tmp_path / "model.pth", tmp_path / "foreign.safetensors"
    torch.save({"weight": torch.zeros(2)}, pickle)
    save_file({"weight": torch.zeros(2)}, foreign)
    state, cut = tmp_path / "state.safetensors", tmp_path / "cut.safetensors"
    save_tensors(state, {"weight": torch.zeros(2)}, {"kind": "training state"})
    cut.write_bytes((Path(run.model) / "model.safetensors").read_bytes()[:5000])
    for path, message in (
        (pickle, "damaged, or not a model of showattend"),
        (cut, "damaged, or not a model of showattend"),
        (foreign, "not a model of showattend"),
        (state, "not a model (a training state?)"),
        (photo, "damaged, or not a model of showattend"),
        (tmp_path / "absent", "no such model"),
        (tmp_path, "holds no model.safetensors"),
    ):
        line = run.refused("caption", photo, "--model", path)
        assert message in line
        assert str(path) in line
        assert message in run.refused("info", "--model", path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_a_missing_device(run: CommandLine, photo: Path) -> None:
    for device in ("cuda", "toaster"):
        line = run.refused("caption", photo, "--model", run.model, "--device", device)
        assert f"device '{device}' is not available here" in line
    line = run.refused("caption", photo, "--model", run.model, "--precision", "fp8")
    assert "precision 'fp8': must be one of auto, fp32, bf16" in line


@pytest.fixture
def config(tmp_path: Path) -> Path:
    data = tmp_path / "dataset.jsonl"
    rows = [
        {"image": f"{i}.png", "captions": ["A dog."], "split": split}
        for i, split in enumerate(("train", "val"))
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "config.yaml"
    path.write_text(f"data: {{path: {data}, cache: {tmp_path}/cache}}\n")
    return path


def test_configs(run: CommandLine, config: Path, tmp_path: Path) -> None:
    out = f"train.out={tmp_path}/run"
    for override, message in (
        ("train.epoch=3", "unknown key train.epoch; did you mean train.epochs?"),
        ("train.epochs=many", "must be a whole number"),
        ("epochs", "section.key=value"),
        ("encoder.name=efficientnet_lit0", "did you mean efficientnet_lite0 or "),
        ("encoder.name=timm:resnet5000", "timm has no model 'resnet5000'"),
        ("train.device=toaster", "device 'toaster' is not available here"),
        (f"data.path={tmp_path}/absent.jsonl", "absent.jsonl: no such file; make it with "),
        (f"data.path={tmp_path}/absent.json", "absent.json: no such file"),
        ("epochs=3", "unknown key epochs; did you mean train.epochs or self_critical.epochs?"),
        ("cache=x", "unknown key cache; did you mean data.cache?"),
    ):
        assert message in run.refused("train", config, out, override)
    assert "absent.yaml: no such config file" in run.refused("train", tmp_path / "absent.yaml")
    assert not (tmp_path / "run").exists()


# Options ---------------------------------------------------------------------------------------


def test_more_captions_than_beams(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions.jsonl"
    args = ("caption", photo, "--model", run.model, "--output", output)
    assert "n_best 9 is over beam_size 5" in run.refused(*args, "--n-best", 9)
    assert "n_best 3 is over beam_size 2" in run.refused(*args, "--n-best", 3, "--beam-size", 2)
    assert not output.exists()


def test_outputs_that_cannot_be_written(
    run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("the model is loaded before the output is looked at")

    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(too_late))
    file = text(tmp_path / "file")
    for command in (
        ("caption", photo, "--output", file / "captions.jsonl"),
        ("caption", photo, "--overlay", file),
        ("attend", photo, "--output", file / "figure.png"),
        ("evaluate", "--annotations", file, "--output", file / "results.json"),
        ("ground", "--annotations", file, "--images", tmp_path, "--output", tmp_path),
    ):
        assert "cannot be written" in run.refused(*command)
    assert "ends in .jsonl or .csv" in run.refused("caption", photo, "--output", "captions.txt")
    line = run.refused("attend", photo, "--output", "figure.doc")
    assert "figure.doc: no form .doc; use one of .png" in line
    for command in (("evaluate",), ("ground", "--images", tmp_path)):
        line = run.refused(*command, "--annotations", file, "--output", photo)
        assert line.startswith(f"showattend: {photo}: is a photo's name; --output writes")


@pytest.mark.parametrize(
    ("command", "place", "inputs"),
    [
        ("evaluate", "--output", ("--annotations", "--results")),
        ("errors", "--output", ("--annotations", "--results", "--train")),
        ("errors", "--gallery", ("--annotations", "--results", "--train")),
        ("ground", "--output", ("--annotations", "--captions")),
        ("ground", "--gallery", ("--annotations", "--captions")),
    ],
)
def test_inputs_are_never_overwritten(
    command: str,
    place: str,
    inputs: tuple[str, ...],
    run: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("something is computed before the output is looked at")

    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(too_late))
    monkeypatch.setattr("showattend.evaluation.evaluate.read_results", too_late)
    given = {name: coco(tmp_path / f"{name[2:]}.json", "a.json") for name in inputs}
    args = [each for pair in given.items() for each in pair]
    args += [] if command == "evaluate" else ["--images", tmp_path]
    if command == "errors" and place == "--output":
        args += ["--gallery", tmp_path / "worst.png"]
    if place == "--gallery":  # by another name
        for name, path in list(given.items()):
            given[name] = path.with_suffix(".png")
            given[name].symlink_to(path)
    for path in given.values():
        before = path.read_bytes()
        line = run.refused(command, *args, place, path)
        assert line == f"showattend: {path}: is an input; choose another name to write to"
        assert path.read_bytes() == before


@pytest.mark.parametrize("command", ["evaluate", "ground"])
def test_the_model_is_never_overwritten(
    command: str, run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "mine" / "model.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"weights")
    captions = coco(tmp_path / "captions.json", "a.png")
    args = (command, "--annotations", captions, "--images", tmp_path, "--model", model.parent)
    line = run.refused(*args, "--output", model)
    assert line == f"showattend: {model}: is an input; choose another name to write to"
    assert model.read_bytes() == b"weights"


def test_photos_are_never_overwritten(run: CommandLine, tmp_path: Path) -> None:
    """By JSON, whose name may be a photo's too."""
    captions = coco(tmp_path / "captions.json", "a.png")
    results = tmp_path / "results.json"
    results.write_text('{"0": "a dog"}')
    instances = tmp_path / "instances.json"
    content = json.loads(captions.read_text())
    content["images"][0] |= {"width": 4, "height": 4}
    content |= {"categories": [{"id": 1, "name": "dog"}]}
    content["annotations"] = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [0, 0, 2, 2]}]
    instances.write_text(json.dumps(content))
    photo, link = png(tmp_path / "a.png", 4), tmp_path / "link.json"
    before = photo.read_bytes()
    link.symlink_to(photo)
    with_model = ("--images", tmp_path, "--model", run.model)
    for command in (
        ("evaluate", "--annotations", captions, *with_model),
        ("errors", "--annotations", captions, "--results", results),
        ("ground", "--annotations", instances, *with_model),
    ):
        line = run.refused(*command, "--output", link)
        assert line == f"showattend: {link}: is one of the photos; choose another name to write to"
        assert photo.read_bytes() == before


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a file that keeps nothing")
@pytest.mark.usefixtures("no_java")
def test_special_files_need_no_suffix(run: CommandLine, tmp_path: Path) -> None:
    captions = coco(tmp_path / "captions.json", "a.png")
    (tmp_path / "results.json").write_text('{"0": "a dog"}')
    args = ("evaluate", "--annotations", captions, "--results", tmp_path / "results.json")
    assert run(*args, "--output", "/dev/null").code == 0


def test_errors_of_the_system_are_one_line(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a" * 300 + ".yaml"
    refused = PermissionError(13, "Permission denied", str(tmp_path / "locked" / "a.yaml"))

    def load(*_: object) -> None:
        raise refused

    monkeypatch.setattr("showattend.config.load_config", load)
    assert run.refused("train", name) == f"showattend: {tmp_path}/locked/a.yaml: Permission denied"
    refused = OSError(28, "No space left on device")
    assert run.refused("train", name) == "showattend: No space left on device"
    refused = OSError("no such thing")
    assert run.refused("train", name) == "showattend: no such thing"
    refused = BrokenPipeError(104, "Broken pipe")
    with pytest.raises(BrokenPipeError):
        run("train", name)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore lines."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_memory_that_runs_out_is_one_line(
    error: Exception, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise error

    monkeypatch.setattr("showattend.config.load_config", load)
    assert "not enough memory; lower --batch-size or" in run.refused("train", "a.yaml")


def test_an_error_of_our_own_is_not_hidden(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("showattend.config.load_config", load)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run("train", "a.yaml")


# Data sets -------------------------------------------------------------------------------------


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise java.JavaError("no Java was found")

    monkeypatch.setattr(java, "find_java", fail)


def coco(path: Path, *names: str) -> Path:
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "caption": "A dog runs."} for i in range(len(names))
        ],
    }
    path.write_text(json.dumps(content))
    return path


def test_prepare_with_missing_images(run: CommandLine, tmp_path: Path) -> None:
    rows = [{"image": name, "captions": ["A dog."]} for name in ("a.png", "gone.png", "text.png")]
    data = tmp_path / "captions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text(tmp_path / "text.png")
    args = ("prepare", "folder", tmp_path, "--out", tmp_path / "out", "--min-count", 1)
    line = run.refused(*args)
    assert "no image is left of 3" in line
    assert not (tmp_path / "out").exists()

    png(tmp_path / "a.png", 4)
    result = run(*args)
    assert (result.code, result.err) == (1, [])
    listed = "\n".join(result.out)
    assert "gone.png: no such file" in listed
    assert "text.png: not an image" in listed
    assert len((tmp_path / "out/dataset.jsonl").read_text().splitlines()) == 1


@pytest.mark.usefixtures("no_java")
def test_evaluate_with_missing_images(run: CommandLine, tmp_path: Path) -> None:
    annotations = coco(tmp_path / "captions_val.json", "a.png", "gone.png")
    args = ("evaluate", "--annotations", annotations, "--model", run.model, "--images", tmp_path)
    assert "none of its 2 images can be opened" in run.refused(*args)
    png(tmp_path / "a.png", 4)
    result = run(*args)
    assert result.code == 1
    skipped = [line for line in result.err if "1 of 2 images" in line]
    assert len(skipped) == 1
    assert "gone.png: no such file" in skipped[0]


def test_annotations_of_another_kind(run: CommandLine, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    captions = coco(tmp_path / "captions.json", "a.png")
    for content, message in (
        ("[]", "is this a results file?"),
        ("{", "broken JSON"),
        ('{"images": []}', "'annotations' is missing"),
        ('{"images": [], "annotations": []}', "holds no image with captions"),
    ):
        other.write_text(content)
        line = run.refused("evaluate", "--annotations", other, "--results", captions)
        assert message in line
        assert "other.json" in line
    other.write_text('{"a": 1}')
    for command, message in (
        (("evaluate", "--annotations", captions, "--results", other), "expected"),
        (("evaluate", "--annotations", tmp_path / "none.json", "--results", other), "no such file"),
        (
            ("ground", "--annotations", captions, "--images", tmp_path, "--model", run.model),
            "is not a COCO instances file",
        ),
        (("prepare", "karpathy", captions, "--images", tmp_path, "--out", tmp_path), "'filename'"),
        (("prepare", "flickr8k", tmp_path, "--out", tmp_path / "out"), "Flickr8k.token.txt"),
        (("prepare", "folder", tmp_path / "absent", "--out", tmp_path / "out"), "no such folder"),
    ):
        assert message in run.refused(*command)
