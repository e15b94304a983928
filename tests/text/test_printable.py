"""What a word may hold, and what a terminal is shown in the place of control characters."""

from __future__ import annotations

import pytest

from showattend.text.printable import is_word, visible


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
