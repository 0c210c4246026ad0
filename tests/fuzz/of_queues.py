"""What is read of queues: their keys, their event streams, what Bull publishes, and the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from exporter.bullmq.bull.channels import ChannelMessage, MessageParser, NotPushedError, TooLargeError
from exporter.bullmq.bull.counts import plan_bull_queue, read_by_library
from exporter.bullmq.bull.jobs import BullJobs
from exporter.bullmq.bull.reading import largest, lengths, result_size_commands
from exporter.bullmq.bull.subscription import Subscription
from exporter.bullmq.candidates import TYPED_KEYS, classify, needs_a_closer_look
from exporter.bullmq.counts import REPLIES as COUNTED
from exporter.bullmq.counts import TAIL_REPLIES, Counts, plan_queue, with_tails
from exporter.bullmq.details import Moment, details, needs_due, with_details, with_due
from exporter.bullmq.keys import worker_queues
from exporter.bullmq.names.tally import NameTally
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.schedulers.reading import (
    commands,
    digest,
    members,
    names_by_data,
    parse_options,
    parse_scheduler,
    parse_second_look,
    second_look,
)
from exporter.bullmq.search import verify
from exporter.bullmq.search.own import OWN_COMMANDS, OwnRecords
from exporter.bullmq.still.states import _aged, _state
from exporter.bullmq.streams import state_file
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Jobs
from exporter.bullmq.streams.protocol import entries_of
from exporter.bullmq.streams.reader import Reader
from exporter.bullmq.streams.state_file import CheckpointFile
from exporter.bullmq.streams.stream import Stream
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.redis.protocol import Reply, ReplyError, Request
from exporter.snapshot.queues import BullMQState, Events, QueueId
from exporter.snapshot.whole import Snapshot
from service.clock import Deadline
from service.outcome import Failed, Ok, UnreadableError
from tests.fuzz.inputs import LINES, REPLIES, TEXT
from tests.fuzz.scratch import scratch
from tests.fuzz.search import REFUSED, Target
from tests.fuzz.shown import show

_MAIL: Final = QueueId("bull", "mail")
_PLANS: Final = (plan_queue(_MAIL), plan_bull_queue(_MAIL))
_NOW_MS: Final = 1_790_000_000_000
_MOMENT: Final = Moment(_NOW_MS)


class _Known:
    """What a queue's state needs besides its counts."""

    workers: Final = {_MAIL: 2}
    workers_unknown: Final[dict[QueueId, str]] = {}

    def __init__(self, library: str) -> None:
        self.libraries = {_MAIL: library}


def _show(counts: Counts, since: Any, library: str, events: Events | None = None) -> None:
    state = _state(_MAIL, counts, _Known(library), (10.0, None))  # type: ignore[arg-type]
    followed = {} if events is None else {_MAIL: events}
    queues = BullMQState((_aged(state, since, _NOW_MS),), {}, events=followed)
    show(Snapshot(_NOW_MS / 1000, bullmq=Ok(queues, 0.01)))


# --- keys ------------------------------------------------------------------------------------------------


def _queue(replies: list[Reply]) -> object:
    """Each reply is one of a request that is complete: too few are none, as of a connection that was lost."""
    if not replies:
        return REFUSED
    shown, taken = REFUSED, cycle(replies)
    counted = list(islice(taken, COUNTED))
    for plan in _PLANS:
        counts = read_by_library(plan, counted)
        if not isinstance(counts, Counts):
            continue
        tailed = with_tails(counts, list(islice(taken, TAIL_REPLIES))) if counts.open_tails else counts
        if not isinstance(tailed, Counts):
            continue
        asked = details(plan, tailed, _MOMENT)
        detailed = with_details(tailed, list(islice(taken, len(asked))), _NOW_MS)
        if isinstance(detailed, ReplyError):
            continue
        known, since = detailed
        if needs_due(known, since, _NOW_MS):
            due = with_due(known, list(islice(taken, 2)))
            known = due if isinstance(due, Counts) else known
        _show(known, since, plan.library)
        shown = None
    return shown


def _own(replies: list[Reply]) -> object:
    records = OwnRecords()
    if len(replies) < len(OWN_COMMANDS):
        return REFUSED
    for at in (0.0, 1.0, 100.0):
        records.take(_MAIL, replies[: len(OWN_COMMANDS)], at)
    return None


def _candidate(replies: list[Reply]) -> object:
    count = len(TYPED_KEYS) + 1
    if len(replies) < count:
        return REFUSED
    evidence = verify._evidence(replies[:count], worker=False)
    rest = replies[count:]
    if not isinstance(evidence, Failed):
        needs_a_closer_look(evidence)
        classify(evidence)
        verify._probes(_MAIL, evidence)
        verify._jobs(rest)
    for reply in rest:
        verify._begins_with_event(reply)
        verify._is_job(reply)
    return REFUSED if isinstance(evidence, Failed) else None


def _schedulers(replies: list[Reply]) -> object:
    if not replies:
        return REFUSED
    head, *rest = replies
    taken = cycle(rest or [None])
    for library in ("bullmq", "bull"):
        for member in members(head, library)[:20]:
            asked = commands(_MAIL, member, library)
            parse_scheduler(member, library, list(islice(taken, len(asked))))
            more = second_look(_MAIL, member, library)
            parse_second_look(member, library, list(islice(taken, len(more))))
    for reply in rest:
        parse_options(reply)
        digest(reply)
        if isinstance(reply, bytes):
            names_by_data(reply.decode("utf-8", "replace"))
            worker_queues(reply.decode("utf-8", "surrogateescape"), ())
    return None if members(head, "bullmq") or members(head, "bull") else REFUSED


# --- event streams ---------------------------------------------------------------------------------------


def _counting() -> Jobs:
    names = NameTally(LabelBudget(10), 3, DEFAULT_BUCKETS, native=True, max_jobs=50)
    return Jobs(native=True, max_jobs=50, reasons=ReasonTally(LabelBudget(10), 3), names=names)


def _events(replies: list[Reply]) -> object:
    """Entries as XREAD has them, in two parts; the counters of all of them together."""
    read = entries_of([[b"bull:mail:events", replies]])
    entries = [] if isinstance(read, ReplyError) else read[b"bull:mail:events"]
    jobs = _counting()
    jobs.feed(entries[: len(entries) // 2])
    jobs.settle()
    jobs.advance(_NOW_MS)
    jobs.feed(entries[len(entries) // 2 :])
    jobs.prune(_NOW_MS, waiting=False, active=True)
    counters = jobs.counters()
    again = _counting()
    again.restore(jobs.dump(), jobs.busy)
    assert again.counters() == counters
    busy = jobs.busy_at(_NOW_MS + 1000) / 1000
    events = Events(counters, 1, 0, 0.0, since=1.0, busy_seconds=busy)
    state = BullMQState((), {}, events={_MAIL: events})
    show(Snapshot(_NOW_MS / 1000, bullmq=Ok(state, 0.01)))
    return None if entries else REFUSED


class _Answers:
    """A follower whose node answers with what it is given, over and over."""

    slowdown: Final = 1.0

    def __init__(self, replies: list[Reply]) -> None:
        self.started_ms = _NOW_MS
        self._replies: Iterator[Reply] = cycle(replies)
        self._left = 2000

    def execute(self, _: str, request: Request) -> list[Reply] | Failed:
        self._left -= request.replies
        if self._left < 0:
            return Failed("timeout", "that is all")
        return list(islice(self._replies, request.replies))

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fed(self) -> None:
        """Nobody waits for it."""

    def handle_error(self, stream: Stream, error: ReplyError) -> None:
        stream.refused = str(error)

    def report(self, kind: str, text: str, event: str = "") -> None:
        """It would be logged."""


def _streams(replies: list[Reply]) -> object:
    """Rounds of a reader: whatever order of answers comes, the next round has to be possible."""
    if not replies:
        return REFUSED
    reader = Reader(_Answers(replies), "127.0.0.1:7001")
    streams = [Stream(QueueId("bull", name), Jobs(), 1.0) for name in ("mail", "other")]
    for stream in streams:
        stream.set_owner("127.0.0.1:7001")
    reader.streams = streams
    for _ in range(4):
        reader.step()
    shown = REFUSED
    for stream in streams:
        stream.position()
        stream.mark(1e9)
        events = stream.events(1e9)
        if events is not None:
            shown = None
            state = BullMQState((), {}, events={stream.queue: events})
            show(Snapshot(_NOW_MS / 1000, bullmq=Ok(state, 0.01)))
    return shown


def _checkpoint(raw: bytes) -> object:
    """A file that has these bytes; nothing is written, which took a third of the time."""
    with (
        patch.object(state_file, "read_regular_file", lambda *_: raw),
        patch.object(state_file, "replace_file", _written),
    ):
        return _restored(CheckpointFile(str(scratch() / "exporter.state")))


def _written(_: Path, content: bytes) -> None:
    assert isinstance(content, bytes)


def _restored(checkpoint: CheckpointFile) -> object:
    streams = {
        QueueId("bull", name): Stream(QueueId("bull", name), Jobs(), 1.0) for name in ("mail", "other")
    }
    restored = REFUSED
    for queue, stream in streams.items():
        checkpoint.restore(queue, stream)
        if stream.last is not None:
            restored = None
            stream.nothing_new(1.0, _NOW_MS)
            events = stream.events(2.0)
            if events is not None:
                state = BullMQState((), {}, events={queue: events})
                show(Snapshot(_NOW_MS / 1000, bullmq=Ok(state, 0.01)))
    checkpoint.save(streams, at_once=True)
    return restored


# --- Bull ------------------------------------------------------------------------------------------------


def _pushes(raw: bytes) -> None:
    """The bytes of a subscribed connection, as they arrive: in two parts."""
    jobs, parser = BullJobs(1.0), MessageParser()
    for part in (raw[: len(raw) // 2], raw[len(raw) // 2 :]):
        for ms, received in enumerate(parser.feed(part), 1000):
            if isinstance(received, ChannelMessage):
                jobs.feed(received, ms)
    jobs.events()


class _Pushed:
    """A connection on which these bytes have arrived."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def receive(self, _: Deadline) -> bytes:
        raw, self._raw = self._raw, b""
        return raw

    def send(self, packed: bytes, deadline: Deadline) -> None:
        """Nobody reads it."""


def _subscription(raw: bytes) -> None:
    subscription = Subscription(_Pushed(raw), "127.0.0.1:7001")  # type: ignore[arg-type]
    subscription.ask([_MAIL])
    subscription.ping()
    subscription.receive(Deadline.after(1.0))
    subscription.follows(_MAIL)


def _bull(replies: list[Reply]) -> object:
    if len(replies) < 6:
        return REFUSED
    jobs = BullJobs(1.0)
    for with_active in (True, False):
        read = lengths(replies[: 5 + with_active])
        jobs.begin_active()
        jobs.seed_active(read.active_ids)
        jobs.count_ids(read.ids)
        jobs.missed(read.balance)
        jobs.remember(jobs.stock(read.balance))
        jobs.observe_active(read.active, 2000, jobs.running)
    result_size_commands(_MAIL, replies[:2])
    largest(replies)
    state = BullMQState((), {}, events={_MAIL: jobs.events()})
    show(Snapshot(_NOW_MS / 1000, bullmq=Ok(state, 0.01)))
    return None


_EVENT_WORDS: Final = (
    *(b"event", b"jobId", b"prev", b"active", b"waiting", b"completed", b"failed", b"delayed", b"stalled"),
    *(b"added", b"removed", b"1790000000000-0", b"1790000000000-18446744073709551615", b"0-0", b"-", b"1-"),
)
TARGETS_OF_QUEUES: Final = (
    Target("queue", REPLIES, _queue, words=(b"0:1", b"0", b"5.1", b"bullmq:5.1.0", b'{"delay":1}')),
    Target("own_counts", REPLIES, _own),
    Target("candidate", REPLIES, _candidate, words=(b"stream", b"hash", b"list", b"zset", b"event")),
    Target(
        "schedulers", REPLIES, _schedulers, words=(b":::", b"every", b"repeat", b'{"repeat":{"count":1}}')
    ),
    Target("events", REPLIES, _events, words=_EVENT_WORDS),
    Target("streams", REPLIES, _streams, words=(*_EVENT_WORDS, b"entries-added", b"last-generated-id")),
    Target("checkpoint", LINES, lambda data: _checkpoint(LINES.encoded(data))),
    Target(
        "checkpoint_text",
        TEXT,
        _checkpoint,
        seeds=("public_interface/exporter-state.txt",),
        words=(b'"last"', b'"read"', b'"jobs"', b"null", b"[]", b"{}", b'"busy"', b'"counts"'),
    ),
    Target(
        "pushes",
        TEXT,
        _pushes,
        (NotPushedError, TooLargeError),
        words=(
            b"$-1\r\n",
            b"*4\r\n",
            b"*-1\r\n",
            b":1\r\n",
            b"+PONG\r\n",
            b"-ERR no\r\n",
            b"bull:mail:active@1",
        ),
    ),
    Target("subscription", TEXT, _subscription, (TooLargeError, UnreadableError)),
    Target("bull_keys", REPLIES, _bull),
)
