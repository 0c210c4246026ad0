"""JSON as it is read from other processes, and as it is written where a person may look at it. Pure."""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Any, Final

from service.json_size import MAX_MEMORY, check_json_size

_LONGEST_INTEGER: Final = 20  # characters: 64 bits with a sign
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


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
