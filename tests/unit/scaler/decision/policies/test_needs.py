from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.policies.needs import Situation, needs_of

CALM = Situation(
    waiting=0,
    active=0,
    due=0,
    level=0,
    rate=0,
    run_seconds=2.0,
    run_error=0.1,
    slo=30.0,
    start=25.0,
    horizon=31.0,
    ready_slots=0.0,
    asked_slots=0.0,
    oldest=0.0,
)


def test_nothing_needs_nothing() -> None:
    assert needs_of(CALM).most == 0


def test_the_worked_example_of_the_docs() -> None:
    """docs/scaling-formula.md has it in numbers."""
    situation = CALM._replace(
        waiting=90,
        active=8,
        level=3.0,
        rate=6.0,
        start=32.0,
        horizon=40.0,
        ready_slots=8.0,
        asked_slots=8,
        oldest=12.0,
    )
    needs = needs_of(situation)
    begun, noise = 160.0, 2 * sqrt(6.0 * 10.0 + 98.0)
    assert needs.queue == pytest.approx(98 + 60 - begun + noise)
    assert needs.queue == pytest.approx(23.1, abs=0.1)
    assert needs.load == pytest.approx(6.0 + sqrt(6.0) * 0.25)
    assert needs.kept == 8
    assert needs.winner == "queue"


@pytest.mark.parametrize(
    ("changed", "winner"),
    [
        ({"waiting": 500.0, "active": 8.0}, "queue"),
        ({"level": 40.0, "active": 80.0, "ready_slots": 500.0}, "load"),
        ({"due": 300.0}, "due"),
        ({"waiting": 50.0, "asked_slots": 40.0, "oldest": 29.0, "ready_slots": 500.0}, "kept"),
    ],
)
def test_each_need_wins_where_it_is_meant_to(changed: dict[str, Any], winner: str) -> None:
    assert needs_of(CALM._replace(**changed)).winner == winner


def test_for_short_jobs_a_backlog_is_drained_and_for_long_ones_each_gets_a_slot() -> None:
    backlog = CALM._replace(waiting=300.0, horizon=25.0)
    short = needs_of(backlog._replace(run_seconds=1.0)).queue
    long = needs_of(backlog._replace(run_seconds=600.0)).queue
    assert short == pytest.approx(300 / (1 + 5.0))
    assert long == pytest.approx(300 / (1 + 5 / 600))


def test_quick_starts_need_no_room_for_scatter() -> None:
    flow = CALM._replace(level=10.0, rate=10.0, active=20.0, ready_slots=500.0)
    assert needs_of(flow._replace(horizon=5.0)).load == pytest.approx(20.0)
    assert needs_of(flow._replace(horizon=120.0)).load == pytest.approx(20 + sqrt(20) * 0.75)


def test_known_jobs_get_room_for_what_is_not_known_of_their_run_time() -> None:
    exact, vague = (needs_of(CALM._replace(due=400.0, run_error=error)).due for error in (0.0, 0.5))
    assert exact == pytest.approx(440 / (1 + 30 / 2.0))
    assert vague == pytest.approx(440 / (1 + 30 / 4.0))


AMOUNTS = st.floats(0, 1e5)


@given(
    st.builds(
        Situation,
        waiting=AMOUNTS,
        active=AMOUNTS,
        due=AMOUNTS,
        level=st.floats(0, 1e3),
        rate=st.floats(0, 1e3),
        run_seconds=st.floats(0.01, 1e4),
        run_error=st.floats(0, 1),
        slo=st.floats(0.01, 1e4),
        start=st.floats(0, 1e4),
        horizon=st.floats(0.1, 1e4),
        ready_slots=st.floats(0, 1e5),
        asked_slots=st.floats(0, 1e4),
        oldest=st.floats(0, 1e5),
        held=AMOUNTS,
        stuck=st.booleans(),
        paused=AMOUNTS,
        work=st.floats(0),
    )
)
def test_no_need_is_negative_or_for_more_jobs_than_there_can_be(situation: Situation) -> None:
    needs = needs_of(situation)
    possible = situation.inside + situation.due + situation.rate * (situation.horizon + situation.slo)
    for need in (needs.queue, needs.load, needs.due, needs.kept):
        assert 0 <= need <= possible * (1 + 1e-9)
    assert needs.kept <= situation.asked_slots


def test_slots_whose_jobs_do_not_end_begin_none() -> None:
    late = CALM._replace(waiting=10.0, active=40.0, ready_slots=40.0, asked_slots=40.0, oldest=31.0)
    assert needs_of(late).queue < 40 < needs_of(late._replace(stuck=True)).queue
