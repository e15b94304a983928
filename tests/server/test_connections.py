"""Connections that never ask, never end, never read: nobody else has to wait for them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra serve is absent")
import uvicorn

from showattend.server import connections
from showattend.server.connections import Connection
from showattend.server.limits import Guard, Limits
from tests.server.test_limits import until

MOST, WAIT = 6, 0.4
REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nx"
LARGE = 40_000_000
Client = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body; a large answer for /large."""
    while (await receive()).get("more_body"):
        pass
    body = b"x" * (LARGE if scope["path"] == "/large" else 2)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(connections, "MOST", MOST)
    monkeypatch.setattr(connections, "WAIT", WAIT)
    monkeypatch.setattr(connections, "LAST", 0.2)


def serve(scenario: Callable[[uvicorn.Server, Client], Awaitable[None]]) -> None:
    """Run a scenario with a server and a way to connect to it."""

    async def run() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        app = Guard(answering, Limits())
        config = uvicorn.Config(app, http=Connection, ws="none", log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listening]))  # without its signal handlers
        await until(lambda: server.started)
        writers = []

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*address, limit=1000)
            writers.append(writer)
            return reader, writer

        await scenario(server, connect)
        server.should_exit = True
        began = time.monotonic()
        await running
        assert time.monotonic() - began < 5
        for writer in writers:
            writer.close()

    asyncio.run(run())


async def status(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """An answer's status and what it says."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().lower()
    length = int(head.partition("content-length: ")[2].split()[0])
    body = await reader.readexactly(length)
    refused = not head.startswith("http/1.1 200")
    assert not refused or "content-type: application/json" in head
    return int(head.split()[1]), json.loads(body)["error"] if refused else body


async def ask(connect: Client, request: bytes = REQUEST) -> tuple[int, Any]:
    reader, writer = await connect()
    writer.write(request)
    return await status(reader)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nx: y\r\n", REQUEST])
def test_many_open_connections_shut_nobody_out(said: bytes) -> None:
    """They never speak, never end their heads, or stay after the answer."""

    async def scenario(server: uvicorn.Server, connect: Client) -> None:
        for _ in range(4 * MOST):
            _, writer = await connect()
            writer.write(said)
            await asyncio.sleep(0)
        for _ in range(3):
            assert await ask(connect) == (200, b"xx")
        assert len(server.server_state.connections) <= MOST

    serve(scenario)


def test_a_head_that_does_not_end_is_refused() -> None:
    async def scenario(server: uvicorn.Server, connect: Client) -> None:
        reader, writer = await connect()
        silent, _ = await connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        for _ in range(5):  # a line now and then gains no time
            await asyncio.sleep(WAIT / 5)
            writer.write(b"x: y\r\n")
        assert await status(reader) == (408, f"the request's head took longer than {WAIT} seconds")
        assert await silent.read() == b""
        assert time.monotonic() - began < 10 * WAIT
        await until(lambda: not server.server_state.connections)

    serve(scenario)


@pytest.mark.parametrize("said", [b"hello\r\n\r\n", b"\x16\x03\x01\0\0\r\n\r\n", b"x" * 100_000])
def test_what_is_no_http_is_refused_in_json(said: bytes) -> None:
    async def scenario(_: uvicorn.Server, connect: Client) -> None:
        assert await ask(connect, said) == (400, "Invalid HTTP request received.")
        assert await ask(connect) == (200, b"xx")

    serve(scenario)


def test_an_answer_is_not_lost_with_what_is_sent_after_it() -> None:
    """Closed with unread data, the connection would be reset, and the answer with it."""

    async def scenario(server: uvicorn.Server, connect: Client) -> None:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000)
        await asyncio.sleep(0.05)  # the answer has been sent
        for _ in range(3):
            writer.write(b"y" * 200_000)
            await asyncio.sleep(0.02)
        assert (await status(reader))[0] == 400
        assert await reader.read() == b""
        await until(lambda: not server.server_state.connections)  # not kept for ever

    serve(scenario)


def test_who_does_not_read_is_given_up() -> None:
    async def scenario(server: uvicorn.Server, connect: Client) -> None:
        _, writer = await connect()
        writer.write(REQUEST.replace(b"/ ", b"/large "))
        slow, asking = await connect()  # reads on, slowly
        asking.write(REQUEST.replace(b"/ ", b"/large "))
        await slow.readuntil(b"\r\n\r\n")
        read = 0
        while part := await slow.read(1_000_000):
            read += len(part)
            if read < LARGE / 2:
                await asyncio.sleep(WAIT / 100)
        assert read == LARGE
        await until(lambda: not server.server_state.connections)

    serve(scenario)


def test_a_server_that_stops_waits_for_nobody() -> None:
    """An upload that has not arrived is refused; who does not read is left."""

    async def scenario(server: uvicorn.Server, connect: Client) -> None:
        reader, writer = await connect()
        writer.write(UPLOAD)
        _, unread = await connect()
        unread.write(REQUEST.replace(b"/ ", b"/large "))
        await until(lambda: len(server.server_state.connections) == 2)
        await asyncio.sleep(0.1)
        server.should_exit = True
        assert await status(reader) == (503, "too busy; try again in a moment")

    serve(scenario)
