"""A memory that was edited or damaged is refused when it is read, or can be decided with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import inf, nan
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.config.settings import PolicySettings
from scaler.decision.policies import POLICIES
from scaler.decision.step import TargetMemory, dump_memory, load_memory, step
from scaler.model import Control, Observation, QueueSample

ODD: Final[tuple[object, ...]] = (
    nan,
    inf,
    -inf,
    0,
    -1,
    -5.5,
    0.001,
    1e12,
    1e300,
    10**400,
    True,
    None,
    "x",
    "1e400",
    "nan",
    [],
    {},
)
BEGIN = 1000.0


def policy(name: str, *, known: bool) -> PolicySettings:
    given = {"worker_concurrency": 2, "capacity_per_worker": 3} if known else {"capacity_per_worker": 3}
    return PolicySettings(policy=name, min_workers=1, max_workers=10, **given)


def decided(
    policy: PolicySettings, memory: TargetMemory | None, steps: range, *, limit_seconds: float = 0.0
) -> TargetMemory | None:
    for index in steps:
        at = BEGIN + 5.0 * index
        sample = QueueSample(
            at,
            5.0,
            2.0,
            completed=float(index),
            failed=0.0,
            oldest_waiting=1.0,
            busy_seconds=10.0 * index,
            duration_count=float(index),
            due=0.0,
            held=0.0,
            limit_seconds=limit_seconds,
        )
        decision, memory = step(policy, 5.0, Observation(at, 2, 2, sample, 20.0), Control(), memory)
        assert 1 <= decision.workers <= 10
    return memory


def learned(name: str, *, known: bool, limit_seconds: float = 9.0) -> dict[str, Any]:
    memory = decided(policy(name, known=known), None, range(12), limit_seconds=limit_seconds)
    assert memory is not None
    data: dict[str, Any] = json.loads(json.dumps(dump_memory(memory)))
    return data


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in JSON data, of lists and objects too."""
    yield path
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield from places(data[key], (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(POLICIES)), st.booleans(), st.sampled_from(ODD), st.data())
def test_whatever_stands_there_no_step_fails(
    name: str,
    known: bool,  # noqa: FBT001
    odd: object,
    draw: st.DataObject,
) -> None:
    data = learned(name, known=known)
    *parents, last = draw.draw(st.sampled_from([path for path in places(data) if path]))
    part = data
    for key in parents:
        part = part[key]
    part[last] = odd
    try:
        memory = load_memory(json.loads(json.dumps(data)))
    except ValueError:
        return
    after = decided(policy(name, known=known), memory, range(12, 30))
    assert after is not None
    json.dumps(dump_memory(after), allow_nan=False)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("flow", "points", []),
        ("flow", "points", [[1010.0, *[2.0] * 7], [1005.0, *[1.0] * 7]]),
        ("flow", "points", [[1005.0, *[2.0] * 7], [1010.0, *[1.0] * 7]]),
        ("flow", "jobs_ended", nan),
        ("throttle", "taken", -1),
        ("throttle", "seen", "1e400"),
        ("concurrency", "jobs", nan),
        ("concurrency", "jobs", "-inf"),
        ("concurrency", "ready", [[1015.0, -5]]),
    ],
)
def test_what_cannot_have_been_learned_is_refused(part: str, key: str, value: object) -> None:
    data = learned("wait_target", known=True)
    data["learned"][part][key] = value
    with pytest.raises(ValueError, match="invalid memory of wait_target"):
        load_memory(data)


def test_what_was_learned_is_read_again() -> None:
    for name in POLICIES:
        data = learned(name, known=False)
        assert json.loads(json.dumps(dump_memory(load_memory(data)))) == data


@pytest.mark.parametrize(("part", "key"), [("learned", "jobs"), ("guards", "jobs"), ("guards", "idle_since")])
def test_a_text_is_no_way_around_the_bound_of_a_number(part: str, key: str) -> None:
    data = learned("threshold", known=True)
    data[part][key] = "1e400"
    with pytest.raises(
        ValueError, match=f"invalid memory of {'threshold' if part == 'learned' else 'the gu'}"
    ):
        load_memory(data)
