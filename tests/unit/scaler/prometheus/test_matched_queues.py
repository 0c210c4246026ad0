"""The queues of a target, over readings of which some lack a part."""

from __future__ import annotations

import pytest

from scaler.config.settings import TargetSettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.matched_queues import FORGET_SECONDS, MatchedQueues, observe_queues
from scaler.prometheus.parse import ExporterStatus, Reading
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.series_identity import Labels

A: Labels = frozenset({("job", "oxherd"), ("instance", "a")})
B: Labels = frozenset({("job", "oxherd"), ("instance", "b")})
OTHER: Labels = frozenset({("job", "another"), ("instance", "c")})
UP, DOWN = ExporterStatus(up=True), ExporterStatus(up=False)


def target(*queues: str) -> TargetSettings:
    return TargetSettings.model_validate({"name": "t", "queues": queues, "processes": {"command": ["x"]}})


def reading(*names: str, status: ExporterStatus | None = UP, at: float = 5.0, **more: object) -> Reading:
    keys = [QueueKey("bull", name) for name in names]
    exporters = {} if status is None else {A: status}
    return Reading({key: QueueSample(at, 1, 1) for key in keys}, dict.fromkeys(keys, A), exporters, **more)  # type: ignore[arg-type]


def over(settings: TargetSettings, *readings: Reading, seconds: float = 5.0) -> list[MatchedQueues]:
    known, results = MatchedQueues(), []
    for number, one in enumerate(readings):
        known = observe_queues(known, settings, one, number * seconds)
        results.append(known)
    return results


def names(known: MatchedQueues) -> dict[str, bool]:
    """Each queue of the target, and whether it is known."""
    return {key.name: isinstance(sample, QueueSample) for key, sample in known.samples.items()}


def test_a_pattern_remembers_what_it_matched() -> None:
    known = over(target("mail-*"), reading("mail-a", "mail-b", "video"), reading("mail-a", "video"))[-1]
    assert names(known) == {"mail-a": True, "mail-b": False}


def test_a_queue_that_a_healthy_exporter_does_not_have_for_long_is_gone() -> None:
    steps = over(
        target("mail-*"),
        reading("mail-a", "mail-b"),
        *(reading("mail-a") for _ in range(12)),
        seconds=FORGET_SECONDS / 10,
    )
    assert names(steps[10]) == {"mail-a": True, "mail-b": False}
    assert names(steps[11]) == {"mail-a": True}


@pytest.mark.parametrize(
    "hidden", [reading("mail-a", status=DOWN), reading(status=None)], ids=["up is 0", "no exporter"]
)
def test_a_queue_is_not_gone_while_no_exporter_says_so(hidden: Reading) -> None:
    steps = over(target("mail-*"), reading("mail-a", "mail-b"), *[hidden] * 50, seconds=FORGET_SECONDS / 10)
    assert names(steps[-1])["mail-b"] is False


def test_the_time_without_a_queue_begins_again_when_an_exporter_fails() -> None:
    ten = FORGET_SECONDS / 10
    readings = [reading("mail-a")] * 9 + [reading("mail-a", status=DOWN)] + [reading("mail-a")] * 9
    steps = over(target("mail-*"), reading("mail-a", "mail-b"), *readings, seconds=ten)
    assert "mail-b" in names(steps[-1])


def gone(*exporters: dict[Labels, ExporterStatus]) -> bool:
    """Whether a queue of exporter A is forgotten that none of these has for long."""
    both = [QueueKey("bull", "mail-a"), QueueKey("bull", "mail-b")]
    first, later = exporters[0], exporters[-1]
    samples = {key: QueueSample(5.0, 1, 1) for key in both}
    steps = over(
        target("mail-*"),
        Reading(samples, dict.fromkeys(both, A), first),
        *[Reading({both[0]: samples[both[0]]}, {both[0]: max(later, key=sorted)}, later)] * 12,
        seconds=FORGET_SECONDS / 10,
    )
    return names(steps[-1]) == {"mail-a": True}


def deployed(name: str | None, *, up: bool = True) -> ExporterStatus:
    return ExporterStatus(up=up, deployment=name)


@pytest.mark.parametrize(
    "other",
    [
        {OTHER: DOWN},
        {OTHER: deployed("y", up=False)},
        {B: deployed("y", up=False)},
        {B: deployed("x", up=False)},
    ],
    ids=["of another job", "of another job and Redis", "of another Redis", "another of its Redis"],
)
def test_an_exporter_that_does_not_have_to_know_a_queue_keeps_none_that_is_gone(
    other: dict[Labels, ExporterStatus],
) -> None:
    assert gone({A: deployed("x")} | other)


@pytest.mark.parametrize(
    "later",
    [
        {OTHER: UP},
        {A: DOWN, OTHER: UP},
        {A: deployed("x", up=False), B: deployed("y")},
        {A: UP, B: DOWN},
    ],
    ids=[
        "none of its job",
        "its own could not",
        "another Redis could",
        "one of its job could not",
    ],
)
def test_a_queue_is_not_gone_where_only_others_say_so(later: dict[Labels, ExporterStatus]) -> None:
    assert not gone({A: deployed("x"), B: deployed("y"), OTHER: UP}, later)


def test_a_queue_is_gone_where_the_next_exporter_of_its_job_or_redis_says_so() -> None:
    assert gone({A: UP}, {B: UP})
    assert gone({A: deployed("x")}, {B: deployed("y")})
    assert gone({A: deployed("x")}, {OTHER: deployed("x")})


def test_a_queue_that_is_listed_is_never_gone() -> None:
    steps = over(target("mail", "mail-retry"), *[reading("mail")] * 30, seconds=FORGET_SECONDS)
    assert names(steps[-1]) == {"mail": True, "mail-retry": False}


def test_queues_that_the_settings_do_not_name_any_more_are_forgotten() -> None:
    known = over(target("mail-*"), reading("mail-a", "post-a"))[-1]
    known = observe_queues(known, target("post-*"), reading("post-a"), 5.0)
    assert names(known) == {"post-a": True}


def test_a_pattern_may_match_more_where_an_exporter_could_not_read_all() -> None:
    known = over(target("mail-*"), reading("mail-a", status=DOWN))[-1]
    assert isinstance(known.unread, Missing)
    assert over(target("mail-a"), reading("mail-a", status=DOWN))[-1].unread is None
    assert over(target("mail-*"), reading("mail-a"))[-1].unread is None


@pytest.mark.parametrize(
    ("exporters", "unread"),
    [
        ({A: UP, B: DOWN}, True),
        ({A: ExporterStatus(up=True, deployment="x"), B: ExporterStatus(up=False, deployment="x")}, False),
        ({A: ExporterStatus(up=True, deployment="x"), B: ExporterStatus(up=False, deployment="y")}, True),
        ({A: UP, OTHER: DOWN}, False),
    ],
    ids=["not known of which Redis", "of the same Redis", "of another Redis", "of another job"],
)
def test_another_exporter_that_could_not_read_all(
    exporters: dict[Labels, ExporterStatus], *, unread: bool
) -> None:
    key = QueueKey("bull", "mail-a")
    known = over(target("mail-*"), Reading({key: QueueSample(5.0, 1, 1)}, {key: A}, exporters))[-1]
    assert (known.unread is not None) == unread


def test_a_sample_a_minute_older_than_the_others_is_missing() -> None:
    fresh, old = QueueKey("bull", "mail-a"), QueueKey("bull", "mail-b")
    both = Reading({fresh: QueueSample(100.0, 1, 1), old: QueueSample(39.0, 9, 9)})
    known = over(target("mail-*"), both)[-1]
    missing = known.samples[old]
    assert isinstance(missing, Missing)
    assert (missing.kind, names(known)) == ("stale", {"mail-a": True, "mail-b": False})


def sharded(number: int, shards: int = 3, *, up: bool = True) -> ExporterStatus:
    return ExporterStatus(up=up, deployment="d" if number == 1 else None, shard=(str(number), str(shards)))


SHARDS: dict[Labels, ExporterStatus] = {
    A: sharded(1),
    B: sharded(2),
    frozenset({("job", "oxherd"), ("instance", "c")}): sharded(3),
}


@pytest.mark.parametrize(
    ("later", "forgotten"),
    [
        (SHARDS, True),
        ({origin: status for origin, status in SHARDS.items() if origin != B}, False),
        (SHARDS | {B: sharded(2, up=False)}, False),
        ({A: sharded(1, 2), B: sharded(2, 2)}, True),
        ({A: sharded(1, 4), B: sharded(2, 4)}, False),
        ({A: sharded(1), B: sharded(1)}, False),
        ({A: ExporterStatus(up=True, deployment="d", shard=("1", "1"))}, True),
        ({A: ExporterStatus(up=True, deployment="d", shard=("1", "\u00b2"))}, False),
        ({A: ExporterStatus(up=True, deployment="d", shard=("1", "9" * 5000))}, False),
    ],
    ids=[
        *("all", "one gone", "one blind", "fewer", "more, some to come", "a pair of one", "undivided again"),
        *("no number", "no number that can be"),
    ],
)
def test_a_queue_of_shards_is_gone_only_when_all_of_them_read(
    later: dict[Labels, ExporterStatus], *, forgotten: bool
) -> None:
    assert gone(SHARDS, later) is forgotten


@pytest.mark.parametrize(
    ("exporters", "missing"),
    [
        (SHARDS, False),
        ({A: sharded(1), B: sharded(2)}, True),
        (SHARDS | {B: sharded(2, up=False)}, True),
        ({A: ExporterStatus(up=True, shard=("1", "1"))}, False),
    ],
)
def test_a_pattern_may_match_queues_of_a_shard_that_is_missing(
    exporters: dict[Labels, ExporterStatus], *, missing: bool
) -> None:
    """Also at the first look, when nothing is known of what the shard had."""
    key = QueueKey("bull", "mail-a")
    looked = Reading({key: QueueSample(5.0, 1, 1)}, {key: A}, exporters)
    known = over(target("mail-*"), looked)[-1]
    assert isinstance(known.unread, Missing) is missing
    assert over(target("mail-a"), looked)[-1].unread is None, "a name is of one shard"
