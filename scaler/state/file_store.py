"""The state in a file: replaced atomically, edited by commands and by hand while the scaler runs.

A writer locks NAME.lock while it reads, changes and replaces the file: no command is lost. One file serves
one scaler, which locks NAME.owner as long as it runs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from scaler.state.model import (
    State,
    StateError,
    data_of,
    from_data,
    merged,
    state_text,
    to_json,
    without_doubts,
)
from scaler.state.store import Discarded, StoreError, Update
from service.clock import now
from service.files.atomic_file import check_folder, replace_file
from service.files.lock_file import acquire_lock
from service.files.regular_file import FileTooLargeError, read_regular_file

_MOST_BYTES: Final = 64 << 20
_LOCK_SECONDS: Final = 5.0  # a command holds it for milliseconds


class FileStore:
    """A `Store`: reads and replaces a file."""

    def __init__(self, path: str) -> None:
        """Raises StoreError: the folder cannot be written to."""
        self.path = Path(path)
        if problem := check_folder(self.path):
            raise StoreError(problem)
        self._owner: int | None = None

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def version(self) -> object:
        """Inode, time and size of the file; None if there is none. Raises StoreError."""
        try:
            return _version(self.path.stat())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from None

    def read(self) -> tuple[State, list[str]]:
        """The state and its problems; the empty state if there is no file.

        Raises StateError for a file that is not a state file, StoreError for one that cannot be read.
        """
        with self._named():
            data = self._data()
            return (State(), []) if data is None else from_data(data)

    def update(self, update: Callable[[State], State], *, gone: State | None = None) -> Update:
        """Read, change and replace it under the lock. Raises StateError, StoreError, and what `update`
        raises."""
        with self._locked():
            with self._named():
                version, data = self.version(), self._data()
                before = (gone or State()) if data is None else from_data(data)[0]
            after = update(before)
            if data is None or after != before:
                version = self._replace(state_text(merged(data or {}, before, after)))
            return Update(before, after, version)

    def discard(self) -> Discarded | None:
        """Keep the file under another name, and write what can be read of it: at no time there is none, which
        a scaler would take for no orders."""
        with self._locked():
            try:
                data = self._data()
                state = State() if data is None else from_data(data)[0]
                if not state.operator.doubted:
                    return None
            except StateError as error:
                state = error.readable
            state = replace(state, operator=without_doubts(state.operator))
            there = Path(os.path.realpath(self.path))
            aside = there.with_name(f"{there.name}.unusable-{now():.0f}")
            try:
                aside.hardlink_to(there)
            except OSError as error:
                raise StoreError(f"{there} cannot be kept as {aside}: {error.strerror}") from None
            self._replace(to_json(state))
        return Discarded(state, str(aside))

    def own(self) -> None:
        """Become the only scaler of this file until `close`. Raises StoreError."""
        try:
            self._owner = acquire_lock(self._beside("owner"), 0.0, beside=self.path)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise StoreError("another scaler runs with this file") from None
            raise StoreError(f"{self._beside('owner')} cannot be locked: {error.strerror}") from None

    def close(self) -> None:
        """Let another scaler use the file."""
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def _data(self) -> Any:
        """Its JSON data; None if there is no file."""
        try:
            return data_of(read_regular_file(self.path, _MOST_BYTES).decode())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from None
        except FileTooLargeError as error:
            raise StateError(str(error)) from None
        except UnicodeDecodeError:
            raise StateError("it is not text") from None

    def _replace(self, text: str) -> object:
        """The version after it."""
        try:
            return _version(replace_file(self.path, text.encode()))
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}") from None

    @contextmanager
    def _named(self) -> Iterator[None]:
        """An error names the file: a command may be about another one than its user thinks."""
        try:
            yield
        except StateError as error:
            raise StateError(f"{self.path}: {error}", error.readable) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._beside("lock")
        try:
            descriptor = acquire_lock(lock, _LOCK_SECONDS, beside=self.path)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                why = f"another process holds it for over {_LOCK_SECONDS:g} s"
            else:
                why = error.strerror or "OSError"
            raise StoreError(f"{lock} cannot be locked: {why}") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size
