"""The exported networks give the model's captions and maps, for every kind of model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.exceptions import ConfigError, ImageError, UserError
from showattend.export import engine
from showattend.export.engine import OnnxCaptioner, find_exported
from showattend.export.folder import export
from tests.export.conftest import alike, toy

KINDS = [  # gate, attend_with, projection; the fixture's is another one
    ("scalar", "previous", 0),
    ("none", "current", 0),
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in (("scalar", "current", 12), ("vector", "previous", 0), ("none", "previous", 12))
    ),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_captions_and_maps_are_the_same_as_with_torch(
    kind: tuple[str, str, int], pictures: list[Path], tmp_path: Path, kept: Callable[..., None]
) -> None:
    kept("encoder")  # the toys' are the same
    captioner = toy(*kind)
    export(captioner, tmp_path / "out")
    runner = OnnxCaptioner(tmp_path / "out")
    outputs = [each.name for each in runner.model.step.get_outputs()]
    assert ("beta" in outputs) == ("beta" in runner.model.seen) == (kind[0] != "none")
    texts = set()
    for options in ({"beam_size": 1}, {"beam_size": 4, "n_best": 3}):
        wanted = captioner.caption(pictures, **options)
        found = [result for _, result in runner.stream(pictures, **options)]
        for one, other in zip(found, wanted, strict=True):
            assert isinstance(one, Caption)
            alike(one, other)
            assert (one.betas is None) == (kind[0] == "none")
        texts |= {each.text for each in wanted}
    assert len(texts) > 2  # a model with only one caption would prove nothing


def test_a_stage_beside_the_last_one(pictures: list[Path], tmp_path: Path) -> None:
    """On a grid that is no multiple of the last stage's: 17x17 and 6x6."""
    captioner = toy(beside="stem")
    export(captioner, tmp_path / "out")
    wanted = captioner.caption(pictures)
    assert wanted[0].attention.shape[1:] == (17, 17)
    for (_, found), each in zip(
        OnnxCaptioner(tmp_path / "out").stream(pictures), wanted, strict=True
    ):
        assert isinstance(found, Caption)
        alike(found, each)


@pytest.mark.slow
def test_the_shipped_model(photos: list[Path], tmp_path: Path) -> None:
    """The same captions from both engines, alone and in any batch."""
    captioner = Captioner.from_pretrained(device="cpu")
    sizes = export(captioner, tmp_path / "out")
    assert sum(sizes.values()) < 60e6
    runner = OnnxCaptioner(tmp_path / "out")
    views = [view for path in photos for view in views_of(path)]
    wanted = captioner.caption(views, n_best=3)
    assert len({each.text for each in wanted}) > len(views) / 2
    for batch_size in (1, 5, len(views)):
        for made_by in (captioner, runner):
            stream = made_by.stream(views, batch_size=batch_size, n_best=3)
            for (_, found), each in zip(stream, wanted, strict=True):
                assert isinstance(found, Caption)
                alike(found, each)


def views_of(path: Path) -> list[Image.Image]:
    """A photograph, its mirror image, and a part of it."""
    with Image.open(path) as photo:
        photo.load()
    width, height = photo.size
    part = photo.crop((width // 4, height // 4, width, height))
    return [photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), part]


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"n_best": 5},
        {"max_length": 3},
        {"beam_size": 2, "min_length": 12, "max_length": 14},
        {"block_ngrams": 1, "max_length": 25},
        {"block_ngrams": 2, "min_length": 8},
        # No word is left. (Rounding decides which of several such beams is kept.)
        {"beam_size": 1, "block_ngrams": 1, "min_length": 25, "max_length": 27},
        {"length_penalty": 0.0, "n_best": 5},
        {"length_penalty": 2.0, "beam_size": 3, "n_best": 3},
        {"beam_size": 40, "n_best": 40, "max_length": 4},  # more than there are words
        {"beam_size": 30, "n_best": 30, "max_length": 1},
    ],
    ids=str,
)
def test_search_options(
    captioner: Captioner, exported: Path, pictures: list[Path], options: dict[str, float]
) -> None:
    runner = OnnxCaptioner(exported)
    wanted = captioner.caption(pictures, **options)
    assert len({each.text for each in wanted}) > 1
    found = [result for _, result in runner.stream(pictures, batch_size=2, **options)]
    for one, other in zip(found, wanted, strict=True):
        assert isinstance(one, Caption)
        alike(one, other)


def test_calibration_is_exported(
    exported: Path, captioner: Captioner, pictures: list[Path], tmp_path: Path
) -> None:
    found = [result for _, result in OnnxCaptioner(exported).stream(pictures, batch_size=2)]
    assert all(isinstance(each, Caption) for each in found)
    known = [each.familiarity for each in found]
    assert len(set(known)) == len(pictures)
    assert known == pytest.approx([e.familiarity for e in captioner.caption(pictures)], abs=1e-4)

    folder = shutil.copytree(exported, tmp_path / "exported")
    settings = json.loads((folder / "model.json").read_text())
    before = {k: v for k, v in settings.items() if k not in ("unsure_below", "familiarity")}
    (folder / "model.json").write_text(json.dumps(before))
    old = OnnxCaptioner(folder).caption(pictures[0])
    assert (old.words, old.familiarity, old.unsure_below) == (found[0].words, None, 0.0)
    without = settings | {"familiarity": None}  # of a model that does not know
    (folder / "model.json").write_text(json.dumps(without))
    assert OnnxCaptioner(folder).caption(pictures[0]).familiarity is None

    (folder / "model.json").write_text(json.dumps(settings))
    for content in (b"no array", None, np.zeros((7, 2), np.float16)):
        (folder / "familiarity.npy").unlink()
        if isinstance(content, bytes):
            (folder / "familiarity.npy").write_bytes(content)
        elif content is not None:
            np.save(folder / "familiarity.npy", content)
        with pytest.raises(UserError, match="damaged") as caught:
            OnnxCaptioner(folder)
        assert "\n" not in str(caught.value)
        (folder / "familiarity.npy").touch()


OLD = Path(__file__).parent / "old_formats"
OLD_EXPORTS = sorted(path.parent for path in OLD.glob("*/model.json"))


@pytest.mark.parametrize("folder", OLD_EXPORTS, ids=lambda path: path.name)
def test_exports_of_earlier_versions_caption_as_they_did(folder: Path) -> None:
    """Folders that those versions wrote, and what they said of four pictures with each."""
    wanted = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    runner = OnnxCaptioner(folder)
    for number, each in enumerate(wanted):
        found = runner.caption(
            OLD / f"{number}.png", beam_size=3, min_length=5, max_length=8, block_ngrams=1
        )
        assert list(found.words) == each["words"]
        np.testing.assert_allclose(found.attention, each["attention"], atol=1e-4)
        np.testing.assert_allclose(found.log_probs, each["log_probs"], atol=1e-3)
        assert (found.betas is None) == (each["betas"] is None)
        if each["betas"] is not None:
            np.testing.assert_allclose(found.betas, each["betas"], atol=1e-4)
        assert found.familiarity == pytest.approx(each["familiarity"], abs=1e-4)
    assert len({tuple(each["words"]) for each in wanted}) > 2


def test_there_are_exports_of_earlier_versions() -> None:
    assert [path.name for path in OLD_EXPORTS] == ["calibrated", "contracts", "first"]


def test_a_broken_model_still_gives_a_caption(exported: Path, pictures: list[Path]) -> None:
    runner = OnnxCaptioner(exported)
    advance = runner.model.advance

    def broken(*inputs: np.ndarray) -> list[np.ndarray]:
        log_probs, *rest = advance(*inputs)
        return [np.full_like(log_probs, np.nan), *rest]

    runner.model.advance = broken  # type: ignore[method-assign]
    found = runner.caption(pictures[0])
    assert (found.words, found.log_probs, found.score) == ((), (), 0)
    assert found.attention.shape == (0, 6, 6)


def test_a_stream_keeps_order_and_names_what_is_bad(
    captioner: Captioner, exported: Path, pictures: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    sources = [pictures[0], bad, *pictures[1:], *pictures, bad]
    runner = OnnxCaptioner(exported)
    results = list(runner.stream(sources, batch_size=2))
    assert [source for source, _ in results] == sources
    for source, result in results:
        if source == bad:
            assert isinstance(result, ImageError)
        else:
            assert isinstance(result, Caption)
            alike(result, captioner.caption(source))
    with pytest.raises(ImageError, match="not an image"):
        runner.caption(bad)
    array = np.zeros((9, 9, 3), np.uint8)
    alike(runner.caption(array), captioner.caption(array))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0; it must be 1 or more"),
        ({"n_best": 9}, "n_best 9 is over beam_size 5"),
        ({"min_length": 31}, "min_length 31 is over max_length 30"),
        ({"length_penalty": -1}, "length_penalty is -1"),
        ({"length_penalty": float("nan")}, "length_penalty is nan; it must be a number"),
        ({"length_penalty": float("inf")}, "length_penalty is inf; it must be 10 or less"),
        ({"beam_size": 2.5}, "beam_size is 2.5; it must be a whole number"),
        ({"beam_size": 10**6}, "beam_size is 1000000; it must be 1000 or less"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"banned": ["dog"]}, "banned: no such option; known: beam_size"),
    ],
)
def test_invalid_options_are_refused(
    exported: Path, pictures: list[Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        OnnxCaptioner(exported).caption(pictures[0], **options)


@pytest.mark.parametrize("options", [{"beam_size": 0}, {"batch_size": 0}, {"beam": 3}])
def test_a_stream_checks_its_options_when_it_is_called(
    exported: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        OnnxCaptioner(exported).stream([], **options)


def test_only_the_cpu_and_fp32_are_supported(exported: Path) -> None:
    with pytest.raises(ConfigError, match="runs on the CPU; --device cuda"):
        OnnxCaptioner.from_pretrained(exported, device="cuda")
    with pytest.raises(ConfigError, match="in fp32; --precision bf16"):
        OnnxCaptioner.from_pretrained(exported, precision="bf16")
    for precision in ("fp32", "auto"):
        assert OnnxCaptioner.from_pretrained(exported, precision=precision).model.vocabulary


@pytest.mark.parametrize("name", ["encoder.onnx", "step.onnx"])
def test_damaged_networks(exported: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / name).write_bytes((exported / name).read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{name}: missing or damaged"):
        OnnxCaptioner(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing or damaged"):
        OnnxCaptioner(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": "showattend onnx 1"}', "damaged"),
        ('{"format": "showattend onnx 9"}', "its format is 'showattend onnx 9'"),
    ],
)
def test_damaged_settings(exported: Path, tmp_path: Path, text: str, message: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / "model.json").write_text(text)
    with pytest.raises(UserError, match=message):
        OnnxCaptioner(folder)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("vocabulary",), None, "vocabulary is None"),
        (("vocabulary", 10), "\x1b[2J", "is not a word"),
        (("grid",), [0, 2], r"grid\[0\] is 0"),
        (("grid",), [1, 2], "of different models"),
        (("preprocessing",), None, "preprocessing is None"),
        (("preprocessing", "fill"), "red", "fill is"),
        (("preprocessing", "size"), 64.5, "size is 64.5"),
        (("preprocessing", "size"), 66, "of different models"),
        (("search", "beam_size"), 2**63, "beam_size is"),
        (("search", "min_length"), 10**8, "min_length is"),
        (("search", "min_length"), 999, "min_length 999 is over max_length"),
        (("familiarity",), {"size": "x"}, "familiarity has no residuals"),
    ],
)
def test_hostile_settings(
    exported: Path, tmp_path: Path, keys: tuple[str | int, ...], value: object, message: str
) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    settings = inner = json.loads((folder / "model.json").read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (folder / "model.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=message) as caught:
        OnnxCaptioner(folder)
    assert str(folder) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("pair", [("encoder", "step"), ("initial", "step"), ("encoder", "initial")])
def test_swapped_networks_are_refused(
    exported: Path, tmp_path: Path, pair: tuple[str, str]
) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    for one, other in (pair, pair[::-1]):
        shutil.copy(exported / f"{one}.onnx", folder / f"{other}.onnx")
    with pytest.raises(UserError, match=r"of different models|missing or damaged"):
        OnnxCaptioner(folder)


def test_an_operator_whose_name_is_not_text(
    exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    network = (folder / "step.onnx").read_bytes()
    assert b"Sigmoid" in network
    (folder / "step.onnx").write_bytes(network.replace(b"Sigmoid", b"\xff\xfe\xfdmoid"))
    with pytest.raises(UserError, match=r"step.onnx: missing or damaged"):
        OnnxCaptioner(folder)
    assert capfd.readouterr().out == ""  # stdout is for captions


def test_files_of_different_exports_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy")
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace('"dog",', ""))
    with pytest.raises(UserError, match="of different models"):
        OnnxCaptioner(folder)


# The cache -------------------------------------------------------------------------------------


def test_a_model_is_exported_once(
    exported: Path,
    captioner: Captioner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    loads = []

    def load(*_: object, **options: object) -> Captioner:
        loads.append(options)
        return captioner

    def copy(model: Captioner, out: Path) -> None:
        assert model is captioner
        shutil.copytree(exported, out)

    monkeypatch.setattr(Captioner, "from_pretrained", load)
    monkeypatch.setattr("showattend.export.folder.export", copy)
    first = find_exported(file)
    assert (first / "caption.py").is_file()
    assert loads == [{"device": "cpu", "precision": "fp32"}]
    assert len(logged) == 1
    assert str(first) in logged[0]
    assert find_exported(file) == first
    assert find_exported(first) == first
    assert len(loads) == len(logged) == 1
    file.write_bytes(b"another")
    assert find_exported(file) != first
    assert len(loads) == 2


@pytest.fixture
def cached(
    captioner: Captioner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: Callable[..., None],
) -> Path:
    """A model's file; its export in the cache takes no tracing."""
    kept("encoder", "initial", "step")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Captioner, "from_pretrained", lambda *_, **__: captioner)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"a model")
    return file


def test_other_search_defaults_are_another_export(cached: Path) -> None:
    first = find_exported(cached)
    (cached.parent / "search.json").write_text('{"block_ngrams": 2}')
    assert find_exported(cached) != first
    (cached.parent / "search.json").unlink()
    assert find_exported(cached) == first


def test_an_incomplete_export_in_the_cache_is_replaced(
    cached: Path, pictures: list[Path], logged: list[str]
) -> None:
    folder = find_exported(cached)
    for times, name in enumerate(("encoder.onnx", "initial.onnx", "step.onnx", "model.json"), 2):
        (folder / name).unlink()
        runner = OnnxCaptioner.from_pretrained(cached)
        assert isinstance(runner.caption(pictures[0]), Caption)
        assert (folder / name).is_file()
        assert sum("exporting" in line for line in logged) == times
    assert find_exported(cached) == folder
    assert sum("exporting" in line for line in logged) == 5


@pytest.mark.parametrize("name", ["step.onnx", "model.json"])
def test_a_damaged_export_in_the_cache_names_the_folder_to_delete(
    cached: Path, exported: Path, tmp_path: Path, name: str
) -> None:
    folder = find_exported(cached)
    (folder / name).write_bytes((exported / name).read_bytes()[:100])
    with pytest.raises(UserError) as caught:
        OnnxCaptioner.from_pretrained(cached)
    message = str(caught.value)
    assert message.startswith(f"{folder / name}: ")
    assert message.endswith(f"); delete the folder {folder}, it will be recreated")
    assert "\n" not in message
    # A folder that was asked for by name is its owner's to export.
    shutil.copytree(folder, tmp_path / "named")
    with pytest.raises(UserError, match=r"; export again$"):
        OnnxCaptioner.from_pretrained(tmp_path / "named")
    shutil.rmtree(folder)
    OnnxCaptioner.from_pretrained(cached)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written .*showattend export --out DIR"):
        find_exported(tmp_path / "model.safetensors")


def test_torch_is_not_imported(exported: Path, pictures: list[Path]) -> None:
    program = (
        "import sys; from showattend.cli import main; "
        f"code = main(['caption', {str(pictures[0])!r}, '--engine', 'onnx', "
        f"'--model', {str(exported)!r}]); "
        "sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{pictures[0]}\t")
    assert result.stderr == ""


def test_a_missing_package_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from showattend.export import folder

    monkeypatch.setattr(folder, "find_spec", lambda _: None)
    with pytest.raises(
        UserError, match=r'needs onnxruntime; run: pip install "showattend\[onnx\]"'
    ):
        OnnxCaptioner(exported)
    assert engine.is_exported(exported)
