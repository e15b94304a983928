"""What the tests of downloads share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data.server import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server on this machine, bypassing any proxy in the environment."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        yield running
