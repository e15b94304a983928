"""COCO's images on disk: finding those that exist and downloading the others."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from showattend.data.coco.annotations import Entry
from showattend.data.coco.download import (
    Downloader,
    DownloadError,
    Job,
    MissingError,
    UnreachableError,
)
from showattend.data.places import Files
from showattend.exceptions import DataError, ImageError
from showattend.system.provenance import file_digest
from showattend.system.threads import in_order

_log = logging.getLogger("showattend.data")

Progress = Callable[..., None]
"""Called with a label, the amount done, the total, and a note such as the rate."""

_USUAL_BYTES = 160_000  # typical size of a photograph, used if the server does not report it
_SAMPLE = 8  # number of images whose size is requested for the estimate
_STREAK = 20  # give up after this many failures in a row: the server is refusing us
_ALL_MISSING = 50  # give up if this many are missing and none has arrived: the URL is wrong
_JOURNAL = ".whole"


class ImageFolder:
    """The folder that images are downloaded to, with a journal of complete files.

    Downloads get their final name only when complete, but other programs may write to the folder
    too, and disks fail. The journal has the size and the digest of each complete file. A file of
    that size with another digest is damaged; one that is not in the journal, or has another size,
    is opened once to check it.

    Args:
        folder: The folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[int, str]] = {}  # size, digest
        try:
            text = (folder / _JOURNAL).read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        for line in text.splitlines():
            size, *rest = line.split("\t")
            if size.isdecimal() and rest:  # earlier versions wrote no digest
                self._known[rest[-1]] = int(size), rest[0] if len(rest) > 1 else ""

    def note(self, name: str, size: int) -> None:
        """Record in the journal that a file is complete, with its digest.

        Raises:
            DataError: The journal cannot be written.
        """
        digest = file_digest(self.folder / name) or ""
        self._known[name] = size, digest
        try:
            with (self.folder / _JOURNAL).open("a", encoding="utf-8", newline="\n") as file:
                file.write(f"{size}\t{digest}\t{name}\n")
        except OSError as error:
            raise DataError(
                f"{self.folder / _JOURNAL}: cannot be written ({error.strerror})"
            ) from None

    def digest(self, name: str) -> str | None:
        """The digest of a complete file; None if it is not known."""
        return self._known.get(name, (0, ""))[1] or None

    def whole(self, names: Sequence[str], progress: Progress) -> set[str]:
        """The files that exist and are complete; each is read to compute its digest."""
        found: set[str] = set()
        there: list[tuple[str, int]] = []
        for name in names:
            try:
                size = (self.folder / name).stat().st_size
            except OSError:
                continue
            there.append((name, size))
        damaged = []
        for done, ((name, size), good) in enumerate(in_order(self._is_whole, there), 1):
            progress("Checking existing images", done, len(there))
            if good:
                if not self._is_known(name, size):
                    self.note(name, size)
                found.add(name)
            elif self._is_known(name, size):
                damaged.append(name)
        if damaged:
            _log.info(
                f"{len(damaged):,} images are damaged, the first: {self.folder / damaged[0]}; "
                "they are downloaded again"
            )
        return found

    def _is_known(self, name: str, size: int) -> bool:
        known = self._known.get(name, (-1, ""))
        return known[0] == size and bool(known[1])

    def _is_whole(self, file: tuple[str, int]) -> bool:
        name, size = file
        if self._is_known(name, size):
            return file_digest(self.folder / name) == self._known[name][1]
        return _opens(self.folder / name)


def _opens(path: Path) -> bool:
    from showattend.images.upright import open_image

    try:
        open_image(path)
    except ImageError:
        return False
    return True


def find_images(entries: Sequence[Entry], roots: Sequence[Path]) -> dict[int | str, Path]:
    """Find the images that exist in one of the folders.

    Looks for the name given in the annotations, for the path on COCO's server (``train2014/...``),
    and for the file name alone.

    Returns:
        The paths by image id.
    """
    files = Files()
    found: dict[int | str, Path] = {}
    for entry in entries:
        file = entry.file_name.rpartition("/")[2]
        names = dict.fromkeys((entry.file_name, entry.remote or file, file))
        places = (files.find(root / name) for root in roots for name in names)
        place = next((path for path in places if path is not None and path.is_file()), None)
        if place is not None:
            found[entry.image_id] = place
    return found


def fetch_images(
    names: Sequence[str],
    folder: ImageFolder,
    base_url: str,
    downloader: Downloader,
    progress: Progress,
) -> dict[str, str]:
    """Download images into the folder, after logging the number and size.

    Args:
        names: Paths of the images, the same on the server and in the folder.
        folder: The destination.
        base_url: The URL of the server.
        downloader: Performs the downloads.
        progress: Called after every image, with the rate in the note.

    Returns:
        The problem with each image that could not be downloaded, by name.

    Raises:
        DataError: The server cannot be reached, fails repeatedly, or has none of the images; or
            the disk is full or cannot be written.
    """
    jobs = {
        Job(f"{base_url}/{quote(name)}", folder.folder / name): name
        for name in dict.fromkeys(names)
    }
    total = _estimate([job.url for job in jobs], downloader)
    _log.info(f"{len(jobs):,} images to download from {base_url}, about {amount(total)}")
    check_room(folder.folder, total)
    for parent in {job.path.parent for job in jobs}:
        make_folder(parent)
    from showattend.images.upright import open_image

    failed: dict[str, str] = {}
    streak = done = received = 0
    began = time.monotonic()
    with closing(downloader.fetch_all(jobs, open_image)) as stream:
        for count, (job, outcome) in enumerate(stream, start=1):
            name = jobs[job]
            if isinstance(outcome, int):
                folder.note(name, outcome)
                done, received, streak = done + 1, received + outcome, 0
            else:
                failed[name] = str(outcome)
                streak += not isinstance(outcome, MissingError)
                _give_up(outcome, streak, done, len(failed))
            seconds = max(time.monotonic() - began, 1e-3)
            rate = f"{count / seconds:.1f} images/s, {amount(received / seconds)}/s"
            progress("Downloading images", count, len(jobs), rate)
    return failed


def _give_up(error: DownloadError, streak: int, done: int, failed: int) -> None:
    """Raise if the remaining images are bound to fail too."""
    if isinstance(error, UnreachableError):
        raise error
    if streak >= _STREAK:
        raise DataError(
            f"{error}; the {streak - 1} images before it failed too, the server may be busy; "
            "finished downloads are kept, run this again later to continue"
        )
    if not done and failed >= _ALL_MISSING:
        raise DataError(
            f"{error}; the {failed - 1} images before it are missing too; is --base-url right?"
        )


def _estimate(urls: Sequence[str], downloader: Downloader) -> float:
    """Estimate the total number of bytes from a sample; exact if there are few images."""
    step = max(1, len(urls) // _SAMPLE)
    sizes = [size for url in urls[::step][:_SAMPLE] if (size := downloader.size(url)) is not None]
    return len(urls) * (sum(sizes) / len(sizes) if sizes else _USUAL_BYTES)


# Disk ------------------------------------------------------------------------------------------


def amount(size: float) -> str:
    """Format a number of bytes, for example "1.2 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def check_room(folder: Path, size: float) -> None:
    """Check that the disk has enough free space.

    Raises:
        DataError: It has too little.
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(f"{folder}: needs {amount(size)}, and the disk has {amount(free)} left")


def make_folder(folder: Path) -> None:
    """Create a folder.

    Raises:
        DataError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be created ({error.strerror})") from None
