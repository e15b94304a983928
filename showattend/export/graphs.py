"""The captioner's three networks in ONNX: encoder, initial state, decoder step.

They are the captioner's own code, traced by ``torch.export``: the normalisation of pixels, the
backbone, and the decoder's `memory`, `start` and `step`.

Shape suffixes: B images, K beams, H and W the grid, L its cells, D feature, V vocabulary, S the
input's side in pixels.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import Dim

from showattend.captioner import Captioner
from showattend.decoding.beam import seen
from showattend.exceptions import ConfigError
from showattend.images.preprocessing import Preprocessing
from showattend.model.encoder import Encoder

OPSET = 18
"""Old enough for every onnxruntime that runs on today's Python, and what PyTorch writes best."""


class Graph(NamedTuple):
    """One network, with an example to trace it by and the names that its file gives.

    ``inputs`` names the inputs and says which of their leading axes are free: "" none, "B" the
    first, "BK" the first two.
    """

    module: nn.Module
    example: tuple[torch.Tensor, ...]
    inputs: dict[str, str]
    outputs: tuple[str, ...]


class EncoderGraph(nn.Module):
    """Pixels [B, S, S, 3] uint8 to annotations [B, H, W, D] float32."""

    def __init__(self, encoder: Encoder, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder, self.preprocessing = encoder, preprocessing

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise and encode."""
        return self.encoder(self.preprocessing.normalize(pixels.permute(0, 3, 1, 2)))


class InitialGraph(nn.Module):
    """Annotations [B, H, W, D] to what the steps need: the tensors of the memory, and the state."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Once an image."""
        memory = self.decoder.memory(features)
        return *tensors_of(memory).values(), *self.decoder.start(memory)


class StepGraph(nn.Module):
    """One step of search for B images with K beams each."""

    def __init__(self, decoder: Any, features: torch.Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.memory = decoder.memory(features)  # for its weights, gathered as the steps use them
        self.state = type(decoder.start(self.memory))

    def forward(self, words: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Read words [B, K], with the state's and the memory's tensors after them.

        Returns:
            log_probs [B, K, V]; what is `seen`, where the decoder has it; and the new state.
        """
        count = len(self.state._fields)
        state, memory = self.state(*given[:count]), with_tensors(self.memory, given[count:])
        step = self.decoder.step(words, state, memory)
        looked = (each for each in seen(step).values() if each is not None)
        return step.log_probs, *looked, *step.state


def tensors_of(memory: Any) -> dict[str, torch.Tensor]:
    """The tensors of a decoder's memory, by the names of its fields (and places in a tuple)."""
    found: dict[str, torch.Tensor] = {}
    for name, part in zip(memory._fields, memory, strict=True):
        if isinstance(part, torch.Tensor):
            found[name] = part
        elif isinstance(part, tuple):
            found |= {f"{name}_{i}": each for i, each in enumerate(part)}
    return found


def with_tensors(memory: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """The memory with other tensors in the places that `tensors_of` names."""
    left = iter(tensors)
    parts: list[Any] = []
    for part in memory:
        if isinstance(part, torch.Tensor):
            parts.append(next(left))
        elif isinstance(part, tuple):
            parts.append(tuple(next(left) for _ in part))
        else:
            parts.append(part)
    return type(memory)(*parts)


@torch.no_grad()
def build_graphs(captioner: Captioner) -> dict[str, Graph]:
    """The networks of a captioner (on the CPU, in float32) by the names of their files.

    Raises:
        ConfigError: The captioner is on another device or in another precision.
    """
    if captioner.device.type != "cpu" or captioner.dtype != torch.float32:
        raise ConfigError("only a model on the CPU in fp32 is exported; load it so")
    B, K, side = 2, 3, captioner.preprocessing.size  # axes of 1 would be taken for fixed
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (B, side, side, 3), dtype=torch.uint8, generator=generator)
    encoder = EncoderGraph(captioner.encoder, captioner.preprocessing)
    annotations = encoder(pixels)
    initial = InitialGraph(captioner.decoder)
    step = StepGraph(captioner.decoder, annotations)
    remembered = tensors_of(step.memory)
    fields = step.state._fields
    every = initial(annotations)
    memory, state = every[: len(remembered)], every[len(remembered) :]
    words = torch.randint(4, len(captioner.vocabulary), (B, K), generator=generator)
    beams = [part.repeat(1, K, *(1 for _ in part.shape[2:])) for part in state]
    looked = captioner.decoder.step(words, step.state(*beams), step.memory)
    told = [name for name, found in seen(looked).items() if found is not None]
    return {
        "encoder": Graph(encoder, (pixels,), {"pixels": "B"}, ("features",)),
        "initial": Graph(
            initial,
            (annotations.contiguous(),),
            {"features": "B"},
            (*(f"memory_{name}" for name in remembered), *fields),
        ),
        "step": Graph(
            step,
            (words, *beams, *memory),
            {"words": "BK"} | dict.fromkeys(fields, "BK") | dict.fromkeys(remembered, "B"),
            ("log_probs", *told, *(f"new_{name}" for name in fields)),
        ),
    }


def write_graph(graph: Graph, path: Path) -> None:
    """Trace a network and write it as one file.

    Raises:
        ConfigError: PyTorch cannot trace it (a backbone that depends on its input's values, say),
            or the installed onnxscript is too old for it.
        OSError: The file cannot be written.
    """
    axes = {"B": Dim("batch"), "K": Dim("beams")}
    free: tuple[Any, ...] = tuple(
        {i: axes[name] for i, name in enumerate(each)} for each in graph.inputs.values()
    )
    kinds = [each.kind for each in inspect.signature(graph.module.forward).parameters.values()]
    if (
        inspect.Parameter.VAR_POSITIONAL in kinds
    ):  # what *args takes is one argument to torch.export
        free = (*free[: len(kinds) - 1], free[len(kinds) - 1 :])
    with _without_chatter(), torch.no_grad():
        try:
            program = torch.onnx.export(
                graph.module,
                graph.example,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=free,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except ImportError as error:
            raise ConfigError(
                f"PyTorch {torch.__version__} and the installed onnxscript do not go together "
                f"({error}); run: pip install --upgrade onnxscript"
            ) from error
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            lines = str(error.__cause__ or error).strip().splitlines()
            reason = lines[0] if lines else type(error).__name__
            raise ConfigError(f"PyTorch cannot write it as ONNX ({reason[:160]})") from error
        assert program is not None
        _forget_where_it_was_made(program.model)
        program.save(path, external_data=False)


def _forget_where_it_was_made(model: Any) -> None:
    """Take out the exporter's notes: paths of this machine, which mean nothing elsewhere."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.metadata_props.clear()


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep the exporter's warnings and notes from the user, who can do nothing about them."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
