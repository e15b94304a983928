"""scripts/soak.py: a short soak, and a wrong answer that is noticed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.loading import load_script


@pytest.mark.slow
def test_a_short_soak(model: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    soak = load_script("soak")
    command = [str(photos[0].parent), "--model", str(model), "--requests", "150", "--seed", "3"]
    assert soak.main(command) == 0
    said = capsys.readouterr().out
    assert "wrong answers: 0" in said
    assert re.search(r"photograph: median [\d.]+ s, 95 % within", said)
    assert "the server wrote" not in said


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (200, '{"captions": [{"caption": "A dog."}]}', None),
        (200, '{"captions": [{"caption": "A cat."}]}', "['A cat.'], not ['A dog.']"),
        (503, '{"error": "too many"}', '503 {"error": "too many"}, not (200,)'),
    ],
)
def test_a_wrong_answer_is_noticed(status: int, body: str, problem: str | None) -> None:
    soak = load_script("soak")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        writer.close()

    async def run() -> Any:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = await soak.ask(soak.Request("photograph", b"POST", (200,), ["A dog."]), port, [])
        server.close()
        return found

    assert asyncio.run(run()) == problem
