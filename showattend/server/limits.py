"""Limits on requests, and a guard in front of the application."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from showattend.exceptions import ConfigError
from showattend.system.checks import real_number, whole_number

T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FORM = 100_000
"""The most bytes of a request in addition to its photo."""
# Without a handler, Python prints what the form parser logs about malformed requests.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())

_DIGITS = re.compile("[0-9]{1,18}")
_ORIGIN = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_ADVICE = "; behind a proxy, start it with --allowed-origin and the address that browsers show"
UPLOADS = 64
"""The most uploads at a time; one more ends the one that has taken longest."""
PATIENCE, SLOWEST = 5.0, 10_000
"""An upload may pause for this many seconds; otherwise it must bring this many bytes per second."""
BUSY = {"Retry-After": "5"}
_LOOK = 0.1
"""Seconds between checks whether the client of a waiting request is still connected."""


@dataclass(frozen=True)
class Limits:
    """The limits on requests.

    Attributes:
        megabytes: The largest size of an uploaded file.
        megapixels: The most pixels of an image, in millions, according to its header. Images that
            take more memory to decode than 4 bytes for each of these pixels are refused too.
        seconds: The longest time for the upload, and again for waiting and computing.
        waiting: The most requests waiting behind the current one.

    Raises:
        ConfigError: A value is out of range.
    """

    megabytes: float = 20.0
    megapixels: float = 64.0
    seconds: float = 30.0
    waiting: int = 8

    def __post_init__(self) -> None:
        """Check the values."""
        for name, most in (("megabytes", 1e6), ("megapixels", 1e6), ("seconds", 1e6)):
            real_number(name, getattr(self, name), 0, most, above_least=True)
        whole_number("waiting", self.waiting, 0, 1_000_000)

    @property
    def bytes(self) -> int:
        """The largest size of an uploaded file in bytes."""
        return round(self.megabytes * 1e6)

    @property
    def decoded(self) -> int:
        """The most memory for decoding an image, in bytes."""
        return round(4e6 * self.megapixels)

    @property
    def held(self) -> int:
        """The most bytes of all requests together: those waiting and two more."""
        return (self.waiting + 2) * (self.bytes + FORM)

    @property
    def too_large(self) -> str:
        """The message for a file that is too large."""
        return f"the file is larger than {self.megabytes:g} MB"


class Gate:
    """Runs one computation at a time in a thread, with a short queue.

    Args:
        limits: The limits on waiting.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="caption")
        self._lock = threading.Lock()
        self._inside = 0

    async def run(
        self, work: Callable[[], T], gone: Callable[[], Awaitable[bool]] | None = None
    ) -> T:
        """Run ``work`` and return its result.

        A computation that takes too long is no longer waited for, but still occupies the thread
        until it ends. One that has not started is removed from the queue.

        Args:
            work: The computation.
            gone: Whether the client has disconnected; called repeatedly while the work waits.

        Raises:
            HTTPException: 503 if the queue is full, 504 if the work takes too long, 499 if the
                client has disconnected.
        """
        with self._lock:
            if self._inside > self.limits.waiting:
                raise HTTPException(503, "too many photos at once; try again in a moment", BUSY)
            self._inside += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._leave)
        result = asyncio.wrap_future(future)
        try:
            async with asyncio.timeout(self.limits.seconds):
                while gone and not (result.done() or future.running()):
                    await asyncio.wait({result}, timeout=_LOOK)
                    if not future.running() and await gone() and future.cancel():
                        raise HTTPException(499, "the client has disconnected")
                return await result
        except TimeoutError:
            seconds = f"{self.limits.seconds:g} seconds"
            raise HTTPException(504, f"captioning took longer than {seconds}; try again") from None
        finally:
            result.cancel()  # has an effect only if the work has not started

    def close(self) -> None:
        """Cancel waiting work and accept no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._inside -= 1


class Guard:
    """ASGI middleware that checks where requests come from and how large they are.

    A page of another site must not use the server through its visitor's browser. Requests are
    therefore answered only under the server's own host names (a foreign name may point to this
    machine), and only if they do not come from another origin.

    Args:
        app: The application.
        limits: The limits on requests.
        hosts: The host names that the server answers to; empty for any.
        origins: Other origins that the page may come from: a proxy's address; see ``read_origin``.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
    ) -> None:
        self.app, self.limits, self.origins = app, limits, origins
        self._uploads = _Uploads(limits.held)
        # A proxy passes on the name that it was asked for, or its own name for this server.
        self.hosts = hosts and (*hosts, *map(_name, origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or answer it with an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, self.limits, self._uploads)
        headers = Headers(scope=scope)
        refused = self._refused(headers, body.most)
        try:
            if refused is None:
                await self.app(scope, body.receive, _with_headers(send))
                return
            await body.drain()  # clients do not read the answer while they are still sending
        finally:
            body.leave()
        await _answer(_with_headers(send), *refused)

    def _refused(self, headers: Headers, most: int) -> tuple[int, str] | None:
        """Return status and reason if the headers are refused; they may be malformed."""
        host = headers.get("host", "")
        if self.hosts and _name(f"//{host}") not in self.hosts:
            return 403, f"this server answers to {', '.join(self.hosts)} only{_ADVICE}"
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and _netloc(origin) != host:
            return 403, f"pages of other sites may not use this server{_ADVICE}"
        lengths = set(headers.getlist("content-length"))
        if len(lengths) > 1 or not all(map(_DIGITS.fullmatch, lengths)):
            return 400, "the header Content-Length must be one number of bytes"
        if lengths and int(lengths.pop()) > most:
            return 413, self.limits.too_large
        return None


class _Uploads:
    """The bytes that all requests of a server hold together.

    Args:
        most: The most bytes.
    """

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self.unfinished: dict[_Body, None] = {}  # oldest first

    def enter(self, body: _Body) -> None:
        """Begin an upload; the oldest that is unfinished makes room for it."""
        if body not in self.unfinished:
            if len(self.unfinished) >= UPLOADS:
                next(iter(self.unfinished)).end()
            self.unfinished[body] = None


class _Body:
    """A request's body, with limits on its size and time."""

    def __init__(self, receive: Receive, limits: Limits, uploads: _Uploads) -> None:
        self._receive, self._limits, self._uploads = receive, limits, uploads
        self.most = limits.bytes + FORM
        self._got, self._held, self._whole, self._ended = 0, 0, False, False
        self._began = asyncio.get_running_loop().time()
        self._timer: asyncio.Timeout | None = None

    async def receive(self) -> Message:
        """Receive the next part.

        Raises:
            HTTPException: 413 if the body is too large, 408 if the upload is too slow, 503 if too
                many are under way.
        """
        message = await self._next()
        if self._got > self.most:
            await self.drain()
            raise HTTPException(413, self._limits.too_large)
        part = len(message.get("body", b""))
        if self._uploads.bytes + part > self._uploads.most:
            await self.drain()
            raise HTTPException(503, "too many uploads at once; try again in a moment", BUSY)
        self._held += part
        self._uploads.bytes += part
        return message

    async def drain(self) -> None:
        """Receive and discard the rest, up to a limit."""
        self.forget()
        while not self._whole and self._got <= 20 * self.most:
            try:
                await self._next()
            except HTTPException:
                return

    def end(self) -> None:
        """Give the upload up, to make room for another."""
        self._ended = True
        self._uploads.unfinished.pop(self, None)
        if self._timer is not None:
            self._timer.reschedule(0)

    def forget(self) -> None:
        """Release what was received."""
        self._uploads.bytes -= self._held
        self._held = 0

    def leave(self) -> None:
        """The request is answered."""
        self.forget()
        self._uploads.unfinished.pop(self, None)

    async def _next(self) -> Message:
        if self._whole:  # the next message is the end of the connection
            return await self._receive()
        slowest = PATIENCE + self._got / SLOWEST
        seconds = 0 if self._ended else min(self._limits.seconds, slowest)
        self._uploads.enter(self)
        try:
            async with asyncio.timeout_at(self._began + seconds) as self._timer:
                message = await self._receive()
        except TimeoutError:
            self._whole = True
            self._uploads.unfinished.pop(self, None)
            raise self._late(slowest) from None
        finally:
            self._timer = None
        self._got += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._whole:
            self._uploads.unfinished.pop(self, None)
        return message

    def _late(self, slowest: float) -> HTTPException:
        if self._ended:
            return HTTPException(503, "too many uploads at once; try again in a moment", BUSY)
        if slowest < self._limits.seconds:
            rate = f"{SLOWEST / 1000:g} kB per second"
            return HTTPException(408, f"the upload is slower than {rate}; try again")
        return HTTPException(408, f"the upload took longer than {self._limits.seconds:g} seconds")


def keep_uploads_in_memory() -> None:
    """Keep Starlette from moving uploads of more than 1 MB to the temporary folder.

    They fit: `Limits.held` bounds them. A full or missing folder then does not matter, and no user
    data reaches a disk.
    """
    for name in ("spool_max_size", "max_file_size"):  # now, and before Starlette 0.46
        if hasattr(MultiPartParser, name):
            setattr(MultiPartParser, name, 0)  # of SpooledTemporaryFile: without limit


def read_origin(text: str) -> str:
    """The origin of the pages at an address, such as ``https://photos.example``.

    Raises:
        ConfigError: It is not a scheme, a host and at most a port.
    """
    origin = text.strip().rstrip("/").lower()
    if not _ORIGIN.fullmatch(origin):
        raise ConfigError(
            f"--allowed-origin {text}: give what the browser shows before the path, "
            "such as https://photos.example"
        )
    return origin


def _netloc(address: str) -> str | None:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return None


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    """Add headers to every answer: no framing, no type guessing, no caching, no referrer."""
    extra = [
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    ]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, error: str) -> None:
    content = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
