"""The checkpoint: how far each stream was read and what was counted, so that a restart goes on from there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from exporter.bullmq.sharding import owns
from exporter.bullmq.streams.events import split_id
from exporter.bullmq.streams.stream import Stream, StreamPosition
from exporter.config.shard import UNDIVIDED, QueueShard
from exporter.snapshot.queues import QueueId
from service.atomic_file import check_folder, replace_file
from service.clock import monotonic

log = logging.getLogger(__name__)

_FORMAT: Final = "oxherd event streams 1"
_SECONDS: Final = 5.0  # between two writes
_RETRY_SECONDS: Final = 60.0  # after one that failed
_FORGET_SECONDS: Final = 3600.0  # after which a queue that was not found again is not kept any more


class CheckpointFileError(Exception):
    """The file can be neither read nor written where it is; the text says why."""


class CheckpointFile:
    """Reads the file when constructed; `save` replaces it atomically, at most every few seconds.

    A file that cannot be used is set aside as NAME.unusable, and counting starts from 0. So do the queues of
    another shard, if they come back later: what was done meanwhile was counted there. Raises
    CheckpointFileError when the folder cannot be written to or the file cannot be read.
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
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            raw = b""
        except OSError as error:
            raise CheckpointFileError(f"cannot be read: {error.strerror}") from None
        self._known = self._usable(raw) if raw else {}

    def restore(self, queue: QueueId, stream: Stream) -> None:
        """Let the stream go on from where it was left, if the file knows it. Once for each queue."""
        known = self._known.pop(queue, None)
        if known is None:
            return
        try:
            position = StreamPosition(
                known["last"].encode(), *(known[name] for name in StreamPosition._fields[1:])
            )
            split_id(position.last)
            stream.jobs.restore(known["jobs"], known.get("busy", (0, 0)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            log.warning("checkpoint of a queue not usable", extra={"queue": queue.name})
            return
        stream.resume(position)

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
            log.warning("checkpoint not written", extra={"error": error.strerror or "OSError"})
            return False
        self._written = tuple(lines)
        return True

    def _usable(self, raw: bytes) -> dict[QueueId, dict[str, Any]]:
        try:
            head, *lines = map(json.loads, raw.decode("ascii").splitlines())
            known = {QueueId(line["prefix"], line["name"]): line for line in lines}
            if head == _FORMAT:
                kept = {queue: line for queue, line in known.items() if owns(self._shard, queue)}
                self._written = () if len(kept) == len(known) else None  # it is written again without them
                return kept
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        aside = self._path.with_name(self._path.name + ".unusable")
        with suppress(OSError):
            self._path.replace(aside)
        log.warning("checkpoint not usable, counting from 0", extra={"kept_as": str(aside)})
        return {}


def checkpoint_line(queue: QueueId, position: StreamPosition, stream: Stream) -> str:
    """One line of the file."""
    return _with_busy(_line(queue, position, stream), *stream.jobs.busy)


def _with_busy(line: str, busy_ms: int, until: int) -> str:
    """The busy time grows without an event: it is put in front of what changes only with one."""
    return f'{{"busy": [{busy_ms}, {until}], {line[1:]}'


def _line(queue: QueueId, position: StreamPosition, stream: Stream) -> str:
    named = position._asdict() | {"last": position.last.decode("ascii", "replace")}
    return json.dumps({"prefix": queue.prefix, "name": queue.name, **named, "jobs": stream.jobs.dump()})
