"""Write a captioner as a folder that needs neither PyTorch nor showattend; make sure of it first.

The folder holds encoder.onnx, initial.onnx, step.onnx, model.json (vocabulary, preprocessing,
search defaults) and caption.py. docs/export.md describes them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend import __version__
from showattend.exceptions import ConfigError, UserError

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.export.graphs import Graph

NETWORKS = ("encoder.onnx", "initial.onnx", "step.onnx")
SETTINGS = "model.json"
PROGRAM = "caption.py"
FAMILIARITY = "familiarity.npy"
"""The basis of `showattend.model.familiarity`, where the model has one."""
_PARTS = (
    "images/depth.py",
    "images/pixels.py",
    "text/printable.py",
    "model/model_schema.py",
)  # modules that caption.py imports, each after those that it imports itself
_PLACE = "# The photo ---"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""What the extra ``onnx`` installs."""

TOLERANCE = 1e-3
"""How far exported numbers may lie from PyTorch's, as a share of the largest; usual are 1e-6."""


def check_installed(*packages: str) -> None:
    """Make sure of optional packages.

    Raises:
        UserError: Names the first that is absent, and how to install it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UserError(f'ONNX needs {package}; run: pip install "showattend[onnx]"')


def check_folder(out: Path) -> None:
    """Ask early whether `export` may write there; a mistake then costs no waiting.

    Raises:
        UserError: It is a file, holds something else than an export, or cannot be written to.
    """
    try:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: is a file; give --out a folder")
        held = {path.name for path in out.iterdir()} if out.is_dir() else set()
        strange = held - {*NETWORKS, SETTINGS, PROGRAM, FAMILIARITY, "__pycache__"}
        if strange and SETTINGS not in held:
            raise UserError(f"{out}: holds other files ({min(strange)}); give --out a new folder")
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    if not os.access(out if out.is_dir() else out.absolute().parent, os.W_OK):
        raise UserError(f"{out}: cannot be written (permission denied)")


def export(
    captioner: Captioner, out: Path, say: Callable[[str], None] = lambda _: None
) -> dict[str, int]:
    """Write a captioner as ONNX. The folder appears when all is written and checked.

    An earlier export in ``out`` is replaced; other files there stay.

    Args:
        captioner: On the CPU, in float32.
        out: The folder.
        say: Told what is being done.

    Returns:
        The files' sizes in bytes, by name.

    Raises:
        UserError: The folder cannot be written to, or the packages are not installed.
        ConfigError: The model cannot be exported, or the export does not do what the model does.
    """
    check_installed(*NEEDED)
    check_folder(out)
    from showattend.export.graphs import build_graphs, write_graph

    aside = out.absolute().with_name(f".{out.absolute().name[:100]}.{secrets.token_hex(4)}.part")
    try:
        aside.mkdir()
        graphs = build_graphs(captioner)
        for name, graph in graphs.items():
            say(f"writing {name}.onnx")
            try:
                write_graph(graph, aside / f"{name}.onnx")
            except ConfigError as error:
                part = captioner.encoder.name if name == "encoder" else f"decoder, {name}"
                raise ConfigError(f"{part}: {error}") from error
        settings = _settings(captioner, graphs)
        (aside / SETTINGS).write_text(
            json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (aside / PROGRAM).write_text(program(), encoding="utf-8")
        if (known := captioner.calibration.familiarity) is not None:
            np.save(aside / FAMILIARITY, known.basis.astype(np.float16))
        say("comparing with PyTorch")
        _compare(graphs, aside)
        sizes = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
        _move(aside, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sizes


def program() -> str:
    """The source of caption.py as it is exported: it needs nothing of showattend.

    What it imports from the package stands in it instead.
    """
    source = Path(__file__).with_name("program.py").read_text(encoding="utf-8")
    code = []
    for name in _PARTS:
        part = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        code.append(part.partition("from __future__ import annotations\n")[2].strip())
    source = source.replace(_PLACE, "\n\n\n".join([*code, _PLACE]), 1)
    lines = source.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("from showattend."))


def _settings(captioner: Captioner, graphs: dict[str, Graph]) -> dict[str, Any]:
    """What model.json holds."""
    from showattend.export.program import FORMAT

    given, options = captioner.preprocessing, captioner.search
    rows, columns = captioner.encoder.grid(given.size)
    name = Path(captioner.name)
    return {
        "format": FORMAT,
        "showattend": __version__,
        "name": name.parent.name if name.suffix == ".safetensors" else name.name,
        "encoder": captioner.encoder.name,
        "preprocessing": {
            "size": given.size,
            "fit": given.fit,
            "fill": [round(255 * value) for value in given.mean],
            "interpolation": given.interpolation,
        },
        "grid": [rows, columns],
        "networks": {
            name: {"inputs": list(graph.inputs), "outputs": list(graph.outputs)}
            for name, graph in graphs.items()
        },
        "part_names": list(getattr(captioner.decoder, "part_names", ())),
        "unsure_below": captioner.calibration.unsure_below,
        "familiarity": captioner.calibration.to_dict().get("familiarity"),
        "search": {
            "beam_size": options.beam_size,
            "max_length": options.max_length,
            "min_length": options.min_length,
            "length_penalty": options.length_penalty,
            "block_ngrams": options.block_ngrams,
        },
        "vocabulary": [*captioner.vocabulary.SPECIALS, *captioner.vocabulary.words],
    }


def _compare(graphs: dict[str, Graph], folder: Path) -> None:
    """Run both on noise, with other numbers of images and beams than were traced.

    Raises:
        ConfigError: They differ.
    """
    import torch

    from showattend.export import program as program

    try:
        model = program.Model(folder)
    except program.UserError as error:
        raise ConfigError(f"the export cannot be run: {error}") from error
    random = np.random.default_rng(1)
    for B, K in ((1, 1), (3, 5)):
        inputs: list[Any] = [
            random.integers(0, 256, (B, *graphs["encoder"].example[0].shape[1:]), dtype=np.uint8)
        ]
        for name, graph in graphs.items():
            with torch.no_grad():
                wanted = graph.module(*map(torch.from_numpy, inputs))
            wanted = [wanted] if isinstance(wanted, torch.Tensor) else list(wanted)
            names = dict(zip(graph.inputs, inputs, strict=True))
            try:
                found = getattr(model, name).run(None, names)
            except Exception as error:  # onnxruntime's own
                reason = " ".join(str(error).split())[:200]
                raise ConfigError(f"{name}.onnx does not run with {B} images ({reason})") from error
            for output, one, other in zip(graph.outputs, found, wanted, strict=True):
                other = other.numpy()
                most = TOLERANCE * max(1e-6, np.abs(other).max())
                if one.shape != other.shape or not np.allclose(one, other, rtol=0, atol=most):
                    raise ConfigError(
                        f"{name}.onnx: its {output} is not what PyTorch computes; this model "
                        "cannot be exported"
                    )
            inputs = found
            if name == "initial":
                words = random.integers(0, len(model.vocabulary), (B, K))
                memory, state = found[: model.remembered], found[model.remembered :]
                inputs = [words, *(np.repeat(part, K, 1) for part in state), *memory]


def _move(aside: Path, out: Path) -> None:
    """Give the finished folder its name, or its files their places in an older one."""
    try:
        aside.replace(out)
        return
    except OSError:  # it holds files, perhaps of another process that was quicker
        if not out.is_dir():
            raise
    (out / SETTINGS).unlink(missing_ok=True)  # comes last: without it nothing is taken for whole
    for name in (*NETWORKS, PROGRAM, FAMILIARITY, SETTINGS):
        if name != FAMILIARITY or (aside / name).exists():
            (aside / name).replace(out / name)


def _unwritable(out: Path, error: OSError) -> UserError:
    return UserError(f"{out}: cannot be written ({error.strerror or error})")
