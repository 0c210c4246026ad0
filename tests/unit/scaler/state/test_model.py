from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.config.settings import REMOVED_KEYS
from scaler.model import Control, Override
from scaler.state.model import (
    Action,
    OperatorState,
    State,
    StateError,
    control,
    from_data,
    from_json,
    merged,
    to_data,
    to_json,
    with_action,
    with_known,
    with_override,
    with_pause,
    with_policy,
    without_doubts,
    without_expired,
)

SALE = Override(5, "a sale", "ann", 100.0, 200.0)
FOREVER = Override(3, "calm", "bob", 100.0)

names = st.text(max_size=8)
numbers = st.floats(0, 4e9)
overrides = st.builds(Override, st.integers(0, 99), names, names, numbers, st.one_of(st.none(), numbers))
policies = st.dictionaries(
    names,
    st.dictionaries(
        names.filter(lambda name: name not in REMOVED_KEYS),
        st.one_of(st.integers(), st.floats(0, 9)),
        max_size=3,
    ),
)
states = st.builds(
    State,
    st.builds(
        OperatorState,
        st.dictionaries(names, overrides, max_size=3),
        st.frozensets(names, max_size=3),
        policies,
        st.one_of(st.none(), st.booleans()),
    ),
    policies,
    st.lists(st.builds(Action, numbers, names, st.integers(0, 9), st.integers(0, 9), names), max_size=3).map(
        tuple
    ),
)


@given(states)
def test_what_is_written_is_read_again(state: State) -> None:
    assert from_json(to_json(state)) == (state, [])
    json.loads(to_json(state))


def test_an_override_lasts_until_its_end() -> None:
    operator = with_override(OperatorState(), "mail", SALE)
    assert control(operator, "mail", 199.9) == Control(override=SALE)
    assert control(operator, "mail", 200.0) == Control()
    assert control(operator, "video", 150.0) == Control()
    assert without_expired(operator, 200.0) == OperatorState()
    assert without_expired(operator, 199.0) is operator
    assert control(with_override(operator, "mail", FOREVER), "mail", 1e12) == Control(override=FOREVER)
    assert with_override(operator, "mail", None) == OperatorState()


def test_a_pause_and_a_changed_policy_come_and_go() -> None:
    operator = with_pause(
        with_policy(OperatorState(), "mail", {"start_cost_seconds": 2}), "mail", paused=True
    )
    assert control(operator, "mail", 0.0).paused
    assert operator.policies == {"mail": {"start_cost_seconds": 2}}
    assert with_policy(with_pause(operator, "mail", paused=False), "mail", {}) == OperatorState()


def test_only_the_last_actions_are_kept() -> None:
    state = State()
    for at in range(300):
        state = with_action(state, Action(float(at), "mail", at, at + 1, "burst"))
    assert len(state.actions) == 200
    assert state.actions[-1].at == 299


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid JSON"),
        (to_json(State())[:-9], "invalid JSON"),
        ("[1]", "it is not the state of a scaler"),
        ('{"format": "oxherd scaler 2"}', "of another version"),
        ("[" * 100_000, "invalid JSON"),
    ],
)
def test_a_text_that_is_not_a_state_is_refused(text: str, why: str) -> None:
    with pytest.raises(StateError, match=why):
        from_json(text)


def test_an_invalid_part_is_reported_and_the_others_apply() -> None:
    data = json.loads(to_json(State(with_override(OperatorState(), "mail", FOREVER))))
    data["overrides"]["video"] = {"workers": "many"}
    data["overrides"]["audio"] = {"workers": -1, "reason": "", "by": "", "at": 0, "until": None}
    data["paused"] = "all"
    data["enabled"] = "yes"
    data["actions"] = 7
    data["learned"] = []
    state, problems = from_json(json.dumps(data))
    assert replace(state, operator=without_doubts(state.operator)) == State(
        with_override(OperatorState(), "mail", FOREVER)
    )
    assert [problem.split(":")[0] for problem in problems] == [
        "overrides.video",
        "overrides.audio",
        "learned",
        "paused",
        "enabled",
        "actions",
    ]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 1e9 + 0.5),
        ("workers", 1e400),
        ("workers", float("nan")),
        ("workers", -1),
        ("workers", None),
        ("at", float("nan")),
        ("until", "tomorrow"),
        ("until", float("nan")),
        ("until", 1e300),
        ("until", -1e300),
    ],
)
def test_an_order_that_cannot_be_read_leaves_its_target_as_it_is(name: str, value: object) -> None:
    data = to_data(State(with_override(with_override(OperatorState(), "mail", FOREVER), "video", FOREVER)))
    data["overrides"]["video"][name] = value
    state, [problem] = from_json(json.dumps(data))
    assert problem.startswith("overrides.video: ")
    assert control(state.operator, "video", 0.0) == Control(paused=True)
    assert control(state.operator, "mail", 0.0) == Control(override=FOREVER)
    cleared = replace(state, operator=with_known(state.operator, "video"))
    assert merged(data, state, cleared)["overrides"].keys() == {"mail"}


@pytest.mark.fault
@pytest.mark.parametrize(
    "part", [{"overrides": []}, {"paused": "mail"}, {"paused": [1]}, {"policies": 7}, {"enabled": "no"}]
)
def test_a_part_that_cannot_be_read_may_have_an_order_for_any_target(part: dict[str, object]) -> None:
    state, problems = from_data(to_data(State()) | part)
    assert len(problems) == 1
    assert state.operator.any_unknown
    assert control(state.operator, "mail", 0.0).paused


def test_a_policy_that_cannot_be_read_leaves_its_target_as_it_is() -> None:
    state, _ = from_data(to_data(State()) | {"policies": {"a: b": "x", "mail": {"max_workers": 3}}})
    assert (state.operator.unknown, state.operator.any_unknown) == (frozenset({"a: b"}), False)


def test_parts_without_orders_hold_nothing() -> None:
    parts = {"actions": 7, "learned": [], "interval_seconds": "soon"}
    state, problems = from_data(to_data(State()) | parts)
    assert (len(problems), state.operator.doubted) == (3, False)


def test_what_can_be_read_of_another_version_is_kept() -> None:
    data = to_data(State(with_override(OperatorState(), "mail", FOREVER)))
    for changed in ({"format": "oxherd scaler 9"}, {"format": None}):
        with pytest.raises(StateError) as error:
            from_data(data | changed)
        assert error.value.readable.operator.overrides == {"mail": FOREVER}


def test_settings_of_an_earlier_version_are_left_out_and_named() -> None:
    data = to_data(State()) | {"policies": {"mail": {"aim": 0.2, "max_workers": 7}}}
    state, problems = from_data(data)
    assert state.operator.policies == {"mail": {"max_workers": 7}}
    assert problems == ["policies.mail.aim: has no meaning any more; for more care lower wait_slo_seconds"]
