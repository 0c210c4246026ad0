"""The state in a file: replaced atomically, edited by commands and by hand while the scaler runs.

Who writes holds a lock on NAME.lock for the moment, and writes over what is there then: an order given
meanwhile is not lost. One file serves one scaler, which holds NAME.owner as long as it lives.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from scaler.state.model import State, StateError, data_of, from_data, merged, state_text
from scaler.state.store import StoreError
from service.clock import now

_LARGEST: Final = 64 << 20


class StateFile:
    """Reads and replaces a file. Any process may, as often as it likes."""

    def __init__(self, path: str) -> None:
        """Raises StoreError: the folder cannot be written to."""
        self.path = Path(path)
        folder = self.path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise StoreError(f"{folder} is no folder that can be written to")
        self._owner: IO[bytes] | None = None

    def mark(self) -> object:
        """Another value whenever the file may be another."""
        return _mark(self.path)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def read(self) -> tuple[State, list[str]]:
        """What it holds, and what of it cannot be used; the empty state where there is no file.

        Raises StateError for one that is no state file, StoreError for one that cannot be read.
        """
        data = self._data()
        return (State(), []) if data is None else from_data(data)

    def _data(self) -> Any:
        """Its JSON data; None where there is no file."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}") from None
        if len(raw) > _LARGEST:
            raise StateError("it is larger than 64 MiB")
        try:
            return data_of(raw.decode())
        except UnicodeDecodeError:
            raise StateError("it is no text") from None

    def change(self, change: Callable[[State], State]) -> tuple[State, object]:
        """Read, change and replace it while no other process does. Raises StateError and StoreError."""
        with self._locked():
            mark, data = self.mark(), self._data()
            state = State() if data is None else from_data(data)[0]
            changed = change(state)
            if data is None or changed != state:
                mark = self._replace(state_text(merged(data or {}, state, changed)))
            return changed, mark

    def set_aside(self) -> str:
        """Give it another name, which is returned: what cannot be read may still be wanted."""
        aside = self.path.with_name(f"{self.path.name}.unusable-{now():.0f}")
        try:
            self.path.replace(aside)
        except OSError as error:
            raise StoreError(f"cannot be set aside: {error.strerror}") from None
        return str(aside)

    def own(self) -> None:
        """Be the one scaler of this file until `close`. Raises StoreError."""
        file = self._beside("owner").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StoreError("another scaler runs with this file") from None
        self._owner = file

    def close(self) -> None:
        """Let another scaler have the file."""
        if self._owner is not None:
            self._owner.close()

    def _replace(self, text: str) -> object:
        """The mark that it has from now on."""
        new = self._beside("new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            mark = _mark(new)  # before it can be changed by others
            new.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror}") from None
        return mark

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            file = self._beside("lock").open("ab")
        except OSError as error:
            raise StoreError(f"cannot be locked: {error.strerror}") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")


def _mark(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
