"""What counts as steady in a soak, and whose an alert is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.faults.injected import _FAULTS
from bench.faults.plan import ATTACKS, SECONDS, Fault, affected
from bench.faults.steady import OWN, SURE, Fired, Footprint, growth, strange_alerts, unanswered
from bench.faults.stream import StreamTally, uncounted

MB = 1_000_000


def footprints(resident: float, descriptors: float, *, seconds: int = 3600) -> list[Footprint]:
    """Every 5 s; they grow so much in each hour from 100 MB and 50."""
    return [
        Footprint("exporter", 7, at, int(100 * MB + resident * at / 3600), int(50 + descriptors * at / 3600))
        for at in range(0, seconds, 5)
    ]


def test_what_is_flat_is_right_and_what_grows_is_said() -> None:
    assert list(growth(footprints(5 * MB, 5))) == []
    assert list(growth(footprints(90 * MB, 0))) == ["exporter: 127 MB became 177 MB"]
    assert list(growth(footprints(0, 100))) == ["exporter: 80 descriptors became 136"]


def test_the_first_ten_minutes_and_a_process_of_a_moment_do_not_count() -> None:
    assert list(growth(footprints(900 * MB, 900, seconds=700))) == []
    early = [replace(each, resident=10 * MB) if each.at < 600 else each for each in footprints(0, 0)]
    assert list(growth(early)) == []


def test_each_kind_has_what_lets_it_begin() -> None:
    assert set(_FAULTS) == set(SECONDS)
    assert set(OWN) | set(SURE) | ATTACKS <= set(SECONDS)
    assert all(name in OWN[kind] for kind, name in SURE.items())


AWAY = Fault("replica away", "seconds", 100.0, 150.0)
DOWN = Fired("ClusterNodeDown", 140.0, 800.0)


@pytest.mark.parametrize(
    ("fired", "faults", "said"),
    [
        ([DOWN], [AWAY], []),
        ([DOWN], [], ["ClusterNodeDown fired at 140 s, which no fault explains"]),
        ([], [AWAY], ["ClusterNodeDown did not fire for the fault at 100 s (replica away)"]),
        ([replace(DOWN, begin=90.0)], [AWAY], ["ClusterNodeDown fired at 90 s, which no fault explains"]),
        ([Fired("OxherdWatchdog", 0.0, 900.0), Fired("HighSystemLoad", 5.0, 9.0)], [], []),
    ],
)
def test_each_alert_has_its_fault(fired: list[Fired], faults: list[Fault], said: list[str]) -> None:
    assert list(strange_alerts(fired, faults)) == said


def test_a_scrape_that_an_attack_keeps_out_is_said() -> None:
    attack = Fault("slow headers", "seconds", 100.0, 130.0)
    downs = [("a:1", 90.0), ("a:1", 120.0), ("a:1", 140.0)]
    assert list(unanswered(downs, [attack, AWAY])) == ["a:1: no answer to a scrape at 120 s (slow headers)"]
    assert not affected(attack, "seconds")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, 0),
        ({"counted_completed": 99}, 1),
        ({"counted_completed": 99, "lost": 1}, 0),
        ({"counted_started": 103, "stalled": 1}, 1),
        ({"counted_started": 102, "stalled": 1}, 0),
        ({"counted_started": 101, "counted_completed": 101, "undone": 1}, 0),
        ({"counted_started": 98, "running": 2}, 0),
        ({"counted_started": 97, "running": 2}, 1),
    ],
)
def test_counters_differ_by_what_is_told_only(changed: dict[str, Any], said: int) -> None:
    exact = StreamTally("{a}", "a:1", 100, 100, 100, 100, 0, 0, 0)
    assert len(list(uncounted([replace(exact, **changed)]))) == said
