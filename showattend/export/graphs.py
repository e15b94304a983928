"""The captioner's three networks in ONNX: encoder, initial state, decoder step.

They are traced from the captioner's own code by ``torch.export``: the normalisation of pixels, the
backbone, and the decoder's `memory`, `start` and `step`.

Shape suffixes: B images, K beams, H and W the grid, L its cells, D feature, V vocabulary, S side of
the input in pixels.
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
from showattend.decoding.hypotheses import seen
from showattend.exceptions import ConfigError
from showattend.images.preprocessing import Preprocessing
from showattend.model.encoder import Encoder

OPSET = 18
"""Supported by every onnxruntime for current Python versions, and well supported by PyTorch."""


class Graph(NamedTuple):
    """A network with an example for tracing, and the names of its inputs and outputs.

    ``inputs`` maps the names of the inputs to their dynamic leading axes: "" none, "B" the first,
    "BK" the first two. T, in "BK-T", is an axis that grows by one word per step.
    """

    module: nn.Module
    example: tuple[torch.Tensor, ...]
    inputs: dict[str, str]
    outputs: tuple[str, ...]

    @property
    def growing(self) -> dict[str, int]:
        """The axis along which each growing input becomes longer in every step, by name."""
        return {name: axes.index("T") for name, axes in self.inputs.items() if "T" in axes}


class EncoderGraph(nn.Module):
    """Pixels [B, S, S, 3] uint8 to annotations [B, H, W, D] float32."""

    def __init__(self, encoder: Encoder, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.encoder, self.preprocessing = encoder, preprocessing

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise and encode pixels [B, S, S, 3] to annotations [B, H, W, D]."""
        return self.encoder(self.preprocessing.normalize(pixels.permute(0, 3, 1, 2)))


class InitialGraph(nn.Module):
    """Annotations [B, H, W, D] to the tensors of the memory and the initial state."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute memory and state from annotations [B, H, W, D], once per image."""
        memory = self.decoder.memory(features)
        return *tensors_of(memory).values(), *tensors_of(self.decoder.start(memory)).values()


class StepGraph(nn.Module):
    """One step of search for B images with K beams each."""

    def __init__(self, decoder: Any, features: torch.Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.memory = decoder.memory(features)  # for the weights prepared for the steps
        self.state = decoder.start(self.memory)

    def forward(self, words: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Read words [B, K]; the tensors of the state and of the memory follow as arguments.

        Returns:
            log_probs [B, K, V]; the outputs listed in `seen` that the decoder has; the new state.
        """
        count = len(tensors_of(self.state))
        state = with_tensors(self.state, given[:count])
        memory = with_tensors(self.memory, given[count:])
        step = self.decoder.step(words, state, memory)
        looked = [each for each in seen(step).values() if each is not None]
        # Older exporters lose the name of a tensor that is given out twice, as attention is.
        state = (each.clone() for each in tensors_of(step.state).values())
        return step.log_probs, *looked, *state


def tensors_of(memory: Any) -> dict[str, torch.Tensor]:
    """Return the tensors [B, ...] of a memory or state by field, with an index within tuples."""
    found: dict[str, torch.Tensor] = {}
    for name, part in zip(memory._fields, memory, strict=True):
        if isinstance(part, torch.Tensor):
            found[name] = part
        elif isinstance(part, tuple):
            found |= {f"{name}_{i}": each for i, each in enumerate(part)}
    return found


def with_tensors(memory: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """Replace the tensors [B, ...] of a memory or state, in the order of `tensors_of`."""
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


def _free(before: torch.Tensor, after: torch.Tensor) -> str:
    """Find the free axes of a state's tensor from its shapes before and after a step."""
    grows = [before.shape[i] != after.shape[i] for i in range(2, before.ndim)]
    return "BK" + "".join("T" if each else "-" for each in grows).rstrip("-")


@torch.no_grad()
def build_graphs(captioner: Captioner) -> dict[str, Graph]:
    """Build the networks of a captioner on the CPU in float32, by file name without suffix.

    Raises:
        ConfigError: The captioner is on another device or in another precision.
    """
    if captioner.device.type != "cpu" or captioner.dtype != torch.float32:
        raise ConfigError("only a model on the CPU in fp32 can be exported; load it with these")
    B, K, side = 2, 3, captioner.preprocessing.size  # torch.export treats axes of size 1 as fixed
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (B, side, side, 3), dtype=torch.uint8, generator=generator)
    encoder = EncoderGraph(captioner.encoder, captioner.preprocessing)
    annotations = encoder(pixels)
    initial = InitialGraph(captioner.decoder)
    step = StepGraph(captioner.decoder, annotations)
    remembered = tensors_of(step.memory)
    fields = tuple(tensors_of(step.state))
    every = initial(annotations)
    memory, state = every[: len(remembered)], every[len(remembered) :]
    words = torch.randint(4, len(captioner.vocabulary), (B, K), generator=generator)
    beams = [part.repeat(1, K, *(1 for _ in part.shape[2:])) for part in state]
    looked = captioner.decoder.step(words, with_tensors(step.state, beams), step.memory)
    after = tensors_of(looked.state)
    axes = {name: _free(one, after[name]) for name, one in zip(fields, beams, strict=True)}
    if any("T" in each for each in axes.values()):
        for _ in range(2):  # trace after some words, since axes of size 0 and 1 would be fixed
            looked = captioner.decoder.step(words, looked.state, step.memory)
        beams = [*tensors_of(looked.state).values()]
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
            {"words": "BK"} | axes | dict.fromkeys(remembered, "B"),
            ("log_probs", *told, *(f"new_{name}" for name in fields)),
        ),
    }


def write_graph(graph: Graph, path: Path) -> None:
    """Trace a network and write it as one file.

    Raises:
        ConfigError: PyTorch cannot trace it (for example a backbone whose control flow depends on
            its input), or the installed onnxscript is too old.
        OSError: The file cannot be written.
    """
    axes = {"B": Dim("batch"), "K": Dim("beams"), "T": Dim("read")}
    free: tuple[Any, ...] = tuple(
        {i: axes[name] for i, name in enumerate(each) if name in axes}
        for each in graph.inputs.values()
    )
    kinds = [each.kind for each in inspect.signature(graph.module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:  # torch.export treats *args as one argument
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
                f"PyTorch {torch.__version__} and the installed onnxscript are incompatible "
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
    """Remove the exporter's metadata, which contains local paths."""
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
    """Suppress the exporter's warnings, which users can do nothing about."""
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
