"""Captions as descriptions in XMP sidecars and in the photos' own metadata."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from showattend import __version__
from showattend.cli.resuming import no_file_of_its_own
from showattend.exceptions import UserError
from showattend.images.metadata import photo_descriptions as descriptions
from showattend.images.metadata.photo_descriptions import Description, Words
from showattend.images.metadata.xmp_packet import WRITER

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


class Needed(NamedTuple):
    """Photos by whether they need a description.

    Attributes:
        without: The photos to caption.
        ours: The number with a description that this program wrote.
        theirs: The number with one by others.
        problems: A line for each photo or folder in which none can be written.
    """

    without: list[Path]
    ours: int
    theirs: int
    problems: list[str]


@dataclass
class Describer:
    """Writes descriptions to the requested places.

    Attributes:
        sidecars: The naming of sidecars, one of ``SIDECARS``; None for no sidecars.
        embed: Write into the photos' metadata.
        language: The language of the captions as a BCP 47 tag.
        overwrite: Replace descriptions that this program wrote.
        replace: Replace those by others.
        model: The value of ``--model``; its name is recorded with the description.
        written: The number of photos described, by place.
    """

    sidecars: str | None
    embed: bool
    language: str = "en"
    overwrite: bool = False
    replace: bool = False
    model: str | None = None
    written: dict[str, int] = field(default_factory=dict)
    _owners: dict[Path, Path] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Check the options.

        Raises:
            UserError: One of them is invalid.
        """
        if self.sidecars not in (None, *descriptions.SIDECARS):
            known = " or ".join(descriptions.SIDECARS)
            raise UserError(f"--xmp-name {self.sidecars}: unknown; give {known}")
        if not _LANGUAGE.fullmatch(self.language):
            raise UserError(f"--language {self.language}: give a code, such as en, de or pt-BR")

    def select(self, photos: Sequence[Path]) -> Needed:
        """Select the photos that need a description, before any model is loaded."""
        needed, ours, theirs, problems = list[Path](), 0, 0, list[str]()
        for photo in photos:
            try:
                states = self._states(photo)
            except UserError as error:
                problems += self._not_said(str(error))
                continue
            wanted = {"": True, "ours": self.overwrite, "theirs": self.replace}
            if any(wanted[state] for state in states):
                needed.append(photo)
            elif "theirs" in states:
                theirs += 1
            else:
                ours += 1
        return Needed(needed, ours, theirs, problems)

    def _not_said(self, problem: str) -> list[str]:
        """The problem, only once: a read-only folder is a problem for all its photos."""
        new = problem not in self._said
        self._said.add(problem)
        return [problem] * new

    def _states(self, photo: Path) -> list[str]:
        """Whose description each place holds: "ours", "theirs", or "" for none."""
        _refuse_read_only(photo.parent)
        within = descriptions.description_in(photo)
        states = []
        if self.sidecars:
            states.append(_whose(self._of_sidecar(self._sidecar(photo), within)))
        if self.embed:
            descriptions.check_embedding(photo)
            states.append(_whose(within))
        return states

    def _sidecar(self, photo: Path) -> Path:
        sidecar = descriptions.sidecar_of(photo, self.sidecars or descriptions.SIDECARS[0])
        owner = self._owners.setdefault(sidecar, photo)
        if owner != photo:
            raise UserError(no_file_of_its_own(photo, sidecar, owner))
        return sidecar

    def _of_sidecar(self, sidecar: Path, within: Description) -> Description:
        """A sidecar's description, or the photo's that one in the sidecar would hide."""
        found = descriptions.description_next_to(sidecar)
        return within if not found.text and within.text and not within.ours else found

    def write(self, photo: Path, text: str) -> list[str]:
        """Write the caption of a photo.

        Returns:
            One line for each place where it could not be written, unless already reported.
        """
        writer = f"{WRITER} {__version__} ({model_name(self.model)})"
        words = Words(text, self.language, writer)
        problems: list[str] = []

        def attempt(place: str, write: Callable[[], None]) -> None:
            try:
                _refuse_read_only(photo.parent)
                write()
                self.written[place] = self.written.get(place, 0) + 1
            except UserError as error:
                problems.extend(self._not_said(str(error)))

        if self.sidecars:
            attempt("sidecars", lambda: self._write_sidecar(photo, words))
        if self.embed:
            attempt("metadata", lambda: descriptions.write_into(photo, words, self.replace))
        return problems

    def _write_sidecar(self, photo: Path, words: Words) -> None:
        sidecar = self._sidecar(photo)
        within = descriptions.description_in(photo)
        shown = self._of_sidecar(sidecar, within)
        if shown.text and shown is within and not self.replace:
            raise UserError(descriptions.by_somebody_else(photo))
        descriptions.write_next_to(sidecar, words, self.replace)


def model_name(model: str | None) -> str:
    """The name of a model without its folders.

    Args:
        model: The value of ``--model``.
    """
    from showattend.model.checkpoint import DEFAULT_MODEL, FILE_NAME

    if model is None:
        return DEFAULT_MODEL
    path = Path(model)
    return path.resolve().parent.name if path.name == FILE_NAME else path.resolve().name


def _refuse_read_only(folder: Path) -> None:
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: no description can be written (the folder is read-only)")


def _whose(found: Description) -> str:
    return "" if not found.text else "ours" if found.ours else "theirs"
