"""Changes inputs: their bytes, their lines and numbers, and the parts of data. Same seed, same inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeAlias

from exporter.redis.protocol import ReplyError

Tree: TypeAlias = Any
"""Data of JSON, or replies of Redis: lists, mappings, texts, bytes, numbers, None, ReplyError."""

NUMBERS: Final = (
    *(b"0", b"-1", b"1", b"007", b"2.5", b"-0", b"4294967296", b"9007199254740993", b"9223372036854775807"),
    *(b"9223372036854775808", b"-9223372036854775808", b"18446744073709551615", b"18446744073709551616"),
    *(b"1e400", b"-1e400", b"1e308", b"1e-320", b"nan", b"NaN", b"inf", b"+Inf", b"-Infinity", b"0x10"),
    *(b"9" * 25, b"9" * 400, b"9" * 5000, b"1_000", b" 1", b"\xc2\xb2", b"\xd9\xa3", b"\xef\xbc\x91"),
)
"""As texts: extremes, and what only looks like a number (superscript two, Arabic three, fullwidth one)."""

_SIGNS: Final = (
    *(b"", b"\0", b"\r\n", b"\n", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\xc2\x9b31m", b"'", b'"'),
    *(b"\\", b"{", b"}", b"[", b"]", b":", b",", b"=", b"@", b"%", b"<b>", b"&", b"\t", b" ", b"[" * 20),
    *(b"a" * 300, b"-", b"_", b"#", b"\xf0\x9f\x90\x82", b"null", b"true", b"*", b"|", b";", b"/", b"?"),
)
_DATA: Final[tuple[Tree, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 10**25, 10**400, 2.5),
    *(float("inf"), float("-inf"), float("nan"), 1e308, -0.0, 1e-320, "", " ", "NaN", "1e400", "\ud800"),
    *("\0", "\u00b2", "\u0663", "9" * 25, "9" * 5000, "-1", "a" * 300, [], {}, [[]], [{}], {"": None}),
)
_REPLIES: Final[tuple[Tree, ...]] = (
    *(None, 0, -1, 1, 2**31, 2**63 - 1, -(2**63), b"", b"0", b"\xff\xfe", b"none", [], [[]], [None]),
    *(ReplyError("MOVED 1 127.0.0.1:7001"), ReplyError("ASK 1 127.0.0.1:7001"), ReplyError("")),
    *(ReplyError("NOPERM no"), ReplyError("WRONGTYPE no"), ReplyError("ERR no"), ReplyError("LOADING no")),
)
_DEEP: Final = b"[" * 2000  # half a second for YAML: one word in so many
_ONE_DEEP: Final = 3000
_DIGITS: Final = re.compile(rb"\d+(?:\.\d+)?")
_MOST_BYTES: Final = 200_000
_DEEPEST: Final = 9  # lists within lists of replies: none that we ask for has more; JSON has three more
_DOWN: Final = 0.85  # how often a part of a container is changed rather than the container
_ONE_MORE: Final = 0.4  # how often a change is followed by another one: most often one place is odd
_MOST_CHANGES: Final = 4


class Mutator:
    """Makes inputs from others. `words`: what inputs of this kind have in them."""

    def __init__(self, random: Random, words: Sequence[bytes] = ()) -> None:
        self._random = random.random
        self._words = (*words, *_SIGNS, *NUMBERS)
        self._of_bytes: tuple[Callable[[bytes, bytes], bytes], ...] = (
            *(self._flip, self._insert_word, self._insert_word, self._replace_with_word, self._cut),
            *(self._repeat, self._swap_lines, self._drop_line, self._repeat_line, self._truncate),
            *(self._number, self._number, self._number, self._splice),
        )

    def changed_bytes(self, raw: bytes, other: bytes) -> bytes:
        """One to four changes; `other` is another input, of which a part may be taken."""
        for _ in range(self._changes()):
            raw = self._of_bytes[self._below(len(self._of_bytes))](raw, other)
        return raw[:_MOST_BYTES]

    def changed_data(self, data: Tree, other: Tree) -> Tree:
        """The same for data of JSON."""
        return self._changed(data, other, _DATA, _DEEPEST + 3)

    def changed_replies(self, replies: Tree, other: Tree) -> Tree:
        """The same for replies of Redis; the outermost list stays one."""
        changed = self._changed(replies, other, _REPLIES, _DEEPEST)
        return changed if isinstance(changed, list) else replies

    # --- bytes -------------------------------------------------------------------------------------------

    def _below(self, limit: int) -> int:
        return int(self._random() * limit)

    def _changes(self) -> int:
        changes = 1
        while changes < _MOST_CHANGES and self._random() < _ONE_MORE:
            changes += 1
        return changes

    def _word(self) -> bytes:
        return self._words[self._below(len(self._words))] if self._below(_ONE_DEEP) else _DEEP

    def _span(self, raw: bytes) -> tuple[int, int]:
        start = self._below(len(raw) + 1)
        return start, min(len(raw), start + 1 + self._below(1 << self._below(8)))

    def _flip(self, raw: bytes, _: bytes) -> bytes:
        if not raw:
            return raw
        at = self._below(len(raw))
        return raw[:at] + bytes((raw[at] ^ (1 << self._below(8)),)) + raw[at + 1 :]

    def _insert_word(self, raw: bytes, _: bytes) -> bytes:
        at = self._below(len(raw) + 1)
        return raw[:at] + self._word() + raw[at:]

    def _replace_with_word(self, raw: bytes, _: bytes) -> bytes:
        start, end = self._span(raw)
        return raw[:start] + self._word() + raw[end:]

    def _cut(self, raw: bytes, _: bytes) -> bytes:
        start, end = self._span(raw)
        return raw[:start] + raw[end:]

    def _repeat(self, raw: bytes, _: bytes) -> bytes:
        start, end = self._span(raw)
        return raw[:end] + raw[start:end] * (1 + self._below(20)) + raw[end:]

    def _lines(self, raw: bytes) -> tuple[list[bytes], int, int]:
        lines = raw.split(b"\n")
        return lines, self._below(len(lines)), self._below(len(lines))

    def _swap_lines(self, raw: bytes, _: bytes) -> bytes:
        lines, one, two = self._lines(raw)
        lines[one], lines[two] = lines[two], lines[one]
        return b"\n".join(lines)

    def _drop_line(self, raw: bytes, _: bytes) -> bytes:
        lines, one, _two = self._lines(raw)
        del lines[one]
        return b"\n".join(lines)

    def _repeat_line(self, raw: bytes, _: bytes) -> bytes:
        lines, one, two = self._lines(raw)
        lines.insert(two, lines[one])
        return b"\n".join(lines)

    def _truncate(self, raw: bytes, _: bytes) -> bytes:
        return raw[: self._below(len(raw) + 1)]

    def _number(self, raw: bytes, _: bytes) -> bytes:
        found = _DIGITS.search(raw, self._below(len(raw) + 1)) or _DIGITS.search(raw)
        if found is None:
            return raw
        return raw[: found.start()] + NUMBERS[self._below(len(NUMBERS))] + raw[found.end() :]

    def _splice(self, raw: bytes, other: bytes) -> bytes:
        start, end = self._span(other)
        at = self._below(len(raw) + 1)
        return raw[:at] + other[start : max(end, start + self._below(len(other) + 1))] + raw[at:]

    # --- data --------------------------------------------------------------------------------------------

    def _changed(self, data: Tree, other: Tree, extremes: Sequence[Tree], levels: int) -> Tree:
        for _ in range(self._changes()):
            data = self._within(data, other, extremes, levels)
        return data

    def _within(self, data: Tree, other: Tree, extremes: Sequence[Tree], levels: int) -> Tree:
        """One change somewhere in it; what is not changed is the same object. `levels`: so many containers
        may be within each other."""
        if isinstance(data, list) and data and self._random() < _DOWN:
            at = self._one_of(data, range(len(data)))
            return [*data[:at], self._within(data[at], other, extremes, levels - 1), *data[at + 1 :]]
        if isinstance(data, dict) and data and self._random() < _DOWN:
            key = self._one_of(data, list(data))
            return {**data, key: self._within(data[key], other, extremes, levels - 1)}
        made = self._instead(data, other, extremes)
        return made if _is_shallow(made, levels) else data

    def _one_of(self, data: Tree, keys: Sequence[Any]) -> Any:
        """A key, rather of a container: most of an input is below it, and the rest is in each answer."""
        key = keys[self._below(len(keys))]
        return key if isinstance(data[key], list | dict) else keys[self._below(len(keys))]

    def _instead(self, data: Tree, other: Tree, extremes: Sequence[Tree]) -> Tree:
        kind = self._random()
        if kind < 0.25:
            return extremes[self._below(len(extremes))]
        if kind < 0.35:
            return self._part(other)
        if isinstance(data, list):
            return self._list(data, other, extremes)
        if isinstance(data, dict):
            return self._mapping(data, extremes)
        return self._scalar(data, replies=extremes is _REPLIES)

    def _part(self, data: Tree) -> Tree:
        while isinstance(data, list | dict) and data and self._random() < _DOWN:
            values = data if isinstance(data, list) else list(data.values())
            data = values[self._below(len(values))]
        return data

    def _list(self, data: list[Tree], other: Tree, extremes: Sequence[Tree]) -> Tree:
        one, two = self._below(len(data) + 1), self._below(len(data) + 1)
        match self._below(7):
            case 0:
                return [*data[:one], *data[one + 1 :]]
            case 1:
                return [*data[:one], *data[one : one + 1], *data[one:]]
            case 2:
                return [*data[:one], extremes[self._below(len(extremes))], *data[one:]]
            case 3:
                return [*data[:one], self._part(other), *data[one:]]
            case 4:
                return data[min(one, two) : max(one, two)]
            case 5:
                times = 1 + self._below(50 if self._below(10) == 0 else 3)
                return data[one : one + 1] * times + data
        return [data]

    def _mapping(self, data: dict[Any, Tree], extremes: Sequence[Tree]) -> Tree:
        keys = list(data)
        one, two = (keys[self._below(len(keys))] if keys else "" for _ in range(2))
        match self._below(5):
            case 0:
                return {key: value for key, value in data.items() if key != one}
            case 1:
                return {**data, one: data.get(two)}
            case 2:
                word = self._word().decode("utf-8", "replace")
                return {(word if key == one else key): value for key, value in data.items()}
            case 3:
                word = self._word().decode("utf-8", "replace")
                return {**data, word: extremes[self._below(len(extremes))]}
        return list(data.values())

    def _scalar(self, data: Tree, *, replies: bool) -> Tree:
        match data:
            case bytes():
                return self.changed_bytes(data, self._word())
            case str():
                raw = data.encode("utf-8", "surrogatepass")
                return self.changed_bytes(raw, self._word()).decode("utf-8", "replace")
            case bool() | None:
                return [data]
            case int() | float():
                changed = (data + 1, data - 1, -data, data * 1000)[self._below(4)]
                if not replies:
                    return changed if self._below(5) else str(changed)
                return changed if self._below(5) and abs(changed) < 2**63 else b"%d" % changed
        return None


def _is_shallow(data: Tree, levels: int) -> bool:
    if isinstance(data, dict):
        data = data.values()
    elif not isinstance(data, list):
        return True
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in data)
