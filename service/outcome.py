"""The outcome of reading a source: a value, or why there is none. "Absence is not zero", as a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Ok(Generic[T_co]):
    """A value that was read; `took` is the wall time of reading it, in seconds."""

    value: T_co
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """Something that could not be read.

    `kind` is one short word fit for a label (timeout, unreachable, auth, protocol, refused, stale, error);
    `message` is one line for a person and never holds a secret; `took` is in seconds.
    """

    kind: str
    message: str
    took: float = 0.0


Outcome: TypeAlias = Ok[T] | Failed


class UnreadableError(Exception):
    """A source could not be read; `kind` and the message become a `Failed`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def value_or_none(outcome: Outcome[T] | None) -> T | None:
    """The value of a part that was read, None for one that failed or is switched off."""
    return outcome.value if isinstance(outcome, Ok) else None
