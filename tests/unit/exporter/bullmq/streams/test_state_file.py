"""The state file, and streams that go on from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.bullmq.sharding import shard_number
from exporter.bullmq.streams import state_file
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.streams.state_file import CheckpointFile, CheckpointFileError
from exporter.config.bullmq import BullMQSettings
from exporter.config.shard import QueueShard
from exporter.snapshot.queues import QueueId
from tests.support.event_streams import MAIL, OTHER, SteppedFollower, Streams, roll_back
from tests.support.key_servers import CACHE, Clock, DeploymentOf

Begin = Callable[..., SteppedFollower]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def begin(connect: DeploymentOf, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    monkeypatch.setattr(state_file, "monotonic", clock)

    def start(**settings: object) -> SteppedFollower:
        checkpoint = CheckpointFile(str(path))
        bullmq = BullMQSettings.model_validate(settings)
        return SteppedFollower(
            Follower(connect(url=f"redis://{CACHE}"), bullmq, checkpoint=checkpoint), clock
        )

    return start


def test_a_restart_goes_on_from_the_stream(server: Streams, begin: Begin) -> None:
    timed = begin()
    timed.round()
    server.add(1000, "added 1", "waiting 1", "active 1", "added 2", "waiting 2")
    assert timed.events(seconds=10).read == 5
    server.add(3000, "completed 1", "active 2", "delayed 2")
    again = begin()
    events = again.events()
    assert (events.read, events.lost, events.counters.added, events.counters.completed) == (8, 0, 2, 1)
    assert events.counters.retried == 1
    assert (sum(events.counters.wait.counts), events.counters.processing["completed"].total) == (2, 2.0)
    assert events.since == pytest.approx(timed.follower.events()[MAIL].since)


def test_nothing_is_published_before_the_stream_was_read_to_its_end(server: Streams, begin: Begin) -> None:
    timed = begin()
    timed.round()
    server.add(1000, "added 1")
    timed.events(seconds=10)
    again = begin()
    again.follower._update_streams([MAIL])
    assert again.follower.events() == {}
    assert again.events().read == 1


def test_what_was_trimmed_in_between_is_lost(server: Streams, begin: Begin) -> None:
    timed = begin()
    timed.round()
    server.add(1000, "added 1")
    timed.events(seconds=10)
    server.add(2000, *[f"added {n}" for n in range(2, 10)], trim=3)
    events = begin().events()
    assert (events.read, events.lost, events.counters.added) == (4, 5, 4)


def test_a_stop_writes_at_once_and_writes_are_some_seconds_apart(
    server: Streams, begin: Begin, path: Path
) -> None:
    timed = begin()
    timed.round()
    server.add(500, "added 0")
    timed.round(seconds=10)
    before = path.read_bytes()
    server.add(1000, "added 1")
    timed.round(seconds=1)
    assert path.read_bytes() == before
    timed.follower.stop()
    assert path.read_bytes() != before


def test_queues_that_are_not_found_yet_are_kept(server: Streams, begin: Begin, path: Path) -> None:
    timed = begin()
    server.add(500, "added 1")
    server.add(500, "added 1", queue="other")
    timed.round(MAIL, OTHER, seconds=10)
    again = begin()
    again.round(MAIL)
    again.follower.stop()
    assert {MAIL, OTHER} == set(CheckpointFile(str(path))._known)


def test_other_buckets_keep_the_counters(server: Streams, begin: Begin) -> None:
    timed = begin()
    timed.round()
    server.add(1000, "added 1", "waiting 1", "active 1")
    timed.events(seconds=10)
    events = begin(event_buckets=[1, 2]).events()
    assert (events.counters.started, sum(events.counters.wait.counts)) == (1, 0)


def test_totals_count_from_the_start_and_never_less(server: Streams, begin: Begin) -> None:
    timed = begin()
    timed.round(MAIL, OTHER)
    server.add(1000, "added 1", "added 2")
    server.add(1000, "added 1", queue="other")
    timed.round(MAIL, OTHER, seconds=10)
    assert timed.follower.totals() == (3, 0, 0)
    timed.round(MAIL, seconds=10)  # the other queue is gone
    assert timed.follower.totals() == (3, 0, 0)
    timed.round(MAIL, OTHER, seconds=10)
    server.add(2000, "added 2", queue="other")
    timed.round(MAIL, OTHER, seconds=10)
    assert timed.follower.totals() == (4, 0, 0)
    timed.follower.stop()
    again = begin()
    assert again.follower.totals() == (0, 0, 0)
    again.round(MAIL, OTHER, seconds=10)
    assert again.follower.totals() == (0, 0, 0)  # what it goes on from was read by another process
    server.add(3000, "added 3")
    again.round(MAIL, OTHER, seconds=10)
    assert again.follower.totals() == (1, 0, 0)


def test_native_histograms_go_on(server: Streams, begin: Begin) -> None:
    timed = begin(histograms="native")
    timed.round()
    server.add(1000, "added 1", "waiting 1")
    server.add(1500, "active 1")
    timed.events(seconds=10)
    server.add(4500, "completed 1")
    native = begin(histograms="native").events().counters.native
    assert native is not None
    assert native.wait.buckets == [(-8, 1)]
    assert native.processing["completed"].buckets == [(13, 1)]
    assert begin().events().counters.native is None


@pytest.mark.parametrize(
    "torn",
    [b"{", b'"oxherd event stre', b'"something else"\n', b"\xff", b"[]\n[]\n"],
)
def test_a_file_that_is_none_is_set_aside(path: Path, torn: bytes) -> None:
    path.write_bytes(torn)
    assert CheckpointFile(str(path))._known == {}
    assert path.with_name("state.unusable").read_bytes() == torn
    assert not path.exists()


def test_an_invalid_entry_affects_only_its_queue(server: Streams, begin: Begin, path: Path) -> None:
    timed = begin()
    server.add(500, "added 1")
    server.add(500, "added 1", queue="other")
    timed.round(MAIL, OTHER, seconds=10)
    server.add(600, "added 2")
    server.add(600, "added 2", queue="other")
    path.write_text(path.read_text().replace('"counts": [', '"counts": ["x", ', 1))
    restarted = begin()
    restarted.round(MAIL, OTHER)
    events = restarted.follower.events()
    assert {events[queue].counters.added for queue in (MAIL, OTHER)} == {0, 1}


@pytest.mark.fault
def test_a_bad_line_is_named_and_the_others_go_on(
    server: Streams, begin: Begin, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timed = begin()
    server.add(500, "added 1")
    server.add(500, "added 1", queue="other")
    timed.round(MAIL, OTHER, seconds=10)
    server.add(600, "added 2")
    timed.round(MAIL, OTHER, seconds=10)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])  # torn
    restarted = begin()
    restarted.round(MAIL, OTHER)
    assert {events.counters.added for events in restarted.follower.events().values()} == {0, 1}
    lines = [vars(record).get("line") for record in caplog.records]
    assert 3 in lines
    assert path.with_name("state.unusable").read_bytes() == whole[:-40]


@pytest.mark.fault
@pytest.mark.timeout(10)
def test_a_fifo_is_refused_and_a_huge_file_is_set_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(path)
    with pytest.raises(CheckpointFileError, match="not a regular file"):
        CheckpointFile(str(path))
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert CheckpointFile(str(path))._known == {}
    assert path.with_name("state.unusable").exists()
    assert "larger than 128 MiB" in str(vars(caplog.records[-1])["error"])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointFileError, match=r"nowhere is not a folder"):
        CheckpointFile(str(tmp_path / "nowhere" / "state"))


@pytest.mark.fault
def test_a_full_disk_affects_only_the_file(
    server: Streams, begin: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    timed = begin()
    with monkeypatch.context() as disk:  # of its own: the clock is that of `monkeypatch`
        disk.setattr(os, "fsync", full)
        timed.round()
        server.add(1000, "added 1")
        assert timed.events(seconds=10).read == 1
    assert "checkpoint not written" in caplog.text
    failed = timed.follower.checkpoint_writes()
    assert failed is not None
    assert (failed.errors > 0, failed.failing) == (True, "No space left on device")
    server.add(2000, "added 2")
    timed.round(seconds=100)
    assert timed.follower.checkpoint_writes() == failed._replace(failing="")


def test_events_that_redis_lost_in_between_are_reported(server: Streams, begin: Begin) -> None:
    timed = begin()
    timed.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    timed.events(seconds=10)
    roll_back(server, 2)
    events = begin().events()
    assert (events.read, events.undone, events.counters.added) == (4, 2, 2)


def test_a_queue_of_another_shard_begins_anew_if_it_comes_back(
    server: Streams, connect: DeploymentOf, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done while another shard counted it is no work of this one: no jump of its counters."""
    monkeypatch.setattr(state_file, "monotonic", clock)
    shards = next(shards for shards in range(2, 50) if shard_number(MAIL, shards) != 1)

    def counted(shard: QueueShard, *queues: QueueId) -> tuple[int | None, int] | None:
        checkpoint = CheckpointFile(str(path), shard)
        follower = Follower(connect(url=f"redis://{CACHE}"), BullMQSettings(), checkpoint=checkpoint)
        for _ in range(10):
            clock.now += 2
            follower.step(queues)
        follower.stop()
        events = follower.events().get(MAIL)
        return (events.counters.added, events.counters.completed) if events else None

    server.add(1000, "added 1", "waiting 1")
    assert counted(QueueShard(1, 1), MAIL) == (0, 0)
    server.add(2000, "active 1", "completed 1", "added 2", "waiting 2")
    assert counted(QueueShard(1, 1), MAIL) == (1, 1), "a restart goes on"
    assert counted(QueueShard(1, shards)) is None
    server.add(3000, "active 2", "completed 2", "added 3", "waiting 3")
    assert counted(QueueShard(1, 1), MAIL) == (0, 0), "and what moved away and back does not"
