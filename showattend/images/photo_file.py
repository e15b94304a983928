"""An image file that is read once, for commands that make captions and then draw them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

_Base: Any = type(Path())


class PhotoFile(_Base):
    """A path whose file is read when it is first opened, and kept in memory from then on.

    Captioning asks for a photograph at the network's size, drawing for all of its pixels: it is
    decoded for each, from the same bytes. Whatever happens to the file meanwhile, they are of the
    same photograph.

    Example:
        >>> photo = PhotoFile("dog.jpg")
        >>> captioner.caption(photo).save_overlay("dog.png")
    """

    _content: bytes | None = None

    @classmethod
    def of(cls, content: bytes, name: str) -> PhotoFile:
        """A photograph that is no file, such as an upload; messages call it by this name."""
        photo = cls(name)
        photo._content = content
        return photo

    def open(self, mode: str = "r", *args: Any, **options: Any) -> Any:
        """As `Path.open`; for reading bytes, from memory but for the first time."""
        if mode != "rb":
            return super().open(mode, *args, **options)
        if self._content is None:
            with super().open("rb") as file:
                self._content = file.read()
        return io.BytesIO(self._content)

    @property
    def digest(self) -> str | None:
        """The SHA-256 of what was read, in hexadecimal; None before anything was."""
        return None if self._content is None else hashlib.sha256(self._content).hexdigest()

    def is_dir(self, **options: Any) -> bool:
        """Whether it is a folder."""
        return self._content is None and bool(super().is_dir(**options))

    def is_file(self, **options: Any) -> bool:
        """Whether it is a file, or has been one."""
        return self._content is not None or bool(super().is_file(**options))
