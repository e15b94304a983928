"""Write a captioner as a folder that needs neither PyTorch nor showattend, and check the result.

The folder contains encoder.onnx, initial.onnx, step.onnx, model.json (vocabulary, preprocessing,
search defaults) and caption.py. docs/export.md describes them.
"""

from __future__ import annotations

import json
import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend import __version__
from showattend.exceptions import ConfigError, UserError
from showattend.model.score_settings import search_settings
from showattend.system.files import unwritable, writing_folder

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.export.graphs import Graph

NETWORKS = ("encoder.onnx", "initial.onnx", "step.onnx")
SETTINGS = "model.json"
PROGRAM = "caption.py"
FAMILIARITY = "familiarity.npy"
"""The basis of `showattend.model.familiarity`, if the model has one."""
_FILES = (*NETWORKS, SETTINGS, PROGRAM, FAMILIARITY)
_PARTS = (
    "exceptions.py",
    "system/quiet.py",
    "images/depth.py",
    "images/arrays.py",
    "images/colours.py",
    "images/memory_needed.py",
    "images/heif.py",
    "images/turns.py",
    "images/image_files.py",
    "text/printable.py",
    "model/model_schema.py",
)  # modules that caption.py imports, each after those that it imports
_log = logging.getLogger("showattend.export")
_PLACE = "# The photo ---"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""The packages of the extra ``onnx``."""

TOLERANCE = 1e-3
"""Largest difference from PyTorch relative to the largest value; typical differences are 1e-6."""


def check_installed(*packages: str) -> None:
    """Check that optional packages are installed.

    Raises:
        UserError: A package is missing; the message says how to install it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UserError(f'ONNX needs {package}; run: pip install "showattend[onnx]"')


def check_folder(out: Path) -> None:
    """Check that `export` may write to a folder, before the time-consuming work.

    Raises:
        UserError: It is a file, contains other files, or cannot be written to.
    """
    try:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: is a file; give --out a folder")
        held = {path.name for path in out.iterdir()} if out.is_dir() else set()
        strange = held - {*_FILES, "__pycache__"}
        if strange and SETTINGS not in held:
            raise UserError(f"{out}: holds other files ({min(strange)}); give --out a new folder")
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    if not os.access(out if out.is_dir() else out.absolute().parent, os.W_OK):
        raise UserError(f"{out}: cannot be written (permission denied)")


def export(captioner: Captioner, out: Path) -> dict[str, int]:
    """Write a captioner as ONNX. The folder appears when everything is written and checked.

    An earlier export in ``out`` is replaced; other files there are kept.

    Args:
        captioner: A captioner on the CPU in float32.
        out: The folder to write.

    Returns:
        The sizes of the files in bytes, by name.

    Raises:
        UserError: The folder cannot be written to, or the packages are not installed.
        ConfigError: The model cannot be exported, or the export gives different results.
    """
    check_installed(*NEEDED)
    check_folder(out)
    from showattend.export.graphs import build_graphs, write_graph

    try:
        with writing_folder(out, replaces=_FILES) as aside:
            graphs = build_graphs(captioner)
            for name, graph in graphs.items():
                _log.info(f"writing {name}.onnx")
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
            _log.info("comparing with PyTorch")
            _compare(graphs, aside)
            return {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
    except OSError as error:
        raise unwritable(out, error) from error


def program() -> str:
    """Build the source of caption.py, with the code that it imports from showattend inlined."""
    source = Path(__file__).with_name("program.py").read_text(encoding="utf-8")
    code = []
    for name in _PARTS:
        part = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        code.append(part.partition("from __future__ import annotations\n")[2].strip())
    source = source.replace(_PLACE, "\n\n\n".join([*code, _PLACE]), 1)
    lines = source.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("from showattend."))


def _settings(captioner: Captioner, graphs: dict[str, Graph]) -> dict[str, Any]:
    """The content of model.json."""
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
            | ({"growing": graph.growing} if graph.growing else {})
            for name, graph in graphs.items()
        },
        "part_names": list(getattr(captioner.decoder, "part_names", ())),
        "unsure_below": captioner.calibration.unsure_below,
        "familiarity": captioner.calibration.to_dict().get("familiarity"),
        "search": search_settings(options),
        "vocabulary": [*captioner.vocabulary.SPECIALS, *captioner.vocabulary.words],
    }


def _compare(graphs: dict[str, Graph], folder: Path) -> None:
    """Compare both on noise, with numbers of images and beams other than those traced.

    Raises:
        ConfigError: The results differ, or the export cannot be run.
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
        # The step twice: the second time with the state of the first.
        for name in (*graphs, "step"):
            graph = graphs[name]
            with torch.no_grad():
                wanted = graph.module(*map(torch.from_numpy, inputs))
            wanted = [wanted] if isinstance(wanted, torch.Tensor) else list(wanted)
            names = dict(zip(graph.inputs, inputs, strict=True))
            try:
                found = getattr(model, name).run(None, names)
            except Exception as error:  # onnxruntime has its own classes
                reason = " ".join(str(error).split())[:200]
                raise ConfigError(f"{name}.onnx does not run with {B} images ({reason})") from error
            for output, one, other in zip(graph.outputs, found, wanted, strict=True):
                other = other.numpy()
                most = TOLERANCE * max(1e-6, np.abs(other).max(initial=0))
                if one.shape != other.shape or not np.allclose(one, other, rtol=0, atol=most):
                    raise ConfigError(
                        f"{name}.onnx: its {output} is not what PyTorch computes; this model "
                        "cannot be exported"
                    )
            if name == "encoder":
                inputs = found
                continue
            words = random.integers(0, len(model.vocabulary), (B, K))
            if name == "initial":
                memory, state = found[: model.remembered], found[model.remembered :]
                state = [np.repeat(part, K, 1) for part in state]
            else:
                state = [
                    each
                    for output, each in zip(graph.outputs, found, strict=True)
                    if output.startswith("new_")
                ]
            inputs = [words, *state, *memory]
