"""What servers count and nobody wants to grow: errors (INFO errorstats), refused clients. Without a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from exporter.redis.info import whole_number
from exporter.snapshot.redis import Info, Recent

RECENT_SECONDS: Final = 300.0
"""Seconds in which an error counts as recent; with collections further apart, since the previous one."""

WRITE_REFUSALS: Final = ("MISCONF", "OOM", "NOREPLICAS", "READONLY")
"""Codes of a server that refuses a write, the most urgent first."""

REJECTED: Final = "rejected_connections"
"""Field of INFO: clients that were refused because maxclients was reached."""

DISCONNECTED: Final = "client_output_buffer_limit_disconnections"
"""Field of INFO from Redis 7.4 and Valkey 8 on: clients that were disconnected as they read too slowly."""

_SPACING: Final = 5.0  # seconds between two remembered readings
_PREFIX: Final = "errorstat_"
_OTHER: Final = "other"
_CODES: Final = frozenset(
    {
        *("ASK", "BUSY", "BUSYGROUP", "BUSYKEY", "CLUSTERDOWN", "CROSSSLOT", "DENIED", "ERR"),
        *("EXECABORT", "INPROG", "IOERR", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH"),
        *("NOGOODSLAVE", "NOGROUP", "NOMASTERLINK", "NOPERM", "NOPROTO", "NOREPLICAS", "NOSCRIPT", "NOTBUSY"),
        *("NOTREADY", "OOM", "READONLY", "TRYAGAIN", "UNBLOCKED", "UNKILLABLE", "WRONGPASS", "WRONGTYPE"),
    }
)


def parse_errors(info: Info) -> dict[str, int]:
    """Errors since the server's start by code, from Redis 6.2 on. Codes that are not the server's own (any
    script can make some up) are counted together as "other"."""
    totals: dict[str, int] = {}
    for name, row in info.fields.items():
        count = row.removeprefix("count=")
        if name.startswith(_PREFIX) and count.isascii() and count.isdigit() and len(count) <= 20:
            code = name.removeprefix(_PREFIX)
            code = code if code in _CODES else _OTHER
            totals[code] = totals.get(code, 0) + int(count)
    return totals


def watched_totals(errors: Mapping[str, int], info: Info) -> dict[str, int]:
    """The errors by code and the refused clients by field, as far as the server counts them."""
    clients = {field: whole_number(info, field) for field in (REJECTED, DISCONNECTED)}
    return {**errors, **{field: count for field, count in clients.items() if count is not None}}


class _Sample(NamedTuple):
    at: float
    run_id: str
    totals: Mapping[str, int]


class RecentCounts:
    """Remembers each node's totals for a while. For one thread at a time."""

    def __init__(self) -> None:
        self._samples: dict[str, list[_Sample]] = {}

    def observe(self, address: str, run_id: str, totals: Mapping[str, int], at: float) -> dict[str, Recent]:
        """What grew since the reading that is `RECENT_SECONDS` old, or since the oldest one that there is.

        A server that was started again, or whose counts were reset, begins again. `at` is in seconds.
        """
        samples = self._samples.setdefault(address, [])
        if samples and (samples[-1].run_id != run_id or _decreased(samples[-1].totals, totals)):
            samples.clear()
        while len(samples) > 1 and samples[1].at <= at - RECENT_SECONDS:
            del samples[0]
        base = samples[0].totals if samples else totals
        now = _Sample(at, run_id, totals)
        counts = {name: total - base.get(name, 0) for name, total in totals.items()}
        grown = {
            name: Recent(count, *_growth(name, [*samples, now]))
            for name, count in counts.items()
            if count > 0
        }
        if len(samples) < 2 or at - samples[-1].at >= _SPACING:
            samples.append(now)
        return grown

    def forget_others(self, addresses: Iterable[str]) -> None:
        """Keep only these nodes."""
        kept = set(addresses)
        self._samples = {address: samples for address, samples in self._samples.items() if address in kept}


def _growth(name: str, samples: Sequence[_Sample]) -> tuple[float, float]:
    """Seconds since the count was last seen to grow, and from the first time to the last."""
    moments = [
        later.at
        for earlier, later in pairwise(samples)
        if later.totals.get(name, 0) > earlier.totals.get(name, 0)
    ]
    return samples[-1].at - moments[-1], moments[-1] - moments[0]


def _decreased(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    return any(after.get(code, 0) < count for code, count in before.items())
