"""Downloading files in parallel, with retries; a file with its final name is complete.

The HTTP client is httpx2, which timm brings along through huggingface_hub; it keeps connections
open from file to file and supports proxies and redirects. This module adds the rest: waiting and
retrying, resuming large files, and many files at once.

A file grows as ``.name.part`` and gets its name once its size and the caller's check are right. A
large one is resumed by a range request, in this run or the next, if the server's validator (ETag or
date) shows that it is still the same file.
"""

from __future__ import annotations

import queue
import random
import re
import ssl
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from showattend import __version__
from showattend.exceptions import DataError, UserError

Check = Callable[[Path], object]
"""Opens a file, and raises a ``UserError`` if it is not what it should be."""
OnBytes = Callable[[int, int | None], object]
"""Called with the bytes of a file received so far, and the total if the server states it."""

_RESUMABLE = 1 << 20  # a file of more bytes is continued after a failure; a smaller one starts over
_LONGEST_PAUSE = 60.0
_LONGEST_WISH = 300.0  # the longest Retry-After that is respected
_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))


class DownloadError(DataError):
    """A file that failed after several attempts; a later run may get it."""


class MissingError(DownloadError):
    """A file that the server lacks or refuses, or whose address is invalid."""


class UnreachableError(DownloadError):
    """A server that cannot be reached at all."""


class _BrokenOffError(Exception):
    """A transfer to retry.

    Args:
        reason: What went wrong.
        wish: Seconds that the server asks us to wait.
        unreachable: Whether no server answered.
    """

    def __init__(self, reason: str, wish: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wish, self.unreachable = wish, unreachable


class _StoppedError(Exception):
    """The downloads were stopped by the caller."""


@dataclass(frozen=True)
class Job:
    """One file to fetch."""

    url: str
    path: Path


class Downloader:
    """Fetches files politely: few at a time, waiting longer after every failure.

    Args:
        workers: The number of files at once.
        attempts: The number of attempts before a file counts as failed.
        timeout: Seconds without a byte that count as a failure.
        sleep: Waits between attempts; None waits until the downloads end at the latest.
    """

    def __init__(
        self,
        *,
        workers: int = 8,
        attempts: int = 6,
        timeout: float = 30.0,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.workers, self.attempts = workers, attempts
        self._client = httpx2.Client(
            headers={"User-Agent": f"showattend/{__version__}", "Accept-Encoding": "identity"},
            timeout=timeout,
            follow_redirects=True,
            verify=ssl.create_default_context(),  # the certificates that this machine trusts
        )
        self._stop = threading.Event()
        self._sleep = self._stop.wait if sleep is None else sleep

    def size(self, url: str) -> int | None:
        """The bytes of a file; None if the server does not state them, or lacks the file.

        Raises:
            UnreachableError: There is no server.
        """
        for attempt in range(2):
            try:
                with self._ask("HEAD", url) as response:
                    return _number(response.headers.get("Content-Length"))
            except _BrokenOffError as error:
                if error.unreachable and attempt:
                    raise UnreachableError(f"{url}: cannot be reached ({error})") from None
                if not error.unreachable:
                    return None
                self._sleep(1.0)
            except MissingError:
                return None
        return None

    def fetch(
        self, url: str, path: Path, check: Check | None = None, on_bytes: OnBytes | None = None
    ) -> int:
        """Fetch one file; its folder must exist.

        Args:
            url: The address of the file.
            path: The path to write to; a file there is replaced.
            check: Opens the file before it gets its name; a refused one is fetched again.
            on_bytes: Called as it grows.

        Returns:
            Its bytes.

        Raises:
            MissingError: The server lacks it, or the address is invalid.
            UnreachableError: There is no server.
            DownloadError: Every attempt broke off or failed the check.
            DataError: It cannot be written.
        """
        part, tag = aside(path)
        attempt = 0
        while True:
            attempt += 1
            try:
                size = self._transfer(url, part, tag, on_bytes)
                if check is not None:
                    _pass(check, part, tag)
                rename(part, tag, path)
            except _BrokenOffError as error:
                if attempt < self.attempts:
                    self._pause(attempt, error.wish)
                    continue
                if error.unreachable:
                    raise UnreachableError(f"{url}: cannot be reached ({error})") from None
                raise DownloadError(f"{url}: {error}, {attempt} times") from None
            return size

    def fetch_all(
        self, jobs: Iterable[Job], check: Check | None = None
    ) -> Generator[tuple[Job, int | DownloadError], None, None]:
        """Fetch many files, several at once, as `fetch` does.

        The last use of a downloader: when the iterator ends or is closed, transfers stop.

        Args:
            jobs: The files; their folders must exist.
            check: See `fetch`.

        Yields:
            Each file once it is done, with its bytes or the error.

        Raises:
            DataError: A file cannot be written.
        """
        left: queue.SimpleQueue[Job] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[Job, int | BaseException]] = queue.SimpleQueue()
        count = 0
        for job in jobs:
            left.put(job)
            count += 1

        def work() -> None:
            while not self._stop.is_set():
                try:
                    job = left.get_nowait()
                except queue.Empty:
                    return
                outcome: int | BaseException
                try:
                    outcome = self.fetch(job.url, job.path, check)
                except _StoppedError:
                    return
                except BaseException as error:
                    outcome = error
                done.put((job, outcome))

        # Daemons, not an executor, which waits for its threads when the program ends: a silent
        # server must not delay that.
        threads = [
            threading.Thread(target=work, name="download", daemon=True)
            for _ in range(min(self.workers, count))
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(count):
                job, outcome = _next(done)
                if isinstance(outcome, BaseException) and not isinstance(outcome, DownloadError):
                    raise outcome
                yield job, outcome
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=1.0)
            self._client.close()

    def _pause(self, attempt: int, wish: float | None) -> None:
        seconds = min(2.0 ** (attempt - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        self._sleep(seconds if wish is None else max(seconds, min(wish, _LONGEST_WISH)))
        if self._stop.is_set():
            raise _StoppedError

    @contextmanager
    def _ask(
        self, method: str, url: str, headers: dict[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """The server's answer, if successful, or a 416 if a range was requested."""
        try:
            with self._client.stream(method, url, headers=headers) as response:
                status = response.status_code
                if not (response.is_success or (status == 416 and headers)):
                    reason = f"{status} {response.reason_phrase}".strip()
                    if status in _AGAIN:
                        raise _BrokenOffError(reason, _number(response.headers.get("Retry-After")))
                    raise MissingError(f"{url}: {reason}")
                yield response
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError) as error:
            raise MissingError(f"{url}: not a URL ({said(error)})") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise _BrokenOffError(said(error), unreachable=True) from None
        except httpx2.HTTPError as error:
            raise _BrokenOffError(said(error)) from None

    def _transfer(self, url: str, part: Path, tag: Path, on_bytes: OnBytes | None) -> int:
        """Complete the part file, and return its size."""
        have = _resumable(part, tag)
        headers: dict[str, str] = {}
        if have:
            headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
        with self._ask("GET", url, headers) as response:
            sent = response.headers.get("Content-Range") or ""
            if response.status_code == 416:  # the part is already complete
                if sent == f"bytes */{have}":
                    return have
                _forget(part, tag)
                raise _BrokenOffError("the part of an earlier run did not fit")
            if response.status_code == 206 and not sent.startswith(f"bytes {have}-"):
                _forget(part, tag)
                raise _BrokenOffError("the server sent another part than asked for")
            if response.status_code != 206:
                have = 0
                _forget(part, tag)
            length = _number(response.headers.get("Content-Length"))
            total = None if length is None else have + length
            if total is not None and total > _RESUMABLE and (validator := _validator(response)):
                with writing(tag):
                    tag.write_text(validator, encoding="utf-8")
            return self._copy(response, part, have, total, on_bytes)

    def _copy(
        self,
        response: httpx2.Response,
        part: Path,
        have: int,
        total: int | None,
        on_bytes: OnBytes | None,
    ) -> int:
        with writing(part), part.open("ab" if have else "wb") as file:
            try:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    have += len(chunk)
                    if on_bytes is not None:
                        on_bytes(have, total)
                    if self._stop.is_set() and have != total:
                        raise _StoppedError
            except httpx2.HTTPError as error:
                where = f"at {have:,} of {total:,} bytes" if total else f"({said(error)})"
                raise _BrokenOffError(f"broke off {where}") from None
        return have


# Files aside -----------------------------------------------------------------------------------


def aside(path: Path) -> tuple[Path, Path]:
    """The part file, and the file with its validator."""
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.tag")


def _resumable(part: Path, tag: Path) -> int:
    try:
        return part.stat().st_size if tag.stat().st_size else 0
    except OSError:
        return 0


def _forget(part: Path, tag: Path) -> None:
    part.unlink(missing_ok=True)
    tag.unlink(missing_ok=True)


def _pass(check: Check, part: Path, tag: Path) -> None:
    try:
        check(part)
    except UserError as error:
        _forget(part, tag)
        raise _BrokenOffError(str(error).removeprefix(f"{part}: ")) from None


def rename(part: Path, tag: Path, path: Path) -> None:
    """Rename a complete part file.

    Raises:
        DataError: It cannot be renamed.
    """
    with writing(path):
        part.replace(path)
        tag.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in disk errors, which retrying does not fix.

    Raises:
        DataError: In place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({said(error)}); what is there already is kept"
        ) from None


# Answers ---------------------------------------------------------------------------------------


def _next(done: queue.SimpleQueue[Any]) -> Any:
    """The next result; Windows handles Ctrl-C only between waits."""
    while True:
        try:
            return done.get(timeout=0.5)
        except queue.Empty:
            continue


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,15}", text.strip()) else None


def _validator(response: httpx2.Response) -> str | None:
    """The validator of a file: a strong ETag, otherwise its date."""
    etag: str | None = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def said(error: BaseException) -> str:
    """An error's message in one line."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()).rstrip(".") or type(error).__name__
