"""scripts/benchmark/page_times.py, and the bars on what a person waits for on the page."""

from __future__ import annotations

import io
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
    """The shortest of three rounds: a clock also measures whatever else the machine does."""
    photo = script.large_photo()
    assert 4e6 <= len(photo) < 6e6
    assert max(Image.open(io.BytesIO(photo)).size) == 4000
    with script.server() as address:
        drop, caption, rejected = script.measure(chromium, address, rounds=3)
    for each in (drop, caption, rejected):
        assert min(each.seconds) < each.bar, each
    assert min(caption.seconds + rejected.seconds) > 2, "the line is slow"
    assert max(rejected.received) < 10_000
