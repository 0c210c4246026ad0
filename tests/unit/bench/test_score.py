from __future__ import annotations

import pytest

from bench.score.measure import Look, drops, problems, row_of

CONDITION, ALERT = "cluster_node_unhealthy", "ClusterNodeDown"


def look(at: float, score: float | None, *conditions: str, alert: bool = False) -> Look:
    return Look(at, score, frozenset(conditions), frozenset({ALERT} if alert else ()))


LOOKS = [
    look(0, 100),
    look(1, 100),
    look(2, 100),
    look(3, 80, CONDITION),
    look(4, 65, CONDITION, "replication_broken"),
    look(5, 80, CONDITION, alert=True),
    look(6, 80, CONDITION, alert=True),
    look(7, 95, "replication_broken", alert=True),
    look(8, 100, alert=True),
]


def test_a_row_of_what_was_seen() -> None:
    row = row_of("a node killed", CONDITION, ALERT, LOOKS, (1.5, 6))
    assert (row.before, row.during, row.band, row.after) == (100, 65, "critical", 100)
    assert (row.dropped, row.alerted, row.recovered) == (1.5, 3.5, 1)
    assert row.beside == {"replication_broken"}
    assert problems(row, "warning", pages=True) == []


@pytest.mark.parametrize(
    ("looks", "problem"),
    [
        ([look(0, 100), look(2, 100), look(7, 100)], f"x: {CONDITION} was never there"),
        ([look(0, 100), look(2, 95, CONDITION, alert=True), look(7, 100)], "x: 95 is healthy, not warning"),
        ([look(0, 80), look(2, 80, CONDITION, alert=True), look(7, 100)], "x: the score was 80 before"),
        ([look(0, 100), look(2, 80, CONDITION), look(7, 100)], "x: no alert"),
        (
            [look(0, 100), look(2, 80, CONDITION, alert=True), look(7, 80, CONDITION)],
            "x: not healthy again, 80",
        ),
        ([look(2, 80, CONDITION, alert=True), look(7, 100)], "x: the score was 0 before"),
    ],
)
def test_what_is_not_right(looks: list[Look], problem: str) -> None:
    row = row_of("x", CONDITION, ALERT, looks, (1, 6))
    assert any(found.startswith(problem) for found in problems(row, "warning", pages=True))


def test_a_condition_without_an_alert_needs_none() -> None:
    row = row_of("x", CONDITION, None, [look(0, 100), look(2, 80, CONDITION), look(7, 100)], (1, 6))
    assert problems(row, "warning", pages=False) == []


def test_drops_are_looks_below_90_or_without_an_answer_outside_the_allowed_times() -> None:
    looks = [look(0, 100), look(1, 89), look(2, None), look(3, 70), look(4, 90)]
    assert drops(looks, []) == looks[1:4]
    assert drops(looks, [(1.5, 3)]) == [looks[1]]
