"""The ports of the demo, and a check that they are free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lab.ports import who_listens

MASTERS: Final = 3
NODES: Final = 2 * MASTERS


class PortsTakenError(RuntimeError):
    """Ports of the demo are in use; the message has a line for each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """On loopback, except the exporter's and the scaler's, which listen on every address."""

    redis: int
    exporter: int
    prometheus: int
    alertmanager: int
    scaler: int

    @property
    def nodes(self) -> list[int]:
        return [self.redis + number for number in range(NODES)]


def check_free(needed: Iterable[tuple[int, str]]) -> None:
    """Raise PortsTakenError if a process listens on one of these ports, each given with its purpose."""
    taken = [f"  port {port}, for {what}: {owner}" for port, what in needed if (owner := who_listens(port))]
    if taken:
        remedy = "stop them, or see .venv/bin/python -m deploy.demo --help for other ports"
        raise PortsTakenError("\n".join(["ports are in use, so nothing was started:", *taken, remedy]))
