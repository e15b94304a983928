"""An image file that is read once, for commands that make captions and then draw them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

_Base: Any = type(Path())


class PhotoFile(_Base):
    """A path whose file is read when first opened, and then kept in memory.

    Captioning needs a photograph at the network's size, drawing all of its pixels: it is decoded
    for each, from the same bytes. So both show the same photograph, whatever happens to the file
    meanwhile.

    Example:
        >>> photo = PhotoFile("dog.jpg")
        >>> captioner.caption(photo).save_overlay("dog.png")
    """

    _content: bytes | None = None

    @classmethod
    def of(cls, content: bytes, name: str) -> PhotoFile:
        """A photograph that is not a file, such as an upload; messages use this name."""
        photo = cls(name)
        photo._content = content
        return photo

    def open(self, mode: str = "r", *args: Any, **options: Any) -> Any:
        """As `Path.open`; bytes are read from memory after the first time."""
        if mode != "rb":
            return super().open(mode, *args, **options)
        if self._content is None:
            with super().open("rb") as file:
                self._content = file.read()
        return io.BytesIO(self._content)

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the file in hexadecimal; None before it is read."""
        return None if self._content is None else hashlib.sha256(self._content).hexdigest()

    def is_dir(self, **options: Any) -> bool:
        """Whether it is a folder."""
        return self._content is None and bool(super().is_dir(**options))

    def is_file(self, **options: Any) -> bool:
        """Whether it is a file, or was one."""
        return self._content is not None or bool(super().is_file(**options))
