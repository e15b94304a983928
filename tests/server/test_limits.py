"""The gate and the guard by themselves: lines, time limits, slow and large uploads."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is absent")
from starlette.exceptions import HTTPException

from showattend.exceptions import ConfigError
from showattend.server.limits import Gate, Guard, Limits, read_origin


@pytest.mark.parametrize(
    "values",
    [
        {"megabytes": 0},
        {"megapixels": -1},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"megabytes": float("inf")},
        {"waiting": -1},
        {"waiting": 2.5},
    ],
)
def test_limits_that_refuse_everything_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must"):
        Limits(**values)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


def test_one_works_a_few_wait_and_the_rest_are_sent_away() -> None:
    gate, go, working = Gate(Limits(waiting=2)), threading.Event(), []

    def work() -> int:
        working.append(1)
        go.wait(10)
        working.pop()
        return len(working)  # others at work at the same time

    async def scenario() -> None:
        tasks = [asyncio.create_task(gate.run(work)) for _ in range(3)]
        await until(lambda: working == [1])
        with pytest.raises(HTTPException) as refused:
            await gate.run(work)
        assert refused.value.status_code == 503
        assert refused.value.headers == {"Retry-After": "5"}
        go.set()
        assert await asyncio.gather(*tasks) == [0, 0, 0]
        assert await gate.run(lambda: 5) == 5  # there is room again

    asyncio.run(scenario())
    gate.close()


def test_what_takes_too_long_is_given_up_but_keeps_its_place() -> None:
    gate, go = Gate(Limits(seconds=0.1, waiting=0)), threading.Event()

    async def scenario() -> None:
        with pytest.raises(HTTPException) as late:
            await gate.run(lambda: go.wait(10))
        assert late.value.status_code == 504
        assert "0.1 seconds" in late.value.detail
        with pytest.raises(HTTPException) as full:  # the thread is still at it
            await gate.run(lambda: 1)
        assert full.value.status_code == 503
        go.set()
        await until(lambda: gate._inside == 0)
        assert await gate.run(lambda: 1) == 1

    asyncio.run(scenario())
    gate.close()


def test_what_nobody_waits_for_leaves_the_line_before_it_is_begun() -> None:
    gate, go, begun = Gate(Limits(waiting=2)), threading.Event(), []
    here = {"first": False, "second": True, "third": True}

    def work(name: str) -> str:
        begun.append(name)
        go.wait(10)
        return name

    async def run(name: str) -> str:
        async def gone() -> bool:
            return not here[name]

        return await gate.run(lambda: work(name), gone)

    async def scenario() -> None:
        first = asyncio.create_task(run("first"))  # has begun, and is done to the end
        await until(lambda: begun == ["first"])
        others = [asyncio.create_task(run(name)) for name in ("second", "third")]
        await until(lambda: gate._inside == 3)
        here["second"] = False
        with pytest.raises(HTTPException, match="disconnected"):
            await others[0]
        assert gate._inside == 2
        go.set()
        assert await asyncio.gather(first, others[1]) == ["first", "third"]

    asyncio.run(scenario())
    gate.close()
    assert begun == ["first", "third"]


def test_what_waits_too_long_in_line_is_not_begun() -> None:
    gate, go, begun = Gate(Limits(seconds=0.3)), threading.Event(), []

    async def gone() -> bool:
        return False

    async def scenario() -> None:
        first = asyncio.create_task(gate.run(lambda: go.wait(10), gone))
        await until(lambda: gate._inside == 1)
        with pytest.raises(HTTPException) as late:
            await gate.run(lambda: begun.append(1), gone)
        assert late.value.status_code == 504
        with pytest.raises(HTTPException):
            await first
        await until(lambda: gate._inside == 1)
        go.set()
        await until(lambda: gate._inside == 0)
        assert await gate.run(lambda: 1, gone) == 1

    asyncio.run(scenario())
    gate.close()
    assert begun == []


def test_an_error_comes_through_and_leaves_the_line() -> None:
    gate = Gate(Limits(waiting=0))

    def broken() -> None:
        raise ValueError("mine")

    async def scenario() -> None:
        for _ in range(3):
            with pytest.raises(ValueError, match="mine"):
                await gate.run(broken)
            await until(lambda: gate._inside == 0)

    asyncio.run(scenario())
    gate.close()


# The guard -------------------------------------------------------------------------------------


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads all of a request, as one that parses a form does."""
    try:
        while (await receive()).get("more_body"):
            pass
    except HTTPException as error:
        await send({"type": "http.response.start", "status": error.status_code, "headers": []})
        await send({"type": "http.response.body", "body": str(error.detail).encode()})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"read"})


def ask(
    limits: Limits,
    parts: list[bytes | float],
    length: int | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    hosts: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Send a body in parts, with pauses where a number stands; the answer's status and text."""
    sent: list[dict[str, Any]] = []
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if left and isinstance(left[0], float):
            await asyncio.sleep(float(left.pop(0)))
        part = left.pop(0) if left else b""
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    said = list(headers) if hosts else [(b"host", b"localhost"), *headers]
    if length is not None:
        said.append((b"content-length", str(length).encode()))
    scope = {"type": "http", "headers": said}
    asyncio.run(Guard(reading, limits, hosts)(scope, receive, send))
    text = sent[1]["body"].decode()
    return sent[0]["status"], json.loads(text)["error"] if text.startswith("{") else text


def test_a_body_within_the_limits_passes() -> None:
    assert ask(Limits(megabytes=1), [b"x" * 500_000, b"x" * 500_000]) == (200, "read")


def test_a_body_that_grows_too_large_is_refused() -> None:
    parts: list[bytes | float] = [b"x" * 100_000] * 20
    assert ask(Limits(megabytes=1), parts) == (413, "the file is larger than 1 MB")


def test_a_body_that_announces_its_size_is_refused_unread_by_the_application() -> None:
    parts: list[bytes | float] = [b"x" * 100_000] * 20
    assert ask(Limits(megabytes=1), parts, 2_000_000) == (413, "the file is larger than 1 MB")


def test_a_slow_body_is_refused() -> None:
    began = time.monotonic()
    status, text = ask(Limits(seconds=0.2), [b"x", 30.0, b"x"])
    assert (status, text) == (408, "the upload took longer than 0.2 seconds")
    assert ask(Limits(seconds=0.2, megabytes=1), [b"x", 30.0, b"x"], 10**9)[0] == 413
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"abc",
        b"-1",
        b"+1",
        b"1.5",
        b"1e3",
        b"0x10",
        b"1_000",
        b" ",
        b"\xb2",
        b"1" * 5000,
        b"1,1",
    ],
)
def test_a_length_that_is_no_number_is_a_bad_request(value: bytes) -> None:
    found = ask(Limits(), [b"x"], headers=[(b"content-length", value)])
    assert found == (400, "the header Content-Length must be one number of bytes")


def test_lengths_that_differ_are_a_bad_request() -> None:
    one, other = (b"content-length", b"1"), (b"content-length", b"2")
    assert ask(Limits(), [b"x"], headers=[one, other])[0] == 400
    assert ask(Limits(), [b"x"], headers=[one, one]) == (200, "read")


@pytest.mark.parametrize(
    "value", [b"http://[::1", b"http://[x]", b"", b"null", b"//", b"\xff\xfe", b"http://evil/\x00"]
)
def test_an_origin_that_is_none_is_another_one(value: bytes) -> None:
    found = ask(Limits(), [b"x"], headers=[(b"origin", value)])
    assert found[0] == 403
    assert found[1].startswith("pages of other sites may not use this server; behind a proxy")


@pytest.mark.parametrize("value", [None, b"", b"[::1", b"http://[", b"\xff", b"localhost:port:1"])
def test_a_host_that_is_none_is_another_one(value: bytes | None) -> None:
    headers = [] if value is None else [(b"host", value)]
    found = ask(Limits(), [b"x"], headers=headers, hosts=("127.0.0.1",))
    assert found[0] == 403
    assert found[1].startswith("this server answers to 127.0.0.1 only; behind a proxy")


@pytest.mark.parametrize("text", ["https://Photos.example/", " http://[::1]:8000", "http://a-b:80"])
def test_an_origin_is_read(text: str) -> None:
    assert read_origin(text) == text.strip().rstrip("/").lower()


@pytest.mark.parametrize(
    "text", ["", "*", "null", "photos.example", "https://", "https://a/b", "ftp://a", "https://a b"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--allowed-origin .*such as https://photos\.example"):
        read_origin(text)


def test_what_is_no_request_passes() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(Guard(app, Limits(), ("localhost",))({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]


# Many uploads ----------------------------------------------------------------------------------


class Crowd:
    """Uploads that reach one guard at the same time."""

    def __init__(self, limits: Limits) -> None:
        self.go, self.inside = asyncio.Event(), 0
        self.guard = Guard(self.app, limits)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Reads the body, and keeps it until it may go on."""

        async def waiting() -> Any:
            message = await receive()
            if not message.get("more_body"):
                self.inside += 1
                await self.go.wait()
            return message

        await reading(scope, waiting, send)

    async def upload(self, *parts: bytes | float) -> tuple[int, str]:
        """Send parts, with pauses where numbers stand; the answer's status and text."""
        left, sent = list(parts), []

        async def receive() -> dict[str, Any]:
            if left and isinstance(left[0], float):
                await asyncio.sleep(float(left.pop(0)))
            part = left.pop(0) if left else b""
            return {"type": "http.request", "body": part, "more_body": bool(left)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "headers": [(b"host", b"localhost")]}
        await self.guard(scope, receive, send)
        return sent[0]["status"], sent[1]["body"].decode()


def test_the_oldest_of_too_many_uploads_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showattend.server.limits.UPLOADS", 2)

    async def scenario() -> None:
        crowd = Crowd(Limits())
        crowd.go.set()
        slow = [asyncio.create_task(crowd.upload(b"x", 30.0, b"x")) for _ in range(2)]
        await asyncio.sleep(0)
        for _ in range(3):  # a whole one at a time, and the second of the slow ones stays
            assert await crowd.upload(b"x", b"x") == (200, "read")
        assert await slow[0] == (503, "too many uploads at once; try again in a moment")
        assert not slow[1].done()
        slow[1].cancel()

    asyncio.run(scenario())


def test_an_upload_that_trickles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showattend.server.limits.PATIENCE", 0.2)

    async def scenario() -> None:
        crowd = Crowd(Limits())
        crowd.go.set()
        slow, fast = await asyncio.gather(
            crowd.upload(*(b"x", 0.05) * 100, b""), crowd.upload(*(b"x" * 2000, 0.05) * 10, b"")
        )
        assert slow == (408, "the upload is slower than 10 kB per second; try again")
        assert fast == (200, "read")

    asyncio.run(scenario())


def test_all_uploads_together_have_a_limit() -> None:
    limits = Limits(megabytes=0.1, waiting=1)

    async def scenario() -> None:
        crowd = Crowd(limits)
        parts = [b"x" * 50_000] * 3
        kept = [asyncio.create_task(crowd.upload(*parts)) for _ in range(4)]
        await until(lambda: crowd.inside == 4)
        assert limits.held == 4 * 150_000
        refused = (503, "too many uploads at once; try again in a moment")
        assert await crowd.upload(*parts) == refused
        crowd.go.set()
        assert await asyncio.gather(*kept) == [(200, "read")] * 4
        assert await crowd.upload(*parts) == (200, "read")  # there is room again
        assert crowd.guard._uploads.bytes == 0
        assert not crowd.guard._uploads.unfinished

    asyncio.run(scenario())
