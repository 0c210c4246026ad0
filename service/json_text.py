"""JSON as it is read from other processes, and as it is written where a person may look at it. Pure.

What a text takes once it is parsed is bounded: 64 MB of empty lists become 1.6 GB. Each value costs Python
tens of bytes, each object hundreds, however short its text is. The estimate counts the marks of the text,
which takes a hundredth of the time of parsing it.
"""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Any, Final

MAX_MEMORY: Final = 256 << 20
"""Bytes that one parsed text may take, unless its reader asks for less."""

_OBJECT: Final = 200  # bytes of a dict with a few members, of which the text has nothing but two marks
_LIST: Final = 80
_VALUE: Final = 60
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_WHOLE: Final = re.compile(rb'(?:[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_WINDOW: Final = 1 << 18  # bytes that are looked at exactly at once: their strings are objects meanwhile
_LONGEST_INTEGER: Final = 20  # characters: 64 bits with a sign
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class TooLargeJsonError(ValueError):
    """The text would take more memory than it may; the message says how much."""


def read_json(raw: bytes, *, most: int = MAX_MEMORY) -> Any:
    """What every program can read and write again: JSON in UTF-8, each number finite and of at most 64 bits,
    each text of whole characters. Raises ValueError; TooLargeJsonError if its values would take more than
    about `most` bytes."""
    check_json_size(raw, most)
    try:
        value = json.loads(
            raw.decode("utf-8-sig"), parse_int=_integer, parse_float=_float, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _HALF.search(raw):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError for half a surrogate pair
    return value


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


def json_text(value: object) -> str:
    """JSON in one line; what would steer a terminal, or turn the direction of text, is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise ValueError("a number is too large")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
