"""The state file, and streams that go on from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.bullmq import state_file as keep
from exporter.bullmq.follow import Follower
from exporter.bullmq.state_file import CheckpointFile, CheckpointFileError
from exporter.settings import BullMQSettings
from tests.support.event_streams import MAIL, OTHER, SteppedFollower, Streams, roll_back
from tests.support.key_servers import CACHE, Clock, DeploymentOf

Begin = Callable[..., SteppedFollower]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def begin(connect: DeploymentOf, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    monkeypatch.setattr(keep, "monotonic", clock)

    def made(**settings: object) -> SteppedFollower:
        checkpoint = CheckpointFile(str(path))
        bullmq = BullMQSettings.model_validate(settings)
        return SteppedFollower(
            Follower(connect(url=f"redis://{CACHE}"), bullmq, checkpoint=checkpoint), clock
        )

    return made


def test_a_restart_goes_on_from_the_stream(server: Streams, begin: Begin) -> None:
    one = begin()
    one.round()
    server.add(1000, "added 1", "waiting 1", "active 1", "added 2", "waiting 2")
    assert one.events(seconds=10).read == 5
    server.add(3000, "completed 1", "active 2", "delayed 2")
    again = begin()
    found = again.events()
    assert (found.read, found.lost, found.tallies.added, found.tallies.completed) == (8, 0, 2, 1)
    assert found.tallies.retried == 1
    assert (sum(found.tallies.wait.counts), found.tallies.processing["completed"].total) == (2, 2.0)
    assert found.since == pytest.approx(one.follower.events()[MAIL].since)


def test_nothing_is_told_before_the_stream_was_read_to_its_end(server: Streams, begin: Begin) -> None:
    one = begin()
    one.round()
    server.add(1000, "added 1")
    one.events(seconds=10)
    again = begin()
    again.follower._remember([MAIL])
    assert again.follower.events() == {}
    assert again.events().read == 1


def test_what_was_trimmed_in_between_is_lost(server: Streams, begin: Begin) -> None:
    one = begin()
    one.round()
    server.add(1000, "added 1")
    one.events(seconds=10)
    server.add(2000, *[f"added {n}" for n in range(2, 10)], trim=3)
    found = begin().events()
    assert (found.read, found.lost, found.tallies.added) == (4, 5, 4)


def test_a_stop_writes_at_once_and_writes_are_some_seconds_apart(
    server: Streams, begin: Begin, path: Path
) -> None:
    one = begin()
    one.round()
    server.add(500, "added 0")
    one.round(seconds=10)
    before = path.read_bytes()
    server.add(1000, "added 1")
    one.round(seconds=1)
    assert path.read_bytes() == before
    one.follower.stop()
    assert path.read_bytes() != before


def test_queues_that_are_not_found_yet_are_kept(server: Streams, begin: Begin, path: Path) -> None:
    one = begin()
    server.add(500, "added 1")
    server.add(500, "added 1", queue="other")
    one.round(MAIL, OTHER, seconds=10)
    again = begin()
    again.round(MAIL)
    again.follower.stop()
    assert {MAIL, OTHER} == set(CheckpointFile(str(path))._known)


def test_other_buckets_keep_the_counters(server: Streams, begin: Begin) -> None:
    one = begin()
    one.round()
    server.add(1000, "added 1", "waiting 1", "active 1")
    one.events(seconds=10)
    found = begin(event_buckets=[1, 2]).events()
    assert (found.tallies.started, sum(found.tallies.wait.counts)) == (1, 0)


@pytest.mark.parametrize(
    "torn",
    [b"{", b'"oxherd event streams 1"\n{"prefix": "bull"', b'"something else"\n', b"\xff", b"[]\n[]\n"],
)
def test_a_file_that_is_none_is_set_aside(path: Path, torn: bytes) -> None:
    path.write_bytes(torn)
    assert CheckpointFile(str(path))._known == {}
    assert path.with_name("state.unusable").read_bytes() == torn
    assert not path.exists()


def test_an_entry_that_makes_no_sense_costs_only_its_queue(server: Streams, begin: Begin, path: Path) -> None:
    one = begin()
    server.add(500, "added 1")
    server.add(500, "added 1", queue="other")
    one.round(MAIL, OTHER, seconds=10)
    server.add(600, "added 2")
    server.add(600, "added 2", queue="other")
    path.write_text(path.read_text().replace('"counts": [', '"counts": ["x", ', 1))
    found = begin()
    found.round(MAIL, OTHER)
    told = found.follower.events()
    assert sorted(each.tallies.added for each in (told[MAIL], told[OTHER])) == [0, 1]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointFileError, match=r"nowhere is not a folder"):
        CheckpointFile(str(tmp_path / "nowhere" / "state"))


def test_a_disk_that_is_full_costs_nothing_but_the_file(
    server: Streams, begin: Begin, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = begin()
    path.with_name("state.new").mkdir()
    one.round()
    server.add(1000, "added 1")
    assert one.events(seconds=10).read == 1
    assert "checkpoint not written" in caplog.text


def test_what_redis_lost_while_nobody_looked_is_told(server: Streams, begin: Begin) -> None:
    one = begin()
    one.round()
    server.add(1000, "added 1", "waiting 1", "added 2", "waiting 2")
    one.events(seconds=10)
    roll_back(server, 2)
    found = begin().events()
    assert (found.read, found.undone, found.tallies.added) == (4, 2, 2)
