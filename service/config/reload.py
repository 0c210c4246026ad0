"""Whether files have changed, by their content: a mounted ConfigMap changes by a link, and clocks are
coarse. No file is waited for, and of a large one only the begin is read."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from service.config.files import read_start


class ContentWatch:
    """Remembers the digest of files. The first look is made when constructed."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._digest = _digest(paths)

    def changed(self, paths: Iterable[Path]) -> bool:
        """Whether the content of these files differs from what was seen before; one that cannot be read
        differs from one that can."""
        digest = _digest(paths)
        before, self._digest = self._digest, digest
        return digest != before


def _digest(paths: Iterable[Path]) -> bytes:
    total = sha256()
    for path in paths:
        try:
            content = b"+" + sha256(read_start(path)).digest()
        except OSError as error:
            content = f"-{error.errno}".encode()
        total.update(len(content).to_bytes(2, "big") + content)
    return total.digest()
