"""What an export writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from showattend.captioner import Captioner
from showattend.exceptions import ConfigError, UserError
from showattend.export import folder as folders
from showattend.export.folder import check_folder, export
from showattend.model.encoder import Encoder
from tests.export.conftest import SIZE, WORDS, toy

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

FILES = [
    "caption.py", "encoder.onnx", "familiarity.npy", "initial.onnx", "model.json", "step.onnx",
]  # fmt: skip


def test_what_is_written(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == FILES
    settings = json.loads((exported / "model.json").read_text(encoding="utf-8"))
    assert settings["format"] == "showattend onnx 1"
    assert settings["name"] == "toy"
    assert settings["vocabulary"][:4] == ["<pad>", "<start>", "<end>", "<unk>"]
    assert settings["vocabulary"][4:] == WORDS.split(" ")
    assert settings["preprocessing"] == {
        "size": SIZE, "fit": "squash", "fill": [128, 102, 76], "interpolation": "bicubic",
    }  # fmt: skip
    assert settings["search"]["length_penalty"] == 0.7
    assert settings["grid"] == [6, 6]
    assert settings["unsure_below"] == 0.4
    assert settings["familiarity"]["size"] == SIZE
    basis = np.load(exported / "familiarity.npy")
    assert (basis.shape, basis.dtype) == ((20, 4), np.float16)
    assert len(settings["familiarity"]["residuals"]) == 9


def test_the_networks_are_as_documented(exported: Path) -> None:
    """docs/export.md says so."""
    B, K, L, D, A, M, V = "batch", "beams", 36, 12, 10, 14, 4 + len(WORDS.split(" "))
    state = [("h", [B, K, M]), ("c", [B, K, M]), ("z", [B, K, D])]
    step = [("words", [B, K]), *state, ("features", [B, L, D]), ("keys", [B, L, A])]
    documented = {
        "encoder": ([("pixels", [B, SIZE, SIZE, 3])], [("features", [B, 6, 6, 20])]),
        "initial": (
            [("features", [B, 6, 6, 20])],
            [("memory_features", [B, L, D]), ("memory_keys", [B, L, A]),
             ("h", [B, 1, M]), ("c", [B, 1, M]), ("z", [B, 1, D])],
        ),
        "step": (
            step,
            [("log_probs", [B, K, V]), ("alpha", [B, K, L]), ("beta", [B, K]),
             ("new_h", [B, K, M]), ("new_c", [B, K, M]), ("new_z", [B, K, D])],
        ),
    }  # fmt: skip
    for name, (inputs, outputs) in documented.items():
        network = onnxruntime.InferenceSession(exported / f"{name}.onnx")
        assert [(each.name, each.shape) for each in network.get_inputs()] == inputs
        assert [(each.name, each.shape) for each in network.get_outputs()] == outputs
        types = {each.type for each in (*network.get_inputs(), *network.get_outputs())}
        assert types <= {"tensor(float)", "tensor(uint8)", "tensor(int64)"}
        assert onnx.load(exported / f"{name}.onnx").opset_import[0].version == 18


def test_exports_contain_nothing_about_the_machine(exported: Path) -> None:
    for path in exported.iterdir():
        content = path.read_bytes()
        for trace in (__file__, folders.__file__, torch.__file__):
            assert str(Path(trace).parent).encode() not in content, path.name


def test_an_earlier_export_is_replaced_and_other_files_stay(
    captioner: Captioner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    monkeypatch.setattr(folders, "_compare", lambda *_: None)
    monkeypatch.setattr(
        "showattend.export.graphs.write_graph", lambda _, path: path.write_text("new")
    )
    out = tmp_path / "out"
    out.mkdir()
    for name in FILES:
        (out / name).write_text("old")
    (out / "notes.txt").write_text("mine")
    sizes = export(captioner, out)
    assert sorted(sizes) == FILES
    assert sizes["step.onnx"] == 3
    assert (out / "step.onnx").read_text() == "new"
    assert json.loads((out / "model.json").read_text())["name"] == "toy"
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "writing encoder.onnx" in logged


def test_other_folders_are_refused(captioner: Captioner, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds other files \(thesis.tex\)"):
        export(captioner, tmp_path)
    with pytest.raises(UserError, match="is a file"):
        export(captioner, tmp_path / "thesis.tex")
    with pytest.raises(UserError, match="cannot be written"):
        export(captioner, tmp_path / "thesis.tex" / "out")
    check_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a" / "b").exists()


class Branching(nn.Module):
    """Cannot be traced, because its computation depends on the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 20, 9, stride=6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images if images.sum() > 0 else -images)


class FixedBatch(nn.Module):
    """Correct only for the batch size that it is traced with."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 20, 3, stride=6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images) * (2 if torch.compiler.is_compiling() else 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (Branching, "odd: PyTorch cannot write it as ONNX|the export cannot be run"),
        (FixedBatch, r"encoder.onnx: its features is not what PyTorch computes"),
    ],
)
def test_a_model_that_cannot_be_exported_leaves_nothing(
    tmp_path: Path, body: type[nn.Module], message: str, kept: Callable[..., None]
) -> None:
    kept("initial", "step")
    captioner = toy("vector", "current", 12)
    captioner.encoder = Encoder(body(), {}, "odd")
    with pytest.raises(ConfigError, match=message) as caught:
        export(captioner, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_precision_is_refused(tmp_path: Path) -> None:
    captioner = toy()
    captioner.dtype = torch.bfloat16
    with pytest.raises(ConfigError, match="in fp32"):
        export(captioner, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_beams_need_not_be_contiguous(exported: Path, captioner: Captioner) -> None:
    """The step for [B, K] equals the step for each beam alone."""
    from showattend.export import program as program

    model = program.Model(exported)
    random = np.random.default_rng(0)
    memory, state = model.begin(random.integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8))
    words = random.integers(4, 20, (3, 4))
    together = model.advance(words, *(np.repeat(part, 4, 1) for part in state), *memory)
    for b in range(3):
        for k in range(4):
            parts = [part[b : b + 1] for part in (*state, *memory)]
            alone = model.advance(words[b : b + 1, k : k + 1], *parts)
            for one, all_of_them in zip(alone, together, strict=True):
                np.testing.assert_allclose(one[0, 0], all_of_them[b, k], atol=1e-5)
