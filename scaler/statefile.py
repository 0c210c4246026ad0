"""The state in a file: replaced atomically, edited by commands and by hand while the scaler runs.

Who writes holds a lock on NAME.lock for the moment, and writes over what is there then: an order given
meanwhile is not lost. One file serves one scaler, which holds NAME.owner as long as it lives.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

from scaler import decide
from scaler.decide import TargetMemory
from scaler.model import Control
from scaler.state import (
    Action,
    Orders,
    State,
    StateError,
    control,
    from_json,
    to_json,
    with_action,
    without_expired,
)
from service.clock import monotonic, now

log = logging.getLogger(__name__)

_LEARNED_SECONDS: Final = 60.0  # between two writes of nothing but what was learned
_RETRY_SECONDS: Final = 30.0
_LARGEST: Final = 64 << 20


class StateFileError(Exception):
    """The state file cannot be used where it is; the text says why."""


class StateFile:
    """Reads and replaces a file. Any process may, as often as it likes."""

    def __init__(self, path: str) -> None:
        """Raises StateFileError: the folder cannot be written to."""
        self.path = Path(path)
        folder = self.path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise StateFileError(f"{folder} is no folder that can be written to")

    def mark(self) -> object:
        """Another value whenever the file may be another."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> tuple[State, list[str]]:
        """What it holds, and what of it cannot be used; the empty state where there is no file.

        Raises StateError for one that is no state file, StateFileError for one that cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return State(), []
        except OSError as error:
            raise StateFileError(f"cannot be read: {error.strerror}") from None
        if len(raw) > _LARGEST:
            raise StateError("it is larger than 64 MiB")
        try:
            return from_json(raw.decode())
        except UnicodeDecodeError:
            raise StateError("it is no text") from None

    def change(self, change: Callable[[State], State]) -> State:
        """Read, change and replace it while no other process does. Raises StateError and StateFileError."""
        with self._locked():
            state, _ = self.read()
            changed = change(state)
            if changed != state or not self.path.exists():
                self._replace(to_json(changed))
            return changed

    def set_aside(self) -> Path:
        """Give it another name, which is returned: what cannot be read may still be wanted."""
        aside = self.path.with_name(f"{self.path.name}.unusable-{now():.0f}")
        self.path.replace(aside)
        return aside

    def own(self) -> IO[bytes]:
        """Be the one scaler of this file as long as what is returned is open. Raises StateFileError."""
        file = self._beside("owner").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StateFileError("another scaler runs with this file") from None
        return file

    def _replace(self, text: str) -> None:
        new = self._beside("new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateFileError(f"cannot be written: {error.strerror}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            file = self._beside("lock").open("ab")
        except OSError as error:
            raise StateFileError(f"cannot be locked: {error.strerror}") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")


class Ledger:
    """The state of a running scaler: in memory, and in a file if there is one. Raises StateFileError."""

    def __init__(self, file: StateFile | None) -> None:
        self._file = file
        self._state = State()
        self._owner = file.own() if file else None
        self._mark: object = None
        self._new_actions: list[Action] = []
        self._save_at = 0.0
        self._told: list[str] = []
        if file:
            self._load(file)

    @property
    def orders(self) -> Orders:
        """What people have said, as of the last `refresh`."""
        return self._state.orders

    @property
    def actions(self) -> tuple[Action, ...]:
        """The last changes, the newest last."""
        return self._state.actions

    def refresh(self) -> None:
        """Take over what commands or hands have changed in the file. Never raises."""
        if self._file is None or self._file.mark() == self._mark:
            return
        mark = self._file.mark()
        try:
            found, problems = self._file.read()
        except (StateError, StateFileError) as error:
            self._tell([str(error)])
            self._mark = mark
            return
        self._mark = mark
        self._tell(problems)
        if found.orders != self._state.orders:
            log.info("orders were changed", extra={"file": str(self._file.path)})
        self._state = replace(self._state, orders=found.orders)

    def control(self, target: str, at: float) -> Control:
        """What people have ordered for a target at a time (unix s)."""
        return control(self._state.orders, target, at)

    def recall(self, target: str) -> TargetMemory | None:
        """What was learned before the start; None where it cannot be used."""
        data = self._state.learned.get(target)
        try:
            return decide.load(data) if data is not None else None
        except ValueError as error:
            log.warning("what was learned cannot be used", extra={"target": target, "error": str(error)})
            return None

    def note(self, target: str, at: float, old: int, new: int, reason: str) -> None:
        """The number of workers was changed; `save` writes it."""
        action = Action(at, target, old, new, reason)
        self._state = with_action(self._state, action)
        self._new_actions.append(action)

    def save(self, memories: Mapping[str, TargetMemory], *, at_once: bool = False) -> None:
        """Write what is new: at once after a change, what was only learned once a minute. Never raises."""
        expired = without_expired(self._state.orders, now()) != self._state.orders
        if self._file is None or not (
            at_once or expired or self._new_actions or monotonic() >= self._save_at
        ):
            return
        learned = dict(self._state.learned) | {name: decide.dump(one) for name, one in memories.items()}

        def changed(found: State) -> State:
            for action in self._new_actions:
                found = with_action(found, action)
            return replace(found, learned=learned, orders=without_expired(found.orders, now()))

        try:
            self._state = self._file.change(changed)
        except (StateError, StateFileError) as error:
            log.warning("the state cannot be saved", extra={"error": str(error)})
            self._save_at = monotonic() + _RETRY_SECONDS
            return
        self._mark = self._file.mark()
        self._new_actions.clear()
        self._save_at = monotonic() + _LEARNED_SECONDS

    def close(self) -> None:
        """Let another scaler have the file."""
        if self._owner is not None:
            self._owner.close()

    def _load(self, file: StateFile) -> None:
        try:
            self._state, problems = file.read()
        except StateError as error:
            aside = file.set_aside()
            log.warning(
                "the state file cannot be used: beginning anew",
                extra={"error": str(error), "kept_as": str(aside)},
            )
            return
        self._mark = file.mark()
        self._tell(problems)

    def _tell(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self._told:
                log.warning("a part of the state file cannot be used", extra={"part": problem})
        self._told = problems
