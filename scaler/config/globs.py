"""Whether two glob patterns can match the same name, as fnmatch reads them. Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

_TOKEN: Final = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
_ANY_OTHER: Final = "\x91"  # a letter that is in no pattern


def plain_length(pattern: str) -> int:
    """How many letters come before the first wildcard."""
    return next((index for index, letter in enumerate(pattern) if letter in "*?["), len(pattern))


def globs_overlap(first: str, second: str) -> bool:
    """Whether a name exists that both match; a name without wildcards matches itself."""
    least = min(plain_length(first), plain_length(second))
    if first[:least] != second[:least]:
        return False
    one, two = _TOKEN.findall(first), _TOKEN.findall(second)
    letters = {*first, *second, _ANY_OTHER}

    @cache
    def overlap(i: int, j: int) -> bool:
        if i == len(one) and j == len(two):
            return True
        if i < len(one) and one[i] == "*":
            return overlap(i + 1, j) or (j < len(two) and overlap(i, j + 1))
        if j < len(two) and two[j] == "*":
            return overlap(i, j + 1) or (i < len(one) and overlap(i + 1, j))
        if i == len(one) or j == len(two):
            return False
        both = any(fnmatchcase(letter, one[i]) and fnmatchcase(letter, two[j]) for letter in letters)
        return both and overlap(i + 1, j + 1)

    return overlap(0, 0)
