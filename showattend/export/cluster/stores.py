"""The places of images and results: a folder, or an address that fsspec knows (s3://...)."""

from __future__ import annotations

import errno
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from showattend.exceptions import DataError, ImageError, UserError, one_line
from showattend.system.addresses import entries, file_system, is_address, read_file
from showattend.system.files import remove_stale, unwritable, write_bytes

EXTRA = 'pip install "showattend[cluster]"'
ATTEMPTS = 4
LARGEST = 1 << 30  # bytes; no photograph is larger, and a worker holds several
SETTINGS = ("AWS_", "FSSPEC_", "GOOGLE_", "AZURE_")
"""Beginnings of the environment variables that hold addresses and keys of object stores."""

_TROUBLE = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
            errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNRESET}  # fmt: skip
_NOT_THERE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def check_packages(*packages: str) -> None:
    """Check that packages of the extra ``cluster`` are installed.

    Raises:
        UserError: One is missing; the message says how to install it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise UserError(f"captioning on a cluster needs {package}; run: {EXTRA}")


def settings_of(environment: dict[str, str]) -> dict[str, str]:
    """The environment variables that give access to object stores."""
    return {key: value for key, value in environment.items() if key.startswith(SETTINGS)}


def adopt_settings(settings: dict[str, str]) -> None:
    """Access object stores with another process's `settings_of`."""
    os.environ.update(settings)
    if any(key.startswith("FSSPEC_") for key in settings):
        from fsspec.config import conf, set_conf_env

        set_conf_env(conf)


def read_image(name: str, folder: str = "", pause: float = 1.0) -> bytes:
    """The content of an image file.

    Network trouble is not the image's fault: reading is retried, and then raises another error, so
    that an hour without network does not make a million images bad.

    Args:
        name: A path or an address.
        folder: The folder that relative paths start from.
        pause: Seconds before the second attempt; doubled for each further one.

    Raises:
        ImageError: There is no such file, it may not be read, or it is too large.
        DataError: It could not be reached.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            return _read_address(name) if is_address(name) else _read_file(Path(folder) / name)
        except _NOT_THERE as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else "permission denied"
            if isinstance(error, IsADirectoryError):
                reason = "is a folder, not an image"
            raise ImageError(f"{name}: {reason}") from None
        except OverflowError:
            raise ImageError(f"{name}: has more than {LARGEST:,} bytes") from None
        except UserError:
            raise
        except Exception as error:
            if not is_address(name) and getattr(error, "errno", None) not in _TROUBLE:
                raise ImageError(f"{name}: cannot be read ({one_line(error)})") from None
            reason = one_line(error)
    raise DataError(f"{name}: cannot be reached ({reason}; tried {ATTEMPTS} times)")


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise OverflowError
    return path.read_bytes()


def _read_address(name: str) -> bytes:
    return read_file(name, LARGEST)


class Store:
    """A folder or an address of an object store for the parts of a result.

    Files appear when complete: a file is renamed, an object exists once its upload has ended.

    Args:
        place: A path, or an address such as ``s3://bucket/captions``.

    Raises:
        UserError: It cannot be created, or is a file.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") if is_address(place) else str(Path(place).absolute())
        self._system: Any = None
        if is_address(place):
            self._system, self._path = file_system(self.place)
        else:
            self.folder = Path(self.place)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.place,)  # connections do not travel

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, local or on a shared disk."""
        return self._system is None

    def prepare(self) -> None:
        """Create the folder, and remove partial files of killed processes.

        Raises:
            UserError: It cannot be created, or is a file.
        """
        if not self.is_folder:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UserError(f"{self.place}: is a file; give --output a folder") from None
        except OSError as error:
            raise unwritable(self.folder, error) from error
        begun = {name[1:].rsplit(".", 2)[0] for name in self.names() if name.endswith(".part")}
        for name in begun:
            remove_stale(self.folder / name)

    def names(self) -> set[str]:
        """The names of the files in it.

        Raises:
            DataError: It cannot be listed.
        """
        try:
            return {each.name for each in entries(self.place)}
        except FileNotFoundError:
            return set()

    def has(self, name: str) -> bool:
        """Whether it has this file.

        Raises:
            DataError: The place cannot be reached.
        """
        if self.is_folder:
            return (self.folder / name).is_file()
        try:
            self._system.info(f"{self._path}/{name}")
        except FileNotFoundError:
            return False
        except Exception as error:
            raise DataError(f"{self.place}/{name}: cannot be reached ({one_line(error)})") from None
        return True

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading.

        Raises:
            DataError: It cannot be read.
        """
        try:
            if self.is_folder:
                return (self.folder / name).open("rb")
            opened: IO[bytes] = self._system.open(f"{self._path}/{name}", "rb")
            return opened
        except Exception as error:
            raise DataError(f"{self.place}/{name}: cannot be read ({one_line(error)})") from None

    def write(self, name: str, content: bytes) -> None:
        """Write a file; it appears when it is complete.

        Raises:
            UserError: It cannot be written.
        """
        if self.is_folder:
            write_bytes(self.folder / name, content)
            return
        try:
            self._system.pipe_file(f"{self._path}/{name}", content)
        except Exception as error:
            raise self._unwritable(name, error) from None

    def adopt(self, file: Path, name: str) -> None:
        """Move a file of this machine here.

        Raises:
            UserError: It cannot be written.
        """
        try:
            if self.is_folder:
                file.replace(self.folder / name)
            else:
                self._system.put_file(str(file), f"{self._path}/{name}")
                file.unlink()
        except Exception as error:
            raise self._unwritable(name, error) from None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            UserError: It cannot be removed.
        """
        try:
            if self.is_folder:
                (self.folder / name).unlink(missing_ok=True)
            elif self.has(name):
                self._system.rm_file(f"{self._path}/{name}")
        except Exception as error:
            raise self._unwritable(name, error) from None

    def _unwritable(self, name: str, error: Exception) -> UserError:
        return UserError(f"{self.place}/{name}: cannot be written ({one_line(error)})")
