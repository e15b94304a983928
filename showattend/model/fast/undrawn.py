"""Modules without initial weights, whose weights are loaded next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Undrawn(TorchFunctionMode):
    """Skip `torch.nn.init`.

    On the device "meta" there is nothing to fill, but PyTorch imports its compiler to find that out
    for random numbers, which takes seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return the tensor of a function of `torch.nn.init`; call all others."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def undrawn() -> Iterator[None]:
    """Build modules on the device "meta", without using random numbers.

    PyTorch 2.8 imports its compiler even so; there, weights are drawn without effect on later ones.
    Their weights are then assigned: ``load_state_dict(weights, assign=True)``.
    """
    if torch.__version__ < (2, 9):  # type: ignore[operator]
        with torch.random.fork_rng(devices=[]):
            yield
        return
    with torch.device("meta"), _Undrawn():
        yield
