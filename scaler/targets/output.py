"""What a worker prints, as lines of the log: so many bytes a second as they are written there, the rest is
left out and told. A worker never waits for the log; one that prints without end waits for its pipe."""

from __future__ import annotations

import json
import logging
import os
from typing import Final

from scaler.targets.lines import MAX_LINE_BYTES, Lines
from service.clock import monotonic
from service.rate_limit import TokenBucket

log = logging.getLogger(__name__)

WORKER_BYTES_PER_SECOND: Final = 32 << 10
"""Of one worker's output, as written to the log, in the long run."""

WORKER_BURST_BYTES: Final = 1 << 20
"""Of one worker's output at once: a start that prints much, a traceback, a dump."""

TARGET_BYTES_PER_SECOND: Final = 4 * WORKER_BYTES_PER_SECOND
"""Of all workers of a target together: their thread writes the log, and has other things to do."""

TARGET_BURST_BYTES: Final = 4 * WORKER_BURST_BYTES

_HEAD_BYTES: Final = 100
"""What the log adds to a line: time, level, event, name of the worker."""

_WRITTEN_PER_CHARACTER: Final = 12  # at most: one that cannot be printed is written as \u0000 or two of them
_READ_BYTES: Final = 1 << 16
_READS: Final = 4
_PAUSE_SECONDS: Final = 0.05
_REPORT_SECONDS: Final = 10.0


def target_budget() -> TokenBucket:
    """The bytes that the workers of one target share."""
    return TokenBucket(TARGET_BYTES_PER_SECOND, TARGET_BURST_BYTES)


class OutputLog:
    """Reads the pipe of one worker's output, and logs its lines. For one thread; nothing in here blocks."""

    def __init__(self, worker: str, pipe: int, target: TokenBucket) -> None:
        """`target` are the bytes that the workers of its target share."""
        self._worker = worker
        self._pipe = pipe
        self._target = target
        self._own = TokenBucket(WORKER_BYTES_PER_SECOND, WORKER_BURST_BYTES)
        self._lines = Lines()
        self._left_out = 0
        self._reported_at = monotonic()
        self.closed = False
        self.resume_at: float | None = None

    @property
    def listening(self) -> bool:
        """Whether the pipe is to be read as soon as there is something."""
        return not self.closed and self.resume_at is None

    def read(self) -> None:
        """Log what is there. After a limited number of reads it rests, and `resume_at` is set: the thread has
        other workers, and so it reads no more than 5 MiB a second of one."""
        for _ in range(_READS):
            try:
                received = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                return
            if not received:
                self.closed = True
                self._log(self._lines.end())
                return
            self._feed(received)
        self.resume_at = monotonic() + _PAUSE_SECONDS

    def resume(self, now: float) -> bool:
        """Whether a rest is over now. Reports what was left out, every 10 s at most."""
        if self._left_out and now - self._reported_at >= _REPORT_SECONDS:
            self._report(now)
        if self.resume_at is None or now < self.resume_at:
            return False
        self.resume_at = None
        return True

    def end(self) -> None:
        """The worker has exited: log the rest, also without a line feed, and report what was left out."""
        if not self.closed:
            self.read()
        self._log(self._lines.end())
        if self._left_out:
            self._report(monotonic())

    def _feed(self, received: bytes) -> None:
        room = int(min(self._own.available(), self._target.available()))
        if room < MAX_LINE_BYTES:
            room = 0
        first, rest = received[:room], received[room:]
        if first:
            self._log(self._lines.pieces(first))
        if rest:
            self._left_out += len(rest)
            self._lines.skip(rest)

    def _log(self, pieces: list[bytes]) -> None:
        """Those for which there is room; once there is none for a line, none is logged of the same read."""
        for index, piece in enumerate(pieces):
            for text in _parts(piece):
                size = _HEAD_BYTES + written_bytes(text)
                if self._own.available() < size or not self._target.take(size):
                    self._left_out += sum(len(rest) + 1 for rest in pieces[index:])
                    return
                self._own.take(size)
                log.info("worker output", extra={"worker": self._worker, "line": text})

    def _report(self, now: float) -> None:
        log.warning("worker output left out", extra={"worker": self._worker, "bytes": self._left_out})
        self._left_out, self._reported_at = 0, now


def written_bytes(text: str) -> int:
    """How many bytes the text takes in the log, at most; without the quotes."""
    return len(json.dumps(text)) - 2


def _parts(piece: bytes) -> list[str]:
    """The piece as text, in parts that take no more than a line may take as written."""
    text = piece.removesuffix(b"\r").decode(errors="replace")
    if written_bytes(text) <= MAX_LINE_BYTES:
        return [text]
    size = MAX_LINE_BYTES // _WRITTEN_PER_CHARACTER
    return [text[start : start + size] for start in range(0, len(text), size)]
