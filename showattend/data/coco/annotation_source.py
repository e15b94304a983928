"""Where annotation files come from: local folders, archives there, or a server."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from showattend.data.coco import annotations as coco
from showattend.data.coco.archives import check_zip, extract
from showattend.data.coco.download import (
    Downloader,
    DownloadError,
    MissingError,
    OnBytes,
    UnreachableError,
)
from showattend.data.coco.image_store import Progress, amount, check_room, make_folder
from showattend.exceptions import DataError

_log = logging.getLogger("showattend.data")

ADVICE = (
    "connect to the internet and run this again, or give files of your own with "
    "--annotations FILE and --image-root DIR"
)


@dataclass
class Source:
    """Finds files in local folders, or downloads them."""

    out: Path
    folders: list[Path]
    base_url: str
    downloader: Downloader
    progress: Progress

    def files(self, names: Sequence[str], archive: str, urls: Sequence[str]) -> list[Path]:
        """Find annotation files, unpack them from a local archive, or download them."""
        found = {name: self._look(name) for name in names}
        if None in found.values():
            make_folder(self.out / "annotations")
            zipped = self._look(archive) or self._fetch(self.out / "annotations" / archive, urls)
            for name in (name for name, path in found.items() if path is None):
                found[name] = self.out / "annotations" / name
                extract(zipped, name, self.out / "annotations" / name)
        return [path for path in found.values() if path is not None]

    def has(self, names: Sequence[str], archive: str) -> bool:
        """Whether these files are available without a download."""
        return None not in map(self._look, names) or self._look(archive) is not None

    def official(self, names: Sequence[str], year: int) -> list[Path]:
        """COCO's own annotation files."""
        archive = coco.archive_name(year)
        return self.files(names, archive, [f"{self.base_url}/annotations/{archive}"])

    def karpathy(self) -> list[Path]:
        """Karpathy's file; a server other than COCO's must provide his archive too."""
        urls = [coco.KARPATHY_URL]
        archive = coco.KARPATHY_URL.rpartition("/")[2]
        if self.base_url != coco.IMAGE_SERVER:
            path = urlsplit(coco.KARPATHY_URL).path
            urls = [f"{self.base_url}{each}" for each in (f"/annotations/{archive}", path)]
            urls.insert(1, f"{self.base_url}/{archive}")
        return self.files((coco.KARPATHY_FILE,), archive, urls)

    def _look(self, name: str) -> Path | None:
        return next((each / name for each in self.folders if (each / name).is_file()), None)

    def _fetch(self, path: Path, urls: Sequence[str]) -> Path:
        try:
            for url in urls:
                size = self.downloader.size(url)
                try:
                    check_room(path.parent, size or 0)
                    known = "unknown size" if size is None else amount(size)
                    _log.info(f"downloading {url}, {known}")
                    self.downloader.fetch(url, path, check_zip, self._megabytes())
                except MissingError as error:
                    missing = error
                    continue
                return path
        except UnreachableError as error:
            raise DataError(f"{error}; {ADVICE}") from None
        except DownloadError as error:
            raise DataError(
                f"{error}; finished downloads are kept, run this again to continue"
            ) from None
        raise DataError(f"{missing}; give the annotations with --annotations FILE")

    def _megabytes(self) -> OnBytes:
        """A callback that reports progress in megabytes."""
        began, first = time.monotonic(), -1

        def moved(done: int, total: int | None) -> None:
            nonlocal first
            first = done if first < 0 else first  # the rate excludes what an earlier run downloaded
            rate = max(0, done - first) / max(time.monotonic() - began, 1e-3)
            if total:
                whole = -(-total // 10**6)
                so_far = whole if done == total else min(done // 10**6, whole - 1)
                self.progress(
                    "Downloading annotations", so_far, whole, f"{amount(total)}, {amount(rate)}/s"
                )

        return moved
