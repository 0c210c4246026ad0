"""Where everything listens, and whether somebody else already does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lab.ports import who_listens

MASTERS: Final = 3
NODES: Final = 2 * MASTERS


class PortsTakenError(RuntimeError):
    """Somebody else listens where the demo would; the message has a line for each port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Of loopback, but for the exporter's and the scaler's, which listen everywhere."""

    redis: int
    exporter: int
    prometheus: int
    alertmanager: int
    scaler: int

    @property
    def nodes(self) -> list[int]:
        return [self.redis + number for number in range(NODES)]


def check_free(needed: Iterable[tuple[int, str]]) -> None:
    """Raise PortsTakenError unless nobody listens on any of these ports, each with what it is for."""
    taken = [f"  port {port}, for {what}: {owner}" for port, what in needed if (owner := who_listens(port))]
    if taken:
        remedy = "stop them, or see .venv/bin/python -m deploy.demo --help for other ports"
        raise PortsTakenError("\n".join(["ports are taken, so nothing was started:", *taken, remedy]))
