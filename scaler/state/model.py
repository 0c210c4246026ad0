"""The state that survives a restart: overrides, pauses, changed policies, learned values, actions. Pure.

JSON that a person can read and edit: an invalid part is left out and reported, the others apply.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from scaler.config.settings import MOST_WORKERS, REMOVED_KEYS
from scaler.model import Control, Override

FORMAT: Final = "oxherd scaler 1"
_MAX_ACTIONS: Final = 200


class StateError(ValueError):
    """A text that is not a scaler's state; the message says why. `readable`: what can be read of it all the
    same."""

    def __init__(self, why: str, readable: State | None = None) -> None:
        super().__init__(why)
        self.readable: Final = readable or State()


@dataclass(frozen=True, slots=True)
class Action:
    """The number of workers of a target was changed."""

    at: float
    target: str
    old: int
    new: int
    reason: str


@dataclass(frozen=True)
class OperatorState:
    """What operators have set, by target: the part of the state that anyone may edit. `enabled` and
    `interval_seconds`: None means as in the settings. `unknown`: targets with an order that cannot be read;
    `any_unknown`: each may have one, as a part of the state cannot be read. Neither is stored."""

    overrides: Mapping[str, Override] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    enabled: bool | None = None
    interval_seconds: float | None = None
    unknown: frozenset[str] = frozenset()
    any_unknown: bool = False

    @property
    def doubted(self) -> bool:
        """Whether an order cannot be read."""
        return self.any_unknown or bool(self.unknown)


@dataclass(frozen=True)
class State:
    """The whole state. `learned` is what scaler.state.learned.dump_learned made of each target."""

    operator: OperatorState = OperatorState()
    learned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()


# --- what operators have set -----------------------------------------------------------------------------


_NO_CONTROL: Final = Control()


def control(operator: OperatorState, target: str, at: float) -> Control:
    """The pause and the override in force for a target at a time (unix s). An order that cannot be read may
    be any: its target stays as it is."""
    override = operator.overrides.get(target)
    if override is not None and override.until is not None and override.until <= at:
        override = None
    paused = target in operator.paused or target in operator.unknown or operator.any_unknown
    return Control(paused, override) if paused or override is not None else _NO_CONTROL


def with_override(operator: OperatorState, target: str, override: Override | None) -> OperatorState:
    """With this override; None: without one."""
    others = {name: other for name, other in operator.overrides.items() if name != target}
    return replace(operator, overrides=others if override is None else others | {target: override})


def with_pause(operator: OperatorState, target: str, *, paused: bool) -> OperatorState:
    """With the target paused, or not."""
    return replace(operator, paused=operator.paused | {target} if paused else operator.paused - {target})


def with_policy(operator: OperatorState, target: str, changed: Mapping[str, Any]) -> OperatorState:
    """With these keys of the target's policy changed; without keys, the policy is as in the settings."""
    others = {name: keys for name, keys in operator.policies.items() if name != target}
    return replace(operator, policies=others | {target: dict(changed)} if changed else others)


def with_known(operator: OperatorState, target: str) -> OperatorState:
    """Without what cannot be read of the target's orders."""
    return replace(operator, unknown=operator.unknown - {target}) if target in operator.unknown else operator


def without_doubts(operator: OperatorState) -> OperatorState:
    """As if all that cannot be read were not there."""
    return replace(operator, unknown=frozenset(), any_unknown=False)


def orders_text(operator: OperatorState) -> str:
    """The orders in force, for people: `mail: 5 workers, video: paused`."""
    orders = [
        *(f"{name}: {override.workers} workers" for name, override in sorted(operator.overrides.items())),
        *(f"{name}: paused" for name in sorted(operator.paused)),
        *(f"{name}: changed policy" for name in sorted(operator.policies)),
        *([f"enabled: {str(operator.enabled).lower()}"] if operator.enabled is not None else []),
    ]
    return ", ".join(orders)


def without_expired(operator: OperatorState, at: float) -> OperatorState:
    """Without the overrides that have expired at a time (unix s); the same object if none has."""
    valid = {
        name: override
        for name, override in operator.overrides.items()
        if override.until is None or override.until > at
    }
    return operator if len(valid) == len(operator.overrides) else replace(operator, overrides=valid)


def with_action(state: State, action: Action) -> State:
    """With it as the newest; more than 200 are not kept."""
    return replace(state, actions=(*state.actions[-_MAX_ACTIONS + 1 :], action))


# --- as a text -------------------------------------------------------------------------------------------

ORDERS: Final = frozenset({"enabled", "overrides", "paused", "policies"})
"""The parts that decide whether and how a target is scaled."""
_LAST_TIME: Final = 253_402_300_799.0  # of the year 9999
_OVERRIDE: Final = TypeAdapter(Override)
_ACTION: Final = TypeAdapter(Action)


def to_data(state: State) -> dict[str, Any]:
    """The state as JSON data."""
    operator = state.operator
    return {
        "format": FORMAT,
        "enabled": operator.enabled,
        "interval_seconds": operator.interval_seconds,
        "overrides": {
            name: _OVERRIDE.dump_python(override) for name, override in sorted(operator.overrides.items())
        },
        "paused": sorted(operator.paused),
        "policies": {name: dict(keys) for name, keys in sorted(operator.policies.items())},
        "actions": [_ACTION.dump_python(action) for action in state.actions],
        "learned": dict(sorted(state.learned.items())),
    }


def from_data(data: object, unread: Collection[str] = ()) -> tuple[State, list[str]]:
    """The state, and a line for each invalid part; the parts `unread` are there, and not in the data. Raises
    StateError if it is not a scaler's state."""
    if not isinstance(data, dict):
        raise StateError("it is not the state of a scaler")
    if "format" not in data:
        raise StateError("it is not the state of a scaler", _read(data, unread)[0])
    if data["format"] != FORMAT:
        why = f"its format is {str(data['format'])[:40]!r}, not {FORMAT!r}: of another version?"
        raise StateError(why, _read(data, unread)[0])
    return _read(data, unread)


class _Problem(NamedTuple):
    """What cannot be used: a part of the state, or the entry of one target in it."""

    part: str
    target: str | None
    why: str

    @property
    def text(self) -> str:
        return f"{self.part}: {self.why}" if self.target is None else f"{self.part}.{self.target}: {self.why}"


def _read(data: Mapping[str, Any], unread: Collection[str]) -> tuple[State, list[str]]:
    problems: list[_Problem] = []
    overrides = _each(data, "overrides", _override, problems)
    policies = _each(data, "policies", _mapping, problems)
    learned = _each(data, "learned", _mapping, problems)
    paused = data.get("paused", [])
    if not isinstance(paused, list) or any(not isinstance(target, str) for target in paused):
        problems.append(_Problem("paused", None, "should be a list of targets"))
        paused = []
    enabled = data.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        problems.append(_Problem("enabled", None, "should be true, false or null"))
        enabled = None
    interval = data.get("interval_seconds")
    if interval is not None and not (type(interval) in (int, float) and 1 <= interval <= 3600):
        problems.append(_Problem("interval_seconds", None, "should be from 1 to 3600, or null"))
        interval = None
    actions = _actions(data.get("actions", []), problems)
    orders = [problem for problem in problems if problem.part in ORDERS]
    operator = OperatorState(
        overrides,
        frozenset(paused),
        _without_removed(policies),
        enabled,
        interval,
        frozenset(problem.target for problem in orders if problem.target is not None),
        any_unknown=any(problem.target is None for problem in orders) or not ORDERS.isdisjoint(unread),
    )
    texts = [problem.text for problem in problems] + _removed(policies)
    return State(operator, learned, actions), texts


def merged(raw: Mapping[str, Any], old: State, new: State) -> dict[str, Any]:
    """`raw` with the changes from `old`, its valid part, to `new`: invalid parts stay, so no edit is lost.

    Raises StateError if a part that has to change is invalid as a whole.
    """
    before, after = to_data(old), to_data(new)
    cleared = old.operator.unknown - new.operator.unknown
    data = dict(raw)
    for part, value in after.items():
        current = data.get(part)
        by_target = part in {"overrides", "policies"}
        is_cleared = by_target and isinstance(current, dict) and not cleared.isdisjoint(current)
        if part in data and value == before[part] and not is_cleared:
            continue
        if by_target and current is not None:
            if not isinstance(current, dict):
                raise StateError(f"{part}: should be an object by target; it has to be repaired first")
            known = before[part].keys() | cleared
            others = {name: entry for name, entry in current.items() if name not in known}
            data[part] = others | value
        elif part == "paused" and current is not None and current != before[part]:
            raise StateError("paused: should be a list of targets; it has to be repaired first")
        else:
            data[part] = value
    return data


def state_text(data: Mapping[str, Any]) -> str:
    """JSON data of a state as the text of the state file: the learned values of each target in a line."""
    learned = data.get("learned")
    head = json.dumps({part: value for part, value in data.items() if part != "learned"}, indent=2)
    if not isinstance(learned, dict):
        learned = {}
    lines = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(memory, separators=(',', ':'))}"
        for name, memory in sorted(learned.items())
    )
    return head[:-2] + ',\n  "learned": {\n' + lines + "\n  }\n}\n"


def data_of(text: str) -> Any:
    """The JSON data of a text. Raises StateError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise StateError("invalid JSON") from None


def to_json(state: State) -> str:
    """The text of the state file."""
    return state_text(to_data(state))


def from_json(text: str) -> tuple[State, list[str]]:
    """As from_data, of a text."""
    return from_data(data_of(text))


def _each(
    data: Mapping[str, Any], part: str, read: Callable[[object], Any], problems: list[_Problem]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    entries = data.get(part, {})
    if not isinstance(entries, dict):
        problems.append(_Problem(part, None, "should be an object by target"))
        return values
    for name, entry in entries.items():
        try:
            values[name] = read(entry)
        except ValueError as error:
            problems.append(_Problem(part, name, str(error)))
    return values


def _override(entry: object) -> Override:
    try:
        override = _OVERRIDE.validate_python(entry, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if not 0 <= override.workers <= MOST_WORKERS:
        raise ValueError(f"workers: {override.workers} is not from 0 to {MOST_WORKERS}")
    for name, at in (("at", override.at), ("until", override.until)):
        if at is not None and not _is_time(at):
            raise ValueError(f"{name}: {at:g} is not a time")
    return override


def _is_time(at: float) -> bool:
    """Unix seconds that a calendar has; false of NaN too."""
    return 0 <= at <= _LAST_TIME


def _mapping(entry: object) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError("should be an object")  # noqa: TRY004  # it is data
    return entry


def _removed(policies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each setting that an earlier version had."""
    return [
        f"policies.{target}.{key}: {REMOVED_KEYS[key]}"
        for target, changed in policies.items()
        for key in changed
        if key in REMOVED_KEYS
    ]


def _without_removed(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The others of the target stay in force."""
    return {
        target: {key: value for key, value in changed.items() if key not in REMOVED_KEYS}
        for target, changed in policies.items()
    }


def _actions(entries: object, problems: list[_Problem]) -> tuple[Action, ...]:
    try:
        actions = tuple(_ACTION.validate_python(entry) for entry in entries if entry)  # type: ignore[attr-defined]
    except (ValidationError, TypeError):
        actions = None
    if actions is None or not all(_is_time(action.at) for action in actions):
        problems.append(_Problem("actions", None, "invalid"))
        return ()
    return actions
