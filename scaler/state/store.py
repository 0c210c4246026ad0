"""Where the scaler's state is kept: a file, or a ConfigMap. Commands and hands may change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from scaler.state.model import State


class StoreError(Exception):
    """The state cannot be reached or kept where it is; the text says why."""


class Store(Protocol):
    """Any process may read and change it, as often as it likes."""

    @property
    def name(self) -> str:
        """What a person looks at to see it."""

    def mark(self) -> object:
        """Another value whenever the state may be another. Raises StoreError."""

    def read(self) -> tuple[State, list[str]]:
        """The state, and what of it cannot be used, a line each; the empty one where there is none.

        Raises StateError for what is no state of ours, StoreError for what cannot be read.
        """

    def change(self, change: Callable[[State], State]) -> tuple[State, object]:
        """Read, change and replace it while no other process does; what cannot be used of it stays as it is.

        The state as it was left, and the mark of just that: whatever comes after it has another.

        Raises StateError and StoreError.
        """

    def set_aside(self) -> str:
        """Keep what is no state of ours under another name, which is returned. Raises StoreError."""

    def own(self) -> None:
        """Be the one scaler that uses it, where only one may. Raises StoreError."""

    def close(self) -> None:
        """Let another scaler use it."""
