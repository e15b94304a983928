"""scripts/benchmark/page_times.py, and the bars on what a person waits for on the page."""

from __future__ import annotations

import io
import os
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is absent")

from .loading import load_from


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_from("benchmark", "page_times")


@pytest.mark.slow
def test_the_waits_are_shorter_than_their_bars(script: ModuleType, chromium: Any) -> None:
    """The shortest of three rounds: a clock also measures whatever else the machine does.

    So the first bar, which is a matter of processor time, is wider where more runs than there are
    processors; the other two are mostly a matter of the line.
    """
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    photo = script.large_photo()
    assert 4e6 <= len(photo) < 6e6
    assert max(Image.open(io.BytesIO(photo)).size) == 4000
    with script.server() as address:
        drop, caption, rejected = script.measure(chromium, address, rounds=3)
    assert min(drop.seconds) < busy * drop.bar, drop
    assert min(caption.seconds) < caption.bar, caption
    assert min(rejected.seconds) < rejected.bar, rejected
    assert min(caption.seconds + rejected.seconds) > 2, "the line is slow"
    assert max(rejected.received) < 10_000
