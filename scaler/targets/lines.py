"""A stream of bytes as lines. Pure."""

from __future__ import annotations

from typing import Final

MAX_LINE_BYTES: Final = 8000
"""A longer line is split into several."""


class Lines:
    """Splits a stream of bytes into lines of text."""

    def __init__(self) -> None:
        self._partial = b""
        self._skipping = False

    def feed(self, received: bytes) -> list[str]:
        """The lines that are complete now."""
        return [_text(piece) for piece in self.pieces(received)]

    def pieces(self, received: bytes) -> list[bytes]:
        """The same as bytes."""
        if self._skipping:
            _, found, received = received.partition(b"\n")
            if not found:
                return []
            self._skipping = False
        *complete, partial = (self._partial + received).split(b"\n")
        while len(partial) >= MAX_LINE_BYTES:
            complete.append(partial[:MAX_LINE_BYTES])
            partial = partial[MAX_LINE_BYTES:]
        self._partial = partial
        return [part for line in complete for part in _parts(line)]

    def skip(self, received: bytes) -> None:
        """Leave out what was received, with the whole of the line in which it ends."""
        self._partial = b""
        self._skipping = not received.endswith(b"\n")

    def end(self) -> list[bytes]:
        """The last line, if it has no line feed."""
        partial, self._partial = self._partial, b""
        return [partial] if partial else []


def _parts(line: bytes) -> list[bytes]:
    return [line[start : start + MAX_LINE_BYTES] for start in range(0, len(line), MAX_LINE_BYTES)] or [line]


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")
