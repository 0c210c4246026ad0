"""The checkpoint: how far each stream was read and what was counted, so that a restart goes on from there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from exporter.bullmq.sharding import owns
from exporter.bullmq.streams.checkpoint_entry import CheckpointEntryError, check_entry, read_entry
from exporter.bullmq.streams.stream import Stream, StreamPosition
from exporter.config.shard import UNDIVIDED, QueueShard
from exporter.snapshot.queues import CheckpointWrites, QueueId
from service.clock import monotonic
from service.files.atomic_file import check_folder, replace_file
from service.files.regular_file import FileTooLargeError, read_regular_file

log = logging.getLogger(__name__)

_FORMAT: Final = "oxherd event streams 1"
_SECONDS: Final = 5.0  # between two writes
_RETRY_SECONDS: Final = 60.0  # after one that failed
_MOST_BYTES: Final = 128 << 20  # ten times what 10,000 busy queues have
_MOST_NAMED: Final = 10  # lines that cannot be used
_FORGET_SECONDS: Final = 3600.0  # after which a queue that was not found again is not kept any more


class CheckpointFileError(Exception):
    """The file can be neither read nor written where it is; the text says why."""


class CheckpointFile:
    """Reads the file when constructed; `save` replaces it atomically, at most every few seconds.

    A file that cannot be used is set aside as NAME.unusable, and counting starts from 0; a queue's line that
    cannot be is left out, with a copy of the file under that name. The queues of another shard start from 0
    too, if they come back later: what was done meanwhile was counted there. Raises CheckpointFileError when
    the folder cannot be written to or the file cannot be read.
    """

    def __init__(self, path: str, shard: QueueShard = UNDIVIDED) -> None:
        self._path = Path(path)
        self._shard = shard
        self._due = 0.0
        self._forget_at = monotonic() + _FORGET_SECONDS
        self._texts: dict[QueueId, tuple[tuple[object, ...], str]] = {}
        self._written: tuple[object, ...] | None = ()
        if problem := check_folder(self._path):
            raise CheckpointFileError(problem)
        self._errors = 0
        self._failing = ""
        try:
            raw = read_regular_file(self._path, _MOST_BYTES)
        except FileNotFoundError:
            raw = b""
        except OSError as error:
            raise CheckpointFileError(f"cannot be read: {error.strerror}") from None
        except FileTooLargeError as error:
            self._set_aside(str(error))
            raw = b""
        self._known = self._usable(raw) if raw else {}

    @property
    def writes(self) -> CheckpointWrites:
        """How writing it went since the start."""
        return CheckpointWrites(str(self._path), self._errors, self._failing)

    def restore(self, queue: QueueId, stream: Stream) -> None:
        """Let the stream go on from where it was left, if the file knows it. Once for each queue."""
        known = self._known.pop(queue, None)
        if known is None:
            return
        try:
            check_entry(known)
            stream.jobs.restore(known["jobs"], known.get("busy", (0, 0)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            log.warning("checkpoint of a queue not usable", extra={"queue": queue.name, "error": str(error)})
            return
        others: Any = (known.get(name) for name in StreamPosition._fields[1:])
        stream.resume(StreamPosition(known["last"].encode(), *others))

    def save(self, streams: Mapping[QueueId, Stream], *, at_once: bool = False) -> None:
        """Write all of them, if anything has changed and the last time is long enough ago.

        Queues that are not found yet since the start are kept as they were. Never raises for the disk.
        """
        at = monotonic()
        if at < self._due and not at_once:
            return
        if at >= self._forget_at:
            self._known = {}
        texts = {}
        for queue, stream in streams.items():
            position = stream.position()
            if position is None:
                continue
            # The counters are new objects after every event that was read: nothing else needs a comparison.
            mark = (position, stream.counters)
            before = self._texts.get(queue)
            if before is None or before[0][0] != position or before[0][1] is not stream.counters:
                before = (mark, _line(queue, position, stream))
            texts[queue] = before
        self._texts = texts
        lines = [_with_busy(text, *streams[queue].jobs.busy) for queue, (_, text) in texts.items()]
        lines += [json.dumps(known) for queue, known in self._known.items() if queue not in texts]
        if tuple(lines) == self._written:
            return
        self._due = at + (_SECONDS if self._write(lines) else _RETRY_SECONDS)

    def _write(self, lines: list[str]) -> bool:
        text = json.dumps(_FORMAT) + "\n" + "".join(f"{line}\n" for line in lines)
        try:
            replace_file(self._path, text.encode("ascii"))
        except OSError as error:
            self._errors += 1
            self._failing = error.strerror or "OSError"
            log.warning("checkpoint not written", extra={"error": self._failing})
            return False
        self._written, self._failing = tuple(lines), ""
        return True

    def _usable(self, raw: bytes) -> dict[QueueId, dict[str, Any]]:
        head, *lines = raw.splitlines() or [b""]
        if head.strip() != json.dumps(_FORMAT).encode():
            self._set_aside("it is no checkpoint of this version")
            return {}
        kept, bad = {}, []
        for number, line in enumerate(lines, 2):
            try:
                queue, entry = read_entry(line)
            except CheckpointEntryError as error:
                bad.append((number, str(error)))
                continue
            if owns(self._shard, queue):
                kept[queue] = entry
        if bad:
            self._leave_out(bad, raw)
        self._written = () if len(kept) == len(lines) else None  # it is written again without the others
        return kept

    def _leave_out(self, bad: Sequence[tuple[int, str]], raw: bytes) -> None:
        aside = self._aside
        with suppress(OSError):
            replace_file(aside, raw)
        for number, why in bad[:_MOST_NAMED]:
            log.warning("checkpoint line not usable", extra={"line": number, "error": why})
        log.warning("checkpoint partly usable", extra={"left_out": len(bad), "kept_as": str(aside)})

    def _set_aside(self, why: str) -> None:
        aside = self._aside
        with suppress(OSError):
            self._path.replace(aside)
        log.warning("checkpoint not usable, counting from 0", extra={"error": why, "kept_as": str(aside)})

    @property
    def _aside(self) -> Path:
        return self._path.with_name(self._path.name + ".unusable")


def checkpoint_line(queue: QueueId, position: StreamPosition, stream: Stream) -> str:
    """One line of the file."""
    return _with_busy(_line(queue, position, stream), *stream.jobs.busy)


def _with_busy(line: str, busy_ms: int, until: int) -> str:
    """The busy time grows without an event: it is put in front of what changes only with one."""
    return f'{{"busy": [{busy_ms}, {until}], {line[1:]}'


def _line(queue: QueueId, position: StreamPosition, stream: Stream) -> str:
    named = position._asdict() | {"last": position.last.decode("ascii", "replace")}
    return json.dumps({"prefix": queue.prefix, "name": queue.name, **named, "jobs": stream.jobs.dump()})
