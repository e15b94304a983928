"""Connections to the server: how many, and how long each may take to send its request.

uvicorn limits neither the time that a request's head takes nor how long a client may leave an
answer unread, and it answers surplus connections in plain text. Here an idle connection makes room
for a new one, so that no client can shut others out by opening many.
"""

from __future__ import annotations

import asyncio
import http
import json
import math
from collections.abc import Callable

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256
"""The most connections at a time."""
WAIT = 10.0
"""Seconds for a request's head, and again for the client to continue reading."""
LAST = 2.0
"""Seconds to send the last message once a connection is given up."""


class Connection(H11Protocol):
    """An HTTP connection that is closed if its client does not send, or does not read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start; if there are too many, close the one that has waited longest."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._leaving = False
        self._wait()
        if len(self.connections) > MOST:
            idle = [
                each
                for each in self.connections
                if isinstance(each, Connection) and not each.in_use and each is not self
            ]
            min(idle, key=lambda each: each.since, default=self).give_up(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a request, or what still arrives after the last message."""
        if not self._leaving:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait()
        super().on_response_complete()

    def shutdown(self) -> None:
        """The server stops: answer what has been received, and drop the rest."""
        super().shutdown()
        if self.in_use and self.cycle.more_body and not self.cycle.response_started:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.give_up(503)
        elif not self.in_use:
            self._later(LAST, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP.

        The client may still be sending. Closing a connection with unread data resets it, and the
        client may then lose the answer; so what arrives in the next `LAST` seconds is discarded.
        """
        self._last_words(400, msg, linger=self.transport.can_write_eof())

    @property
    def in_use(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def give_up(self, status: int) -> None:
        """Close the connection, with a message if the client has begun to send.

        Args:
            status: 408 if it was too slow, 503 if there is no room for it.
        """
        leaving = self._leaving or self.transport.is_closing()
        if leaving or self.transport.get_write_buffer_size():
            self.transport.abort()
        elif self.in_use or self.conn.trailing_data[0] or status == 503:
            slow = f"the request's head took longer than {WAIT:g} seconds"
            self._last_words(status, slow if status == 408 else "too busy; try again in a moment")
        else:
            self.transport.close()

    def _wait(self) -> None:
        """Start waiting for a request's head."""
        self.since, self._unread = self.loop.time(), math.inf
        self._later(WAIT, self._look)

    def _look(self) -> None:
        """Close the connection, unless it is in use or its client is still reading."""
        unread = self.transport.get_write_buffer_size()
        if self.in_use:
            return
        if 0 < unread < self._unread:
            self._unread = unread
            self._later(WAIT, self._look)
        else:
            self.give_up(408)

    def _last_words(self, status: int, error: str, *, linger: bool = False) -> None:
        content = json.dumps({"error": error}).encode()
        head = [
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
            "content-type: application/json",
            f"content-length: {len(content)}",
            "connection: close",
        ]
        self.transport.write("\r\n".join([*head, "\r\n"]).encode() + content)
        if linger:
            self._leaving = True
            self.transport.write_eof()
        else:
            self.transport.close()
        self._later(LAST, self.transport.abort)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, call)
