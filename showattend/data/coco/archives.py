"""Zip archives of annotations: checked as a whole, and safely extracted one file at a time."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from showattend.data.coco.download import aside, rename, said, writing
from showattend.exceptions import DataError

_LARGEST_MEMBER = 4 << 30  # COCO's largest is about 0.5 GB


def check_zip(path: Path) -> None:
    """Refuse an archive that is damaged or cut short.

    Raises:
        DataError: It is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise DataError(f"{path}: not a whole zip archive ({said(error)})") from None
    if damaged is not None:
        raise DataError(f"{path}: a damaged zip archive ({damaged})")


def extract(archive: Path, name: str, path: Path) -> None:
    """Extract one file, whatever folder of the archive it is in, to exactly ``path``.

    It is written under a temporary name and renamed, so a file with its final name is complete.

    Raises:
        DataError: The archive is damaged, lacks the file, or holds one of absurd size; or the file
            cannot be written.
    """
    part, tag = aside(path)
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [
                member
                for member in opened.infolist()
                if PurePosixPath(member.filename).name == name and not member.is_dir()
            ]
            if not found:
                raise DataError(f"{archive}: holds no {name}")
            if found[0].file_size > _LARGEST_MEMBER:
                raise DataError(f"{archive}: its {name} is {found[0].file_size:,} bytes: refused")
            with opened.open(found[0]) as source, writing(part), part.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    except FileNotFoundError:
        raise DataError(f"{archive}: no such file") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise DataError(
            f"{archive}: damaged ({said(error)}); delete it, and run this again"
        ) from None
    rename(part, tag, path)
