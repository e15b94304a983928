"""``showattend export`` and ``showattend caption --engine onnx``."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from showattend.captioner import Captioner
from showattend.export import folder
from showattend.export.folder import NEEDED
from tests.commandline import CommandLine
from tests.export.conftest import alike, toy

installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason="the extra onnx is absent"
)


@installed
def test_export_and_caption(
    run: CommandLine,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: Callable[..., None],
) -> None:
    kept("encoder", "initial", "step")
    small = toy("vector", "current", 12)
    asked = {}

    def load(model: str, **options: object) -> Captioner:
        asked.update({"model": model, **options})
        return small

    monkeypatch.setattr(Captioner, "from_pretrained", load)
    out = tmp_path / "out"
    result = run("export", "--model", "mine", "--out", out)
    assert asked == {"model": "mine", "device": "cpu", "precision": "fp32", "size": None}
    assert (result.code, result.out) == (0, [])
    assert result.err[-1].startswith(f"wrote {out}: 0.")
    assert result.err[-1].endswith(" MB")
    assert any(line.startswith(f"{out / 'step.onnx'}  0.0") for line in result.err)

    captions = tmp_path / "captions.jsonl"
    result = run(
        "caption",
        *pictures,
        "--engine",
        "onnx",
        "--model",
        out,
        "--n-best",
        2,
        "--output",
        captions,
    )
    wanted = small.caption(pictures, n_best=2)
    assert (result.code, result.err) == (0, [f"wrote {captions} ({len(pictures)} photos)"])
    assert [line.split("\t")[1] for line in result.out] == [
        each.text for best in wanted for each in (best, *best.alternatives)
    ]
    written = [json.loads(line) for line in captions.read_text().splitlines()]
    assert sorted(each["words"] for each in written) == sorted(list(each.words) for each in wanted)

    assert "n_best 3 is over beam_size 2" in run.refused(
        *("caption", pictures[0], "--engine", "onnx", "--model", out),
        *("--n-best", 3, "--beam-size", 2),
    )
    message = run.refused("caption", pictures[0], "--model", out)
    assert message.endswith("out: an exported model; only caption --engine onnx can use it")
    assert "an exported model" in run.refused("export", "--model", out, "--out", tmp_path / "b")
    assert not (tmp_path / "b").exists()


@installed
def test_overlays_by_onnx(
    run: CommandLine, exported: Path, captioner: Captioner, pictures: list[Path], tmp_path: Path
) -> None:
    from showattend.export.engine import OnnxCaptioner

    result = run(
        *("caption", pictures[3], "--engine", "onnx", "--model", exported),
        *("--overlay", tmp_path / "figures"),
    )
    assert result.code == 0
    assert (tmp_path / "figures" / "3.png").stat().st_size > 1000
    alike(OnnxCaptioner(exported).caption(pictures[3]), captioner.caption(pictures[3]))


@installed
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--engine", "onnx", "--device", "cuda"], "the onnx engine runs on the CPU"),
        (["--engine", "onnx", "--precision", "bf16"], "the onnx engine computes in fp32"),
        (["--engine", "onnx", "--model", "nowhere"], "nowhere: no such model"),
        (["--engine", "onnx", "--size", "96"], "an export has a fixed size"),
        (["--engine", "tvm"], "engine"),
    ],
)
def test_mistakes(run: CommandLine, photo: Path, args: list[str], message: str) -> None:
    assert message in run.refused("caption", photo, *args)


def test_a_missing_package_is_named(
    run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "find_spec", lambda _: None)
    message = run.refused("export", "--out", tmp_path / "out")
    assert message.endswith('ONNX needs onnx; run: pip install "showattend[onnx]"')
    message = run.refused("caption", photo, "--engine", "onnx")
    assert message.endswith('ONNX needs onnxruntime; run: pip install "showattend[onnx]"')


@installed
def test_a_folder_with_other_files(run: CommandLine, photo: Path) -> None:
    assert "holds other files (photo.png)" in run.refused("export", "--out", photo.parent)
    assert "is a file" in run.refused("export", "--out", photo)
