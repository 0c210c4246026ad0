"""The state in a file: replaced atomically, edited by commands and by hand while the scaler runs.

A writer locks NAME.lock while it reads, changes and replaces the file: no command is lost. One file serves
one scaler, which locks NAME.owner as long as it runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from scaler.state.model import State, StateError, data_of, from_data, merged, state_text
from scaler.state.store import StoreError, Update
from service.atomic_file import check_folder, keep_owner, replace_file
from service.clock import now

_LIMIT: Final = 64 << 20


class FileStore:
    """A `Store`: reads and replaces a file."""

    def __init__(self, path: str) -> None:
        """Raises StoreError: the folder cannot be written to."""
        self.path = Path(path)
        if problem := check_folder(self.path):
            raise StoreError(problem)
        self._owner: IO[bytes] | None = None

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def version(self) -> object:
        """Inode, time and size of the file; None if there is none."""
        try:
            return _version(self.path.stat())
        except OSError:
            return None

    def read(self) -> tuple[State, list[str]]:
        """The state and its problems; the empty state if there is no file.

        Raises StateError for a file that is not a state file, StoreError for one that cannot be read.
        """
        with self._named():
            data = self._data()
            return (State(), []) if data is None else from_data(data)

    def update(self, update: Callable[[State], State]) -> Update:
        """Read, change and replace it under the lock. Raises StateError, StoreError, and what `update`
        raises."""
        with self._locked():
            with self._named():
                version, data = self.version(), self._data()
                before = State() if data is None else from_data(data)[0]
            after = update(before)
            if data is None or after != before:
                version = self._replace(state_text(merged(data or {}, before, after)))
            return Update(before, after, version)

    def set_aside(self) -> str:
        """Rename it, as its content may still be needed; returns the new name. Raises StoreError."""
        aside = self.path.with_name(f"{self.path.name}.unusable-{now():.0f}")
        try:
            self.path.replace(aside)
        except OSError as error:
            raise StoreError(f"cannot be set aside: {error.strerror}") from None
        return str(aside)

    def own(self) -> None:
        """Become the only scaler of this file until `close`. Raises StoreError."""
        file = self._beside("owner").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StoreError("another scaler runs with this file") from None
        self._owner = file

    def close(self) -> None:
        """Let another scaler use the file."""
        if self._owner is not None:
            self._owner.close()

    def _data(self) -> Any:
        """Its JSON data; None if there is no file."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}") from None
        if len(raw) > _LIMIT:
            raise StateError("it is larger than 64 MiB")
        try:
            return data_of(raw.decode())
        except UnicodeDecodeError:
            raise StateError("it is not text") from None

    def _replace(self, text: str) -> object:
        """The version after it."""
        try:
            return _version(replace_file(self.path, text.encode()))
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror}") from None

    @contextmanager
    def _named(self) -> Iterator[None]:
        """An error names the file: a command may be about another one than its user thinks."""
        try:
            yield
        except StateError as error:
            raise StateError(f"{self.path}: {error}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            file = self._beside("lock").open("ab")
            keep_owner(file.fileno(), self.path)
        except OSError as error:
            raise StoreError(f"cannot be locked: {error.strerror}") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size
