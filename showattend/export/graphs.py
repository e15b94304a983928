"""The captioner's three networks in ONNX: encoder, initial state, decoder step.

They are the captioner's own code, traced by ``torch.export``: the normalisation of pixels, the
backbone, `LSTMDecoder.memory`, `initial_state` and `advance`.

Shape suffixes: B images, K beams, H and W the grid, L its cells, D feature, A attention, M hidden,
V vocabulary, S the input's side in pixels.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import Dim

from showattend.captioner import Captioner
from showattend.decoders.lstm import LSTMDecoder
from showattend.decoders.state import State
from showattend.encoders import Encoder
from showattend.errors import ConfigError
from showattend.images import Preprocessing

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
    """Annotations [B, H, W, D] to what the steps need: features, keys, h, c, z."""

    def __init__(self, decoder: LSTMDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Project once an image: [B, L, D'], [B, L, A], [B, 1, M], [B, 1, M], [B, 1, D']."""
        memory = self.decoder.memory(features)
        return memory.features, memory.keys, *self.decoder.initial_state(memory)


class StepGraph(nn.Module):
    """One step of search for B images with K beams each."""

    def __init__(self, decoder: LSTMDecoder, features: torch.Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self.memory = decoder.memory(features)  # for its weights, gathered as the steps use them

    def forward(
        self,
        words: torch.Tensor,
        h: torch.Tensor,
        c: torch.Tensor,
        z: torch.Tensor,
        features: torch.Tensor,
        keys: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Read words [B, K]: log_probs [B, K, V], alpha [B, K, L], beta [B, K] and new h, c, z.

        There is no beta if the decoder has no gate.
        """
        memory = self.memory._replace(features=features, keys=keys)
        log_probs, alpha, beta, state = self.decoder.advance(words, State(h, c, z), memory)
        gate = () if beta is None else (beta,)
        return log_probs, alpha, *gate, *state


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
    features, keys, *state = initial(annotations)
    step = StepGraph(captioner.decoder, annotations)
    words = torch.randint(4, len(captioner.vocabulary), (B, K), generator=generator)
    beams = [part.repeat(1, K, 1) for part in state]
    gate = () if captioner.decoder.gate == "none" else ("beta",)
    return {
        "encoder": Graph(encoder, (pixels,), {"pixels": "B"}, ("features",)),
        "initial": Graph(
            initial,
            (annotations.contiguous(),),
            {"features": "B"},
            ("memory_features", "memory_keys", "h", "c", "z"),
        ),
        "step": Graph(
            step,
            (words, *beams, features, keys),
            {"words": "BK", "h": "BK", "c": "BK", "z": "BK", "features": "B", "keys": "B"},
            ("log_probs", "alpha", *gate, "new_h", "new_c", "new_z"),
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
    free = tuple({i: axes[name] for i, name in enumerate(each)} for each in graph.inputs.values())
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
