"""What the guards remember of a target: a value that can be saved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

_T = TypeVar("_T")
ProposalHistory: TypeAlias = tuple[tuple[float, int], ...]
"""Times, ascending, and the workers that were proposed then."""


class GuardMemory(NamedTuple):
    """`changed_at`: the last change that was applied; `highs` and `lows`: proposals that can still be the
    highest or the lowest of their window; `failures`: steps in a row without metrics; `idle_since`: no job
    since; `over`: the jobs that had ended, and those in hand, when there were first more workers than
    `max_workers`; `sampled`: the time of the last sample, `acted_on`: of the one that was acted on last,
    `doubted`: of the one that was not believed; `jobs` of the last one that was; `workers`: their number at
    the last step, of a target whose number others may set; `resting`: it is left at 0; `ended`: jobs that
    had ended at the last sample."""

    changed_at: float | None = None
    highs: ProposalHistory = ()
    lows: ProposalHistory = ()
    failures: int = 0
    idle_since: float | None = None
    over: tuple[float, float] | None = None
    sampled: float | None = None
    acted_on: float | None = None
    doubted: float | None = None
    jobs: float = 0.0
    workers: int | None = None
    resting: bool = False
    ended: float | None = None


_MEMORY: Final = TypeAdapter(GuardMemory)
_MOST: Final = 1e15  # jobs, seconds, a time


def dump_guards(memory: GuardMemory) -> dict[str, Any]:
    """The memory as JSON data."""
    return memory._asdict()


def load_guards(data: Mapping[str, Any]) -> GuardMemory:
    """The memory from its JSON data. Raises ValueError for data that `dump_guards` did not write."""
    try:
        return memory_of(_MEMORY, fields_of(GuardMemory, data))
    except ImpossibleMemoryError:
        raise ValueError("invalid memory of the guards") from None


def fields_of(kind: type[NamedTuple], data: object) -> dict[str, Any]:
    """The fields of a value that are in this JSON data: what another version has beside them is left out.
    Raises ValueError: it is no object."""
    if not isinstance(data, Mapping):
        raise ValueError(f"not an object of {kind.__name__}")  # noqa: TRY004  # it is data
    return {name: data[name] for name in kind._fields if name in data}


class ImpossibleMemoryError(ValueError):
    """What no version can have remembered: of another form, or with a number that nothing was counted as."""


def memory_of(kind: TypeAdapter[_T], data: object) -> _T:
    """The memory of this kind in JSON data. Raises ImpossibleMemoryError, also if a number is not finite or
    too large to calculate with."""
    _require_numbers(data)
    try:
        memory = kind.validate_python(data)
    except ValidationError:
        raise ImpossibleMemoryError("of another form") from None
    _require_numbers(memory)  # a text is read as a number
    return memory


def _require_numbers(data: object) -> None:
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, list | tuple):
        for part in data:
            _require_numbers(part)
    elif isinstance(data, int | float) and not abs(data) <= _MOST:  # false of NaN too
        raise ImpossibleMemoryError(f"a number over {_MOST:g}, or none")


def record_change(memory: GuardMemory, at: float, workers: int | None = None) -> GuardMemory:
    """The memory after the number of workers was changed: the cooldown begins, the sample is used up.
    `workers`: the number that this scaler has set."""
    known = memory.workers if workers is None else workers
    return memory._replace(changed_at=at, acted_on=memory.sampled, workers=known)
