"""Which of the known queues a target serves, for many targets and many queues. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator
from fnmatch import translate
from typing import Final

from scaler.config.globs import plain_length
from scaler.config.settings import is_glob
from scaler.prometheus.promql import QueueKey


class QueueIndex:
    """All known queues, sorted, so that a pattern looks only at those that begin like it. What was found is
    kept: in each step the same targets ask, and seldom is there another queue. For one thread at a time."""

    def __init__(self, keys: Collection[QueueKey]) -> None:
        self._keys: Final = frozenset(keys)
        self._names: dict[str, list[str]] = {}
        for prefix, name in sorted(self._keys):
            self._names.setdefault(prefix, []).append(name)
        self._found: dict[tuple[str, tuple[str, ...]], tuple[QueueKey, ...]] = {}

    def of(self, keys: Collection[QueueKey]) -> QueueIndex:
        """The index of these queues: this one, if they are the same."""
        return self if self._keys == keys else QueueIndex(keys)

    def matching(self, prefix: str, patterns: tuple[str, ...]) -> tuple[QueueKey, ...]:
        """The plain names among the patterns, and the known queues of this prefix that the glob patterns
        match; each once, sorted."""
        found = self._found.get((prefix, patterns))
        if found is None:
            names = {pattern for pattern in patterns if not is_glob(pattern)}
            for pattern in patterns:
                if is_glob(pattern):
                    names.update(self._matched(prefix, pattern))
            found = self._found[prefix, patterns] = tuple(QueueKey(prefix, name) for name in sorted(names))
        return found

    def _matched(self, prefix: str, pattern: str) -> Iterator[str]:
        names = self._names.get(prefix, [])
        begin = pattern[: plain_length(pattern)]
        matches = re.compile(translate(pattern)).match
        for index in range(bisect_left(names, begin), len(names)):
            name = names[index]
            if not name.startswith(begin):
                return
            if matches(name):
                yield name
