"""What a word may hold, and what a terminal is shown in the place of control characters."""

from __future__ import annotations

import pytest

from showattend.cli.terminal import log, show_log, table
from showattend.exceptions import CONTROLS, UserError
from showattend.text.printable import is_word, printable, visible
from showattend.training.notebook_display import NotebookDisplay


@pytest.mark.parametrize("text", ["dog", "'s", "t.v.", "größe", "犬", "हिन्दी", "می‌خواهم", "👩‍🚀"])
def test_words_of_any_script_are_words(text: str) -> None:
    assert is_word(text)
    assert visible(text) == text


@pytest.mark.parametrize(
    "text", ["", "a b", "a\nb", "\x1b[31mred", "\x07", "\ud800", "a\u2028b", "\u202egod", None, 3]
)
def test_control_characters_are_not_words(text: object) -> None:
    assert not is_word(text)


def test_control_characters_are_shown_as_escape_sequences() -> None:
    assert visible("a b\x1b[31m\nc\u202e") == "a b\\x1b[31m\\nc\\u202e"


@pytest.mark.parametrize("sign", CONTROLS.findall("".join(map(chr, range(0x3000)))), ids=ascii)
def test_one_list_holds_for_words_lines_and_errors(
    sign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"a{sign}b"
    assert not is_word(text)
    for shown in (printable(text), visible(text), str(UserError(text))):
        assert not CONTROLS.search(shown)
    show_log()
    log.info("%s", text)
    table(text, [[text]])
    NotebookDisplay().message(text)
    for stream in capsys.readouterr():
        assert not CONTROLS.search(stream.replace("\n", ""))


def test_names_that_are_not_text_keep_their_bytes_in_a_line() -> None:
    assert printable("caf\udce9\x9b.jpg") == "caf\udce9\\x9b.jpg"
    assert visible("caf\udce9.jpg") == "caf\\udce9.jpg"
