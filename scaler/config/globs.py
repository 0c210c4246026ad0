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
    def share_a_letter(a: str, b: str) -> bool:
        return any(fnmatchcase(letter, a) and fnmatchcase(letter, b) for letter in letters)

    # From the ends of both, row by row: names have no limit, and a recursion would.
    after: list[bool] = []
    for i in range(len(one), -1, -1):
        row = [False] * (len(two) + 1)
        for j in range(len(two), -1, -1):
            at_one, at_two = i < len(one), j < len(two)
            if at_one and one[i] == "*":
                row[j] = after[j] or (at_two and row[j + 1])
            elif at_two and two[j] == "*":
                row[j] = row[j + 1] or (at_one and after[j])
            elif at_one and at_two:
                row[j] = after[j + 1] and share_a_letter(one[i], two[j])
            else:
                row[j] = not at_one and not at_two
        after = row
    return after[0]
