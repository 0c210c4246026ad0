"""The store of the scaler's state: a file or a ConfigMap. Commands and people may change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from scaler.state.model import State


class StoreError(Exception):
    """The state cannot be read or written; the text says why."""


class Update(NamedTuple):
    """The state before and after an update, and the version after it: any later change has another."""

    before: State
    after: State
    version: object


class Discarded(NamedTuple):
    """What could be read of a state and is kept, and the name under which the whole can still be found."""

    kept: State
    kept_as: str


class Store(Protocol):
    """Any process may read and change it at any time."""

    @property
    def name(self) -> str:
        """The path of the file, or the name of the object."""

    def version(self) -> object:
        """Another value whenever the state may have changed; None if there is none. Raises StoreError."""

    def read(self) -> tuple[State, list[str]]:
        """The state, and a line for each part that is invalid; the empty state if there is none.

        Raises StateError if it is not a scaler's state, StoreError if it cannot be read.
        """

    def update(self, update: Callable[[State], State], *, gone: State | None = None) -> Update:
        """Read, change and replace it while no other process does; invalid parts stay as they are.

        `update` may be called several times, with `gone` where there is no state any more. Raises StateError
        and StoreError, and what `update` raises.
        """

    def discard(self) -> Discarded | None:
        """Replace a state of which orders cannot be read by what can be read of it; None, and nothing is
        changed: all can. Raises StoreError."""

    def own(self) -> None:
        """Become the only scaler that uses it, if only one may. Raises StoreError."""

    def close(self) -> None:
        """Let another scaler use it."""
