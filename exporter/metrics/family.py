"""A metric family: its name, type, help and labels beside the function that reads its samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from exporter.health import Health
from exporter.snapshot import Snapshot

Kind: TypeAlias = Literal["gauge", "counter"]
Sample: TypeAlias = tuple[tuple[str, ...], float]
"""Label values, in the order of the family's labels, and the value."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class Assessment:
    """A snapshot and what health makes of it: all that a view is a function of."""

    snapshot: Snapshot
    health: Health


@dataclass(frozen=True)
class Family:
    """One family. `read` yields nothing for what could not be read: a series is absent, never 0 for unknown.

    A counter's name ends in `_total`. `help` says the unit and the source.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    read: Callable[[Assessment], Iterable[Sample]]

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"not a good name for a {self.kind}: {self.name}")
