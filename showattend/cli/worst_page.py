"""The page of ``errors`` and ``ground``: the worst captions, with reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from showattend.cli.terminal import log
from showattend.exceptions import ImageError, UserError

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.evaluation.mistakes.reasons import WrongWord
    from showattend.visualize.page import Remark

OTHERS = 16
"""The number of other photographs that show how likely a word is anyway."""
MOST = 400
"""The most photographs in a page."""
LEFT_OUT, ASTRAY = "left out", "right word, wrong place"
MORE_KINDS = {
    LEFT_OUT: "most people name it, the caption does not",
    ASTRAY: "the word is right, but its map peaks off the object",
}
NOTE = (
    "Bright is where the model looked, not why it chose the word. A wrong word's kind is "
    "found by rules: its probability is compared with that given other photographs, and the peak "
    "of its map with where things are."
)
BY_PEOPLE = " The model itself shows where things are: the human captions were forced on it."


class Bad(NamedTuple):
    """A photograph with a bad caption.

    Attributes:
        path: Its file.
        caption: The caption.
        wrong: Its wrong words.
        people: Human captions.
        remarks: Further remarks, from `MORE_KINDS`.
        score: Its score, such as "CIDEr 0.03"; empty for none.
    """

    path: Path
    caption: str
    wrong: Sequence[WrongWord]
    people: Sequence[str] = ()
    remarks: Sequence[Remark] = ()
    score: str = ""


def check_worst(worst: int) -> None:
    """Check the number of photographs on a page.

    Raises:
        UserError: There are too many.
    """
    if worst > MOST:
        raise UserError(f"a page has room for {MOST} photographs, not {worst}")


def write_worst(
    path: Path, captioner: Captioner, bad: Sequence[Bad], paths: Sequence[Path], title: str
) -> bool:
    """Explain bad captions, and write the page.

    Args:
        path: The file.
        captioner: The model whose maps are shown.
        bad: The photographs, the worst first.
        paths: All photographs of the data set.
        title: The headline.

    Returns:
        Whether all photographs could be opened; the others are reported.

    Raises:
        UserError: There are none, none can be opened, or the file cannot be written.
    """
    from showattend.evaluation.mistakes.reasons import KINDS, Case, explain, sentence_of
    from showattend.images.photo_file import PhotoFile
    from showattend.system.files import write_text
    from showattend.text.tokenizer import tokenize
    from showattend.visualize.focus import SOMEWHERE
    from showattend.visualize.page import GalleryPage, Remark, longest_side

    looks: dict[Path, Any] = {}
    problems: list[str] = []
    for each in bad:
        try:
            looks[each.path] = captioner.look(PhotoFile(each.path))
        except ImageError as error:
            problems.append(str(error))
    shown = [each for each in bad if each.path in looks and tokenize(each.caption)]
    if not shown:
        why = f": {problems[0]}" if problems else ""
        raise UserError(f"{path}: not written, there is no photograph to show{why}")
    others = _others(captioner, looks, paths)
    cases = [
        Case(
            looked=looks[each.path],
            words=tuple(tokenize(each.caption)),
            wrong=each.wrong,
            references=each.people,
        )
        for each in shown
    ]
    captions = explain(captioner, cases, others, SOMEWHERE)
    page = GalleryPage(longest_side(len(shown)))
    for each, case, caption in zip(shown, cases, captions, strict=True):
        compared = sum(one is not case.looked for one in others)
        remarks = [
            Remark(one.kind, sentence_of(one, compared), one.wrong.start, one.wrong.stop)
            for one in case.reasons
        ]
        remarks += each.remarks
        name = f"{each.path.name}{f' ({each.score})' if each.score else ''}"
        people = [re.sub(r"\s+([.,])", r"\1", one) for one in each.people]
        page.add([caption], name, remarks=remarks, people=people)
    said = {one.kind for each in shown for one in each.remarks}
    kinds = KINDS | {kind: text for kind, text in MORE_KINDS.items() if kind in said}
    masked = all(one.masked for each in shown for one in each.wrong)
    write_text(path, page.html(title, kinds=kinds, note=NOTE + ("" if masked else BY_PEOPLE)))
    for problem in problems:
        log.warning(problem)
    return not problems


def _others(captioner: Captioner, looks: Mapping[Path, Any], paths: Sequence[Path]) -> list[Any]:
    """Photographs drawn at random, the same every time, of those that can be opened.

    One that is also to be explained is the same object.
    """
    import random

    drawn = sorted(paths)
    random.Random(0).shuffle(drawn)
    found: list[Any] = []
    for path in drawn:
        if len(found) == OTHERS:
            break
        try:
            found.append(looks[path] if path in looks else captioner.look(path))
        except ImageError:
            continue
    return found
