"""A backbone as a sequence of stages: measuring, fine-tuning and splitting it.

Shape suffixes: B images, H and W rows and columns of the grid, D feature dimension.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
from contextvars import ContextVar
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional as F

from showattend.exceptions import ConfigError
from showattend.model.backbones import parse_name
from showattend.model.vision_transformers import TokenPart

_SEEN: ContextVar[list[torch.Tensor] | None] = ContextVar("_SEEN", default=None)
"""Holds the output of an additional earlier stage, in networks that are more than a chain."""


class Staged(nn.Module):
    """The base of `Encoder`: everything except running the backbone.

    Args:
        body: Maps [B, 3, size, size] to [B, D, H, W].
        stages: The body's parts in the order of the data flow, for `finetune_from` and `before`.
        name: The backbone's name, as passed to `build_encoder`.
        beside: An earlier stage whose output, on its finer grid, is concatenated with the last
            one's, which is interpolated to that grid (hypercolumns: Hariharan et al. 2015).

    Attributes:
        delivered: The `fingerprint` of the recipe's weights, if the encoder was built with them;
            otherwise None. A model is saved without encoder weights only while the two are equal.

    Raises:
        ConfigError: There is no such stage.
    """

    def __init__(
        self, body: nn.Module, stages: dict[str, nn.Module], name: str, beside: str | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.backbone = name
        self.beside = beside
        self.delivered: str | None = None
        self.name = name if beside is None else f"{name} beside {beside}"
        inside = set(body.modules())  # a classifier outside the body is never trained
        self._parts = [
            (key, part)
            for key, part in stages.items()
            if part in inside or isinstance(part, TokenPart)
        ]
        self._stages = [
            (key, part) for key, part in self._parts if any(True for _ in part.parameters())
        ]
        self._measured: dict[int, tuple[int, int, int]] = {}
        self._finer = None if beside is None else self._index(beside, "beside")
        self._is_chain: bool | None = None  # known once it has run
        if self._finer is not None:
            self._parts[self._finer][1].register_forward_hook(_note)
        self.requires_grad_(False)
        self.train(False)

    def measure(self, size: int) -> tuple[int, int, int]:
        """Run the backbone once on a blank image: (H, W, D) for that input size.

        Raises:
            ConfigError: The backbone does not accept this size, or the additional stage is
                unsuitable.
        """
        if size not in self._measured:
            parameter = next(self.parameters())
            try:
                if self._finer is not None:
                    self._check_beside(self._finer, size)
                blank = parameter.new_zeros(1, 3, size, size)
                with torch.inference_mode():
                    _, height, width, dim = self(blank).shape
            except (RuntimeError, AssertionError, ValueError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ConfigError(
                    f"encoder {self.name} does not take images of {size} pixels ({reason}); "
                    "choose another size"
                ) from error
            self._measured[size] = (height, width, dim)
        return self._measured[size]

    def grid(self, size: int) -> tuple[int, int]:
        """Rows and columns of the feature map for images of size x size pixels."""
        return self.measure(size)[:2]

    @property
    def dim(self) -> int:
        """D, the length of an annotation vector."""
        measured = next(iter(self._measured.values()), None)
        return (measured or self.measure(parse_name(self.backbone).size))[2]

    def stride(self, size: int) -> float:
        """Pixels of the network's input per grid cell."""
        return size / self.measure(size)[0]

    @property
    def stages(self) -> list[str]:
        """The names that `finetune_from` accepts, from the input to the output."""
        return [name for name, _ in self._stages]

    def finetune_from(self, stage: str | None) -> list[nn.Parameter]:
        """Unfreeze this stage and all after it; None freezes everything.

        Returns:
            The unfrozen parameters.

        Raises:
            ConfigError: There is no such stage.
        """
        self.requires_grad_(False)
        if stage is None:
            return []
        opened: list[nn.Parameter] = []
        for module in self._from(stage):
            opened += list(module.requires_grad_(True).parameters())
        return opened

    def _from(self, stage: str) -> list[nn.Module]:
        """The modules of this stage and all after it.

        Raises:
            ConfigError: There is no such stage.
        """
        return [part for _, part in self._parts[self._index(stage, "finetune_from") :]]

    def _index(self, stage: str, option: str) -> int:
        """The index of the part that is this stage.

        Raises:
            ConfigError: There is no such stage.
        """
        if stage not in self.stages:
            near = difflib.get_close_matches(stage, self.stages, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"encoder {self.backbone} has no stage {stage!r}; {hint}{option} takes one of: "
                + ", ".join(self.stages)
            )
        return [key for key, _ in self._parts].index(stage)

    @torch.inference_mode()
    def _check_beside(self, index: int, size: int) -> None:
        """Refuse a stage whose grid is not finer, or whose output is not available.

        Raises:
            ConfigError: The stage is unsuitable; the message says why.
        """
        x = noise = self._noise(size)
        wanted, finer = self._body_and_stage(noise)
        try:
            for _, part in self._parts:
                x = part(x)
            self._is_chain = torch.allclose(_map_of(x), wanted, rtol=1e-4, atol=1e-4)
        except (RuntimeError, TypeError, ValueError):
            self._is_chain = False
        if isinstance(self._parts[index][1], TokenPart):
            reason = "all layers of a Vision Transformer have the same grid"
        elif finer is None:
            reason = "its output is not a square map"
        elif finer.shape[2] <= wanted.shape[2]:
            reason = f"its grid is {_by(finer)}, no finer than the last one's {_by(wanted)}"
        else:
            return
        raise ConfigError(
            f"encoder {self.backbone} cannot have {self._parts[index][0]} beside its last stage: "
            f"{reason}"
        )

    def _body_and_stage(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the body: its map [B, D, H, W], and that of the additional stage.

        The latter is None if the stage yields no square map, or runs more than once.
        """
        seen: list[torch.Tensor] = []
        token = _SEEN.set(seen)
        try:
            last = self.body(images)
        finally:
            _SEEN.reset(token)
        try:
            return last, _map_of(seen[0]) if len(seen) == 1 else None
        except ValueError:
            return last, None

    def _with_finer(self, images: torch.Tensor) -> torch.Tensor:
        """Annotations [B, H, W, D] of the last stage and of the additional one."""
        assert self._finer is not None
        if self._is_chain is None:
            self._check_beside(self._finer, images.shape[-1])
        if self._is_chain:
            return self._run(images, 0)
        last, finer = self._body_and_stage(images)
        if finer is None:
            raise ValueError("the stage beside the last one yields no square map")
        return _join(last, finer)

    def _noise(self, size: int) -> torch.Tensor:
        seeded = torch.Generator().manual_seed(0)
        drawn = torch.rand(1, 3, size, size, generator=seeded, dtype=torch.float32)
        return drawn.to(next(self.parameters()))

    def _run(self, x: torch.Tensor, start: int) -> torch.Tensor:
        """Run the parts from ``start`` on, to annotations [B, H, W, D]."""
        finer = x  # if the first of them follows the additional stage
        for number, (_, part) in enumerate(self._parts[start:], start):
            x = part(x)
            if number == self._finer:
                finer = x
        if self._finer is not None:
            return _join(_map_of(x), _map_of(finer))
        with contextlib.suppress(ValueError):  # of which the first form is the usual one
            x = _map_of(x)
        return x.permute(0, 2, 3, 1)

    def _cut(self, stage: str) -> int:
        """The end of `before`: no later than the additional stage, whose output is needed."""
        index = self._index(stage, "finetune_from")
        return index if self._finer is None else min(index, self._finer + 1)

    @torch.inference_mode()
    def before(self, stage: str, size: int) -> Self | None:
        """The parts before a stage, as an encoder of its own that shares the weights.

        Its output is all that fine-tuning from that stage needs to keep of an image: `forward_from`
        computes the rest. In an encoder with an additional earlier stage, it ends no later than
        that one.

        Args:
            stage: One of `stages`.
            size: The side of its images in pixels.

        Returns:
            The encoder, measured at this size; None if nothing precedes the stage, or if the
            backbone is more than a chain of its parts.

        Raises:
            ConfigError: There is no such stage.
        """
        parts = self._parts[: self._cut(stage)]
        if not parts:
            return None
        body = nn.Sequential(*(part for _, part in parts))
        front = type(self)(body, dict(parts), f"{self.name} before {stage}")
        noise = self._noise(size)
        try:
            front.measure(size)
            same = torch.allclose(
                self.forward_from(stage, front(noise)), self(noise), rtol=1e-4, atol=1e-4
            )
        except (RuntimeError, TypeError, ValueError, ConfigError):
            return None
        return front if same else None

    def forward_from(self, stage: str, activations: torch.Tensor) -> torch.Tensor:
        """Map the output [B, H', W', D'] of `before` this stage to annotations [B, H, W, D]."""
        return self._run(activations.permute(0, 3, 1, 2), self._cut(stage))

    def fingerprint(self) -> str:
        """A checksum of the weights themselves, whatever their source."""
        digest = hashlib.sha256(self.name.encode())
        for key, tensor in self.state_dict().items():
            digest.update(key.encode())
            data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(data.numpy().data)
        return digest.hexdigest()


def _note(_module: nn.Module, _inputs: Any, output: Any) -> None:
    """Keep a stage's output while `Staged._body_and_stage` runs, in its thread."""
    if (seen := _SEEN.get()) is not None:
        seen.append(output)


def _join(last: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
    """Two maps [B, D, H, W], the last one interpolated to the finer grid, as [B, H, W, D]."""
    last = F.interpolate(last, finer.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([last, finer], 1).permute(0, 2, 3, 1)


def _map_of(activations: Any) -> torch.Tensor:
    """Activations as [B, D, H, W], even if the backbone keeps channels last.

    Raises:
        ValueError: They are not a square map.
    """
    if not isinstance(activations, torch.Tensor):
        raise ValueError("no tensor")
    one, two, three = activations.shape[1:] if activations.ndim == 4 else (0, 0, 0)
    if two == three != one:
        return activations
    if one == two != three:
        return activations.permute(0, 3, 1, 2)
    raise ValueError("not a square map, or one of ambiguous layout")


def _by(activations: torch.Tensor) -> str:
    return "x".join(map(str, activations.shape[2:]))
