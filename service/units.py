"""Seconds, bytes, ratios and names as a person reads them."""

from __future__ import annotations

import re
from typing import Final


def milliseconds(seconds: float | None) -> str:
    """0.5 ms, 12 ms, 1.5 s; nothing for None."""
    if seconds is None:
        return ""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def duration(seconds: float | None) -> str:
    """The two largest units: 3 d 4 h, 5 min 6 s, 7 s; nothing for None."""
    if seconds is None:
        return ""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"


def size(amount: float | None) -> str:
    """512 B, 1.5 MiB, 64 GiB; nothing for None."""
    if amount is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.1f} {unit}" if amount < 10 and unit != "B" else f"{amount:.0f} {unit}"


def percent(ratio: float | None) -> str:
    """99.5 %, 100 %; nothing for None."""
    return "" if ratio is None else f"{ratio * 100:.3g} %"


def count(number: float | None) -> str:
    """12,345; nothing for None."""
    return "" if number is None else f"{number:,.0f}"


def plain(number: float) -> str:
    """0.00123, 12.3, 1234: three digits, all those before the point, and never an exponent above one."""
    return f"{number:.0f}" if number >= 999.5 else f"{number:.3g}"


_BACKSLASHES: Final = re.compile(r"\\+(?=x[89a-f][0-9a-f]|[\udc80-\udcff])")


def readable(name: str) -> str:
    r"""A name from Redis as UTF-8: a key may be any bytes, those that are not UTF-8 become \xff.

    They are surrogates before (PEP 383), which no encoder accepts; two names never become the same "?", nor
    the same as one that has these four signs: before such and before such bytes backslashes are doubled.
    """
    if name.isascii() and "\\x" not in name:
        return name
    name = _BACKSLASHES.sub(lambda found: 2 * found[0], name)
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Without what would steer the terminal: names of queues come from outside."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def printable_lines(text: str) -> str:
    """`printable` of each line of a text of ours: its line ends stay."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))
