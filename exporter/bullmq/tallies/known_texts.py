"""What texts are counted as: those that came lately are known, and new ones cost bounded time. No clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

BURST_SECONDS: Final = 5.0
"""So many seconds' tokens may be taken at once: as after a start, or where a backlog is read."""
_MOST_KNOWN: Final = 4096
_OF_EACH: Final = 40
"""A text takes as much time as so many of its bytes, besides those."""


class KnownTexts:
    """Of all queues. One that is fed by one thread at a time, as the follower does.

    A new text is looked at with a dozen regular expressions: thousands of them a second would take a whole
    core. So each takes as many tokens as it has bytes, and 40; without them it is not looked at.
    """

    def __init__(
        self, convert: Callable[[bytes], str], longest: int, take: Callable[[float], bool] | None = None
    ) -> None:
        """Of each text, `longest` bytes are converted; `take` takes tokens if they are there. None: any."""
        self._convert = convert
        self._longest = longest
        self._take = take
        self._known: dict[bytes, str] = {}

    def get(self, raw: bytes) -> str | None:
        """What it is counted as; None where too many new texts came before it."""
        raw = raw[: self._longest]
        text = self._known.pop(raw, None)
        if text is None:
            if self._take is not None and not self._take(_OF_EACH + len(raw)):
                return None
            text = self._convert(raw)
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
        self._known[raw] = text  # the last one, as it came now
        return text
