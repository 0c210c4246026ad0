"""Where the scaler's state is kept: a file, or a ConfigMap. Commands and people may change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from scaler.state.model import State


class StoreError(Exception):
    """The state cannot be reached or kept where it is; the text says why."""


class Update(NamedTuple):
    """The state before and after an update, and the version of just what it left: any later change has
    another."""

    before: State
    after: State
    version: object


class Store(Protocol):
    """Any process may read and change it, as often as it likes."""

    @property
    def name(self) -> str:
        """Where a person finds it."""

    def version(self) -> object:
        """Another value whenever the state may be another. Raises StoreError."""

    def read(self) -> tuple[State, list[str]]:
        """The state, and the parts of it that cannot be used, a line each; the empty state where there is
        none.

        Raises StateError for what is not a state of ours, StoreError for what cannot be read.
        """

    def update(self, update: Callable[[State], State]) -> Update:
        """Read, change and replace it while no other process does; what cannot be used of it stays as it is.

        `update` may be called several times. Raises StateError and StoreError, and what `update` raises.
        """

    def set_aside(self) -> str:
        """Keep what is not a state of ours under another name, which is returned. Raises StoreError."""

    def own(self) -> None:
        """Be the one scaler that uses it, where only one may. Raises StoreError."""

    def close(self) -> None:
        """Let another scaler use it."""
