"""The plan of a soak, and what counts as wrong in it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from binascii import crc_hqx
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from bench.faults.__main__ import kinds_of
from bench.faults.outcome import Look, Outcome, findings, usable, windows_of
from bench.faults.plan import EVERY, LOADS, SECONDS, Fault, arrivals, excused, faults
from bench.programs import JobTimes

LOAD = LOADS[0]
PAUSE = Fault("pause", LOAD.name, 100.0, 130.0)
RIGHT = Outcome(
    LOAD,
    [JobTimes(10.0, 12.0, 13.0, "a"), JobTimes(95.0, 135.0, 136.0, "b")],
    [Look(float(at), 0, 2, 2, 2, "2 workers") for at in range(200)],
    added={"a", "b"},
    failed=set(),
    begun={"a": 1, "b": 1},
    killed=[],
    starts=2,
    stopped={},
    unseen=[],
    unheard=set(),
)


def test_every_kind_of_fault_comes_before_any_comes_again() -> None:
    planned = faults(3600.0, Random(1))
    kinds = Counter(fault.kind for fault in planned)
    assert set(kinds) == set(SECONDS)
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert all(fault.end + EVERY <= 3600.0 + SECONDS[fault.kind] for fault in planned)


def test_each_load_comes_at_its_rate() -> None:
    jobs = arrivals(36_000.0, Random(1))
    assert jobs == sorted(jobs, key=lambda job: job.at)
    for load in LOADS:
        count = sum(job.load == load for job in jobs)
        assert count == pytest.approx(1.5 * load.rate * 36_000, rel=0.1)


def test_a_wait_is_excused_as_far_as_a_fault_lasts() -> None:
    windows = [(10.0, 20.0), (30.0, 40.0)]
    assert excused((15.0, 35.0), windows) == 10.0
    assert excused((20.0, 30.0), windows) == 0.0


def test_nothing_is_wrong_with_a_wait_that_a_pause_explains() -> None:
    assert list(findings(RIGHT, [PAUSE])) == []
    assert [line for line in findings(RIGHT, []) if "starved" in line]
    other = replace(PAUSE, load=LOADS[1].name)
    assert [line for line in findings(RIGHT, [other]) if "starved" in line]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(RIGHT, added={"a", "b", "c"}), "1 jobs lost: c"),
        (replace(RIGHT, added={"a", "b", "c", "d"}, unheard={"c"}), "1 jobs lost: d"),
        (replace(RIGHT, added={"a", "b", "c"}, failed={"c"}), "1 jobs failed: c"),
        (replace(RIGHT, begun={"a": 2, "b": 1}), "1 jobs begun too often: a"),
        (replace(RIGHT, begun={"a": 3}, stopped={"a": 1}), "1 jobs begun too often: a"),
        (replace(RIGHT, killed=["second-1 ended at 40 s: killed by SIGKILL"]), "killed by SIGKILL"),
    ],
)
def test_what_must_not_be_is_said(changed: Outcome, said: str) -> None:
    assert any(said in line for line in findings(changed, [PAUSE]))


@pytest.mark.parametrize(
    "explained",
    [
        replace(RIGHT, added={"a", "b", "c"}, unheard={"c"}),  # its master died just then
        replace(RIGHT, begun={"a": 2, "b": 1}, stopped={"a": 1}),
        replace(
            RIGHT, added={"a", "b", "c"}, failed={"c"}, stopped={"c": 1}
        ),  # BullMQ could not say that it was done
    ],
)
def test_what_redis_forgets_and_bullmq_does_again_is_not_ours(explained: Outcome) -> None:
    assert list(findings(explained, [PAUSE])) == []


def test_a_job_that_ran_in_a_fault_that_stops_it_may_begin_late() -> None:
    assert [line for line in findings(RIGHT, []) if "starved" in line]
    assert list(findings(replace(RIGHT, stopped={"b": 1}), [])) == []


def test_windows_that_meet_are_one() -> None:
    killed = Fault("scaler killed", LOADS[1].name, 100.0, 103.0)
    [(begin, end)] = windows_of([killed, replace(PAUSE, begin=160.0, end=190.0)], LOAD.name)
    assert begin == 100.0
    assert end > 190.0
    assert end - begin < 130.0


def test_nobody_could_do_more_than_all_workers() -> None:
    waits = replace(RIGHT, jobs=[JobTimes(20.0, 80.0, 81.0, "a")])
    full = [replace(look, requested=14, ready=14) if 25 <= look.at <= 60 else look for look in RIGHT.looks]
    asked = [replace(look, ready=13) for look in full]
    assert any("starved" in line for line in findings(waits, []))
    assert any("starved" in line for line in findings(replace(waits, looks=asked), []))
    assert not any("starved" in line for line in findings(replace(waits, looks=full), []))


def test_jobs_that_stalled_are_for_a_while_held_to_be_run() -> None:
    long = replace(RIGHT, load=LOADS[2], unseen=[(100.0, 5)])
    assert usable(RIGHT, 150.0) == 2 < usable(replace(long, unseen=[]), 150.0) + 5 == usable(long, 150.0)
    assert usable(long, 99.0) == usable(replace(long, unseen=[]), 99.0)
    assert usable(long, 100.0 + 150.0 + 480.0) > usable(long, 100.0 + 150.0 + 480.0 + 100.0)


def test_only_the_kinds_that_are_wanted_come_in_turn() -> None:
    planned = faults(420.0, Random(1), ["pause", "exporter away"])
    assert [fault.kind for fault in planned] == ["pause", "exporter away"] * 2 + ["pause"]
    assert {load.name for load in LOADS} == {fault.load for fault in planned}


def test_kinds_are_named_in_the_order_in_which_they_come() -> None:
    assert kinds_of("slow wire, pause") == ["slow wire", "pause"]
    with pytest.raises(ArgumentTypeError, match=r"\['nap'\]: the kinds are exporter restart, "):
        kinds_of("pause,nap")


def test_each_load_has_a_shard_of_its_own() -> None:
    shards = {crc_hqx(load.name.encode(), 0) % 16_384 * 3 // 16_384 for load in LOADS}
    assert len(shards) == len(LOADS)


@pytest.mark.parametrize(
    ("at", "fault", "said"),
    [
        (5.0, PAUSE, False),  # nobody knows yet how long a start and a job take
        (83.0, PAUSE, False),  # what was asked for before is held
        (92.0, PAUSE, True),
        (115.0, PAUSE, False),
        (140.0, PAUSE, False),  # what a fault hides holds the number
        (140.0, replace(PAUSE, load=LOADS[1].name), True),
        (140.0, Fault("exporter away", LOADS[1].name, 100.0, 140.0), False),
        (160.0, PAUSE, True),
    ],
)
def test_workers_are_too_many_where_starts_and_jobs_are_known(at: float, fault: Fault, said: bool) -> None:  # noqa: FBT001
    assert any("9 rather" in line for line in findings(with_many(at, 7), [fault])) == said


def test_one_decision_of_too_many_workers_is_none() -> None:
    assert not any("9 rather" in line for line in findings(with_many(92.0, 6), [PAUSE]))
    last = len(RIGHT.looks) - 7
    assert any("9 rather" in line for line in findings(with_many(last, 7), [PAUSE]))


def test_long_jobs_are_known_later() -> None:
    long = replace(with_many(92.0, 7), load=LOADS[1])
    assert not any("9 rather" in line for line in findings(long, [PAUSE]))


def with_many(at: float, count: int) -> Outcome:
    """So many looks at 9 workers from `at` on, one a second."""
    looks = [
        replace(look, requested=9, sentence="9 workers: surplus") if at <= look.at < at + count else look
        for look in RIGHT.looks
    ]
    return replace(RIGHT, looks=looks)


def test_workers_that_jobs_could_use_lately_are_no_waste() -> None:
    burst = [Look(50.0, 20, 4, 12, 2, "12 workers")]
    assert usable(replace(RIGHT, looks=[*RIGHT.looks[:50], *burst]), 60.0) == 13
    assert usable(RIGHT, 60.0) == 2


def test_the_load_of_long_jobs_falls_as_the_mean_of_two_run_times_does() -> None:
    """Six run for two minutes, then two: after 100 s the mean of two minutes was above four lately."""
    load = LOADS[1]
    looks = [Look(float(at), 0, 6 if at < 200 else 2, 7, 7, "7 workers") for at in range(300)]
    falling = replace(RIGHT, load=load, looks=looks)
    assert usable(falling, 280.0) == 7  # six were inside
    assert usable(falling, 299.0) == 7  # 5.6 in the mean of the two minutes to 211 s
    assert usable(replace(falling, load=LOADS[0]), 299.0) == 2
    flat = replace(falling, looks=[replace(look, active=2) for look in looks])
    assert usable(flat, 299.0) == 3
