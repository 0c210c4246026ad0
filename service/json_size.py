"""What JSON takes once it is parsed: 64 MB of empty lists become 1.6 GB. Pure.

Each value costs Python tens of bytes, each object hundreds, however short its text is. The estimate counts
the marks of the text, which takes a hundredth of the time of parsing it.
"""

from __future__ import annotations

import re
from typing import Final

MAX_MEMORY: Final = 256 << 20
"""Bytes that one parsed text may take, unless its reader asks for less."""

_OBJECT: Final = 200  # bytes of a dict with a few members, of which the text has nothing but two marks
_LIST: Final = 80
_VALUE: Final = 60
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_WHOLE: Final = re.compile(rb'(?:[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_WINDOW: Final = 1 << 18  # bytes that are looked at exactly at once: their strings are objects meanwhile


class TooLargeJsonError(ValueError):
    """The text would take more memory than it may; the message says how much."""


def check_json_size(text: bytes, most: int = MAX_MEMORY) -> None:
    """Raises TooLargeJsonError if the parsed text takes more than about `most` bytes."""
    if parsed_size(text) > most and _exceeds(text, most):
        raise TooLargeJsonError(f"its values take more than {most >> 20} MiB")


def _exceeds(text: bytes, most: int) -> bool:
    """Whether it does without the marks that are within strings, which are no values."""
    size, at, window = len(text), 0, _WINDOW
    while at < len(text) and size <= most:
        match = _WHOLE.match(text, at, at + window)
        end = match.end() if match else at
        if end == at:  # a string that is longer, or that does not end
            if at + window >= len(text):
                return False
            window *= 2
            continue
        part = _TEXT.sub(b"", text[at:end])
        size += parsed_size(part) - len(part)
        at, window = end, _WINDOW
    return size > most


def parsed_size(text: bytes) -> int:
    """Bytes that the parsed text takes, about; more where its strings have such marks in them."""
    return len(text) + _OBJECT * text.count(b"{") + _LIST * text.count(b"[") + _VALUE * text.count(b",")
