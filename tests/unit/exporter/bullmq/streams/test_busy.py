"""The busy time: the integral of the number of active jobs over the time of the stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.streams import budget, read_round, state_file
from exporter.bullmq.streams.events import Entry, Jobs
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.streams.state_file import CheckpointFile
from exporter.config.bullmq import BullMQSettings
from tests.support.event_streams import MAIL, SteppedFollower, Streams, roll_back
from tests.support.key_servers import CACHE, Clock, DeploymentOf

ACTIVE = "bull:mail:active"
FollowerOf = Callable[[], SteppedFollower]


def entry(ms: int, number: int, text: str) -> Entry:
    event, job, *rest = text.split()
    fields = ["event", event, "jobId", job, *(word for pair in rest for word in pair.split("="))]
    return [b"%d-%d" % (ms, number), [field.encode() for field in fields]]


def fed(script: str, jobs: Jobs | None = None) -> Jobs:
    """Lines `<ms> event jobId field=value`, read to the end."""
    jobs = jobs or Jobs()
    lines = [line.strip().split(maxsplit=1) for line in script.strip().splitlines()]
    jobs.feed(entry(int(ms), number, text) for number, (ms, text) in enumerate(lines))
    jobs.settle()
    return jobs


@pytest.mark.parametrize(
    ("script", "until", "expected"),
    [
        ("100 added 1\n100 waiting 1", 900, 0),
        ("100 active 1", 900, 800),
        ("100 active 1\n300 completed 1", 900, 200),
        ("100 active 1\n200 active 2\n300 completed 1\n500 failed 2", 900, 500),
        ("100 active 1\n300 delayed 1 delay=9", 900, 200),
        ("100 active 1\n300 waiting 1 prev=active", 900, 200),
        ("100 active 1\n300 waiting 1 prev=active\n400 active 1", 900, 700),
        ("100 active 1\n300 waiting 1 prev=active\n300 stalled 1\n700 added 2", 900, 200),
        ("100 active 1\n300 waiting 1 prev=failed", 900, 200),
        ("100 active 1\n300 waiting 1 prev=delayed", 900, 200),
        ("100 active 1\n300 waiting-children 1\n500 active 1\n600 completed 1", 900, 300),
        ("100 active 1\n300 removed 1", 900, 200),
        ("100 active 1\n300 added 1", 900, 200),
        ("100 active 1\n300 active 1\n400 completed 1", 900, 300),
        ("100 completed 1\n200 delayed 2\n300 removed 3", 900, 0),
        ("100 active 1\n300 completed 1", 200, 200),
    ],
)
def test_the_busy_time_of_a_stream(script: str, until: int, expected: int) -> None:
    jobs = fed(script)
    jobs.advance(until)
    assert jobs.busy[0] == expected


def test_jobs_that_were_there_count_from_when_they_were_read() -> None:
    jobs = Jobs()
    jobs.seed([b"1", b"2"], 1000)
    assert jobs.busy == (0, 1000)
    fed("900 completed 3\n950 active 2\n1100 completed 1", jobs)
    jobs.advance(1300)
    assert jobs.busy[0] == 2 * 100 + 200


def test_without_a_time_they_count_from_the_next_that_is_known() -> None:
    jobs = Jobs()
    jobs.seed([b"1"])
    jobs.advance(1000)
    jobs.advance(1500)
    assert jobs.busy == (500, 1500)


def test_no_time_counts_twice_when_jobs_are_read_again() -> None:
    jobs = fed("1000 active 1")
    jobs.advance(2000)
    jobs.seed([b"2"], 1200)
    jobs.advance(2000)
    assert jobs.busy == (1000, 2000)


def test_what_is_forgotten_counts_until_then() -> None:
    jobs = fed("100 active 1\n100 active 2")
    jobs.advance(200)
    jobs.prune(101, waiting=True, active=False)
    jobs.advance(300)
    assert jobs.busy[0] == 200
    fed("400 active 3", jobs)
    jobs.forget()
    jobs.advance(900)
    assert jobs.busy[0] == 200


def test_a_clock_that_went_back_is_waited_for() -> None:
    jobs = fed("1000 active 1")
    for ms, busy in ((1500, 500), (200, 500), (1600, 600)):
        jobs.advance(ms)
        assert jobs.busy[0] == busy


@pytest.mark.parametrize("busy", [(-1, 0), (0, -1), (1,), ("x", 1), (None, 1)])
def test_an_invalid_busy_time_changes_nothing(busy: tuple[int, int]) -> None:
    jobs = fed("100 active 1\n300 completed 1")
    with pytest.raises((TypeError, ValueError)):
        jobs.restore(fed("1 active 7").dump(), busy)
    assert (jobs.busy, jobs.remembered) == ((200, 0), 0)


ENDS = (
    "completed {}", "failed {}", "delayed {}", "waiting {} prev=active", "waiting {} prev=failed",
    "waiting-children {}", "removed {}",
)  # fmt: skip


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 3000), st.sampled_from(ENDS)), max_size=30),
    st.lists(st.integers(0, 40)),
    st.integers(0, 9000),
)
def test_it_is_the_sum_of_the_attempts(
    attempts: list[tuple[int, int, str]], looks: list[int], until: int
) -> None:
    """Of those that still run, up to the present; wherever the reader looked meanwhile."""
    script = [(start, 0, job, f"active {job}") for job, (start, _, _) in enumerate(attempts)]
    script += [(start + ms, 1, job, end.format(job)) for job, (start, ms, end) in enumerate(attempts)]
    script.sort()
    shown = [(ms, text) for ms, _, _, text in script if ms <= until]
    jobs = Jobs()
    for number, (ms, text) in enumerate(shown):
        jobs.feed([entry(ms, number, text)])
        if number in looks:
            jobs.settle()
            later = shown[number + 1][0] if number + 1 < len(shown) else until
            jobs.advance((ms + later) // 2)
    jobs.settle()
    jobs.advance(until)
    assert jobs.busy[0] == sum(max(0, min(start + ms, until) - start) for start, ms, _ in attempts)


ANY_MS = st.integers(0, 10_000)
EVENTS = (
    "added", "waiting", "waiting {} prev=active", "waiting {} prev=failed", "active", "active", "completed",
    "failed", "delayed", "stalled", "removed", "waiting-children",
)  # fmt: skip


def event(ms: int, text: str, job: int) -> Entry:
    return entry(ms, 0, text.format(job) if "{}" in text else f"{text} {job}")


CHANGES: st.SearchStrategy[Callable[[Jobs], object]] = st.one_of(
    st.builds(event, ANY_MS, st.sampled_from(EVENTS), st.integers(0, 5)).map(
        lambda entry: lambda jobs: jobs.feed([entry])
    ),
    ANY_MS.map(lambda ms: lambda jobs: jobs.advance(ms)),
    st.tuples(st.lists(st.sampled_from([b"1", b"2", b"8"])), ANY_MS).map(
        lambda seeds: lambda jobs: jobs.seed(*seeds)
    ),
    st.tuples(ANY_MS, st.booleans(), st.booleans()).map(
        lambda pruned: lambda jobs: jobs.prune(pruned[0], waiting=pruned[1], active=pruned[2])
    ),
    st.sampled_from([Jobs.settle, Jobs.forget, Jobs.evict]),
)


@pytest.mark.slow
@given(st.lists(st.tuples(CHANGES, st.booleans()), max_size=60), st.integers(2, 20))
def test_it_never_falls(changes: list[tuple[Callable[[Jobs], object], bool]], max_jobs: int) -> None:
    """Whatever the ids and clocks are, and with a restart anywhere."""
    jobs, before = Jobs(max_jobs=max_jobs), 0
    for change, restart in changes:
        if restart:
            saved, busy = json.loads(json.dumps([jobs.dump(), jobs.busy]))
            jobs = Jobs(max_jobs=max_jobs)
            jobs.restore(saved, busy)
        change(jobs)
        assert jobs.busy[0] >= before
        before = jobs.busy[0]


# --- the follower ---


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def begin(
    server: Streams, connect: DeploymentOf, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> FollowerOf:
    """A follower with a state file; Redis' clock is at 10 s."""
    monkeypatch.setattr(state_file, "monotonic", clock)
    server.time_ms = 10_000

    def start() -> SteppedFollower:
        checkpoint = CheckpointFile(str(path))
        follower = Follower(connect(url=f"redis://{CACHE}"), BullMQSettings(), checkpoint=checkpoint)
        return SteppedFollower(follower, clock)

    return start


def test_it_goes_on_without_an_event_by_the_clock_of_redis(server: Streams, begin: FollowerOf) -> None:
    timed = begin()
    server.add(1000, "added 7")
    server.active[ACTIVE] = [b"7"]
    assert timed.events().busy_seconds == 0.0
    for time_ms, busy in ((12_000, 2.0), (11_000, 2.0), (13_500, 3.5)):
        server.time_ms = time_ms
        assert timed.events().busy_seconds == busy
    server.add(14_000, "active 8")
    server.add(14_250, "completed 7")
    server.time_ms = 15_000
    assert timed.events().busy_seconds == 3.5 + 0.5 + 2 * 0.25 + 0.75


def test_without_a_clock_it_goes_on_with_the_events(server: Streams, begin: FollowerOf) -> None:
    timed = begin()
    server.refused["TIME"] = "NOPERM no TIME"
    timed.round()
    server.add(14_000, "active 8")
    assert timed.events().busy_seconds == 0.0
    server.add(14_250, "completed 8")
    assert timed.events().busy_seconds == 0.25


def test_a_restart_goes_on_with_what_was_active(server: Streams, begin: FollowerOf) -> None:
    timed = begin()
    timed.round()
    server.add(10_500, "active 1", "active 2")
    server.time_ms = 11_000
    assert timed.events(seconds=10).busy_seconds == 1.0
    server.time_ms = 12_000
    assert timed.events(seconds=10).busy_seconds == 3.0
    timed.follower.stop()
    server.add(14_000, "completed 2")
    server.time_ms = 20_000
    assert begin().events().busy_seconds == 3.0 + 2 * 2.0 + 6.0


def test_a_state_file_without_it_begins_at_0(server: Streams, begin: FollowerOf, path: Path) -> None:
    timed = begin()
    timed.round()
    server.add(10_500, "active 1")
    server.time_ms = 11_000
    timed.events(seconds=10)
    timed.follower.stop()
    head, line = path.read_text().splitlines()
    known = json.loads(line)
    assert known.pop("busy") == [500, 11_000]
    path.write_text(f"{head}\n{json.dumps(known)}\n")
    again = begin()
    events = again.events()
    assert (events.counters.started, events.busy_seconds) == (1, 0.0)
    server.time_ms = 11_250
    assert again.events().busy_seconds == 0.25


def test_an_idle_queue_is_not_written_again(
    server: Streams, begin: FollowerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = begin()
    server.add(1000, "added 1")
    timed.round(seconds=10)
    timed.round(seconds=10)
    written: list[object] = []
    monkeypatch.setattr(state_file, "replace_file", lambda *given: written.append(given))
    server.time_ms = 20_000
    timed.round(seconds=10)
    assert written == []
    server.add(20_000, "active 1")
    timed.round(seconds=10)
    server.time_ms = 30_000
    timed.round(seconds=10)
    assert len(written) == 2


@pytest.mark.parametrize("restart", [True, False])
def test_a_time_in_which_events_were_lost_is_not_counted(
    server: Streams, begin: FollowerOf, *, restart: bool
) -> None:
    """The job may have ended at any time since: hours of it would be a lie."""
    timed = begin()
    timed.round()
    server.add(10_500, "active 1")
    server.time_ms = 11_000
    assert timed.events(seconds=10).busy_seconds == 0.5
    server.add(7_000_000, "completed 1", "active 2", "waiting 3", trim=2)
    server.time_ms = 7_001_000
    server.active[ACTIVE] = [b"2"]
    timed.follower.stop()
    timed = begin() if restart else timed
    events = timed.events(seconds=60)
    assert events.lost == 1
    seconds = events.busy_seconds
    assert seconds is not None
    assert 0.5 <= seconds <= 1.5
    server.time_ms = 7_002_000
    timed.round()
    server.time_ms = 7_003_000
    after = timed.events().busy_seconds
    assert after is not None
    assert 1.0 <= after - seconds <= 2.0


def test_jobs_that_are_read_again_after_a_loss_count_from_then_on(server: Streams, begin: FollowerOf) -> None:
    timed = begin()
    timed.round()
    server.add(10_500, *["added 1"] * 5, trim=2)
    server.time_ms = 11_000
    assert timed.events(seconds=12).lost == 3
    server.active[ACTIVE] = [b"7", b"8"]
    server.time_ms = 12_000
    assert timed.events().busy_seconds == 0.0
    server.time_ms = 12_500
    assert timed.events().busy_seconds == 1.0


def test_while_there_is_more_to_read_the_present_is_not_reached(
    server: Streams, begin: FollowerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (budget, read_round):
        monkeypatch.setattr(module, "BATCH", 10)
    timed = begin()
    timed.round()
    server.add(10_500, "active 1", *["added 2"] * 9)
    server.add(10_600, "completed 1")
    server.time_ms = 15_000
    timed.round()
    assert timed.events().busy_seconds == 0.1


def test_an_interruption_without_a_loss_is_counted(server: Streams, begin: FollowerOf) -> None:
    """All that is left of the stream is newer than what was read, and nothing between is missing."""
    timed = begin()
    server.add(10_500, "active 1")
    timed.round()
    server.time_ms = 11_000
    assert timed.events(seconds=10).busy_seconds == 0.5
    server.add(30_000, "completed 1", trim=1)
    server.time_ms = 31_000
    events = timed.events(seconds=60)
    assert (events.lost, events.busy_seconds) == (0, 19.5)


def test_events_that_redis_took_back_do_not_lower_it(server: Streams, begin: FollowerOf) -> None:
    timed = begin()
    timed.round()
    server.add(10_500, "active 1")
    server.add(11_500, "completed 1", "active 2")
    server.time_ms = 12_000
    assert timed.events().busy_seconds == 1.5
    roll_back(server, 2)
    server.time_ms = 12_500
    events = timed.events(seconds=20)
    assert events.undone == 2
    assert events.busy_seconds is not None
    assert events.busy_seconds >= 1.5
    assert MAIL in timed.follower.events()
