"""How many file descriptors the workers of this machine take, before one of them is started. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple, Self

from scaler.config.policy_layers import resolve
from scaler.config.settings import ScalerSettings

OWN_DESCRIPTORS: Final = 64  # of the scaler: Prometheus, its files, a process that is being started
_PER_TARGET: Final = 3  # of one that has workers: the two ends of a pipe, and what waits for all of its own
DESCRIPTORS_PER_WORKER: Final = 2  # the socket to its shim, and its output


class Served(NamedTuple):
    """The descriptors that connections to this process may take: of HTTP, and of KEDA by gRPC."""

    http: int = 0
    keda: int = 0

    @classmethod
    def of(cls, settings: ScalerSettings, limit: int) -> Self:
        """Where the process may have so many."""
        return cls(settings.web.most(limit), settings.keda.most_connections(limit))

    @property
    def connections(self) -> int:
        return self.http + self.keda

    def __str__(self) -> str:
        return f"{self.http} are for HTTP" + (f" and {self.keda} for KEDA" if self.keda else "")


class Descriptors(NamedTuple):
    """What min_workers of all targets take, and what as many as may be started do; the workers of both."""

    least: int
    least_workers: int
    most: int
    most_workers: int


def descriptors(settings: ScalerSettings) -> Descriptors:
    """Of the targets whose workers are processes."""
    policies = [resolve(settings, target) for target in settings.targets if target.processes is not None]
    limits = [policy.min_workers for policy in policies], [policy.max_workers for policy in policies]
    most = settings.max_total_workers
    fewest, all_of_them = (sum(counts) if most is None else min(most, sum(counts)) for counts in limits)
    at_once = sum(count > 0 for count in limits[0]) if most is None else min(most, len(policies))
    return Descriptors(
        OWN_DESCRIPTORS + _PER_TARGET * min(at_once, fewest) + DESCRIPTORS_PER_WORKER * fewest,
        fewest,
        OWN_DESCRIPTORS
        + _PER_TARGET * min(len(policies), all_of_them)
        + DESCRIPTORS_PER_WORKER * all_of_them,
        all_of_them,
    )


def shortage(settings: ScalerSettings, limit: int) -> str | None:
    """Why the scaler cannot run with this limit of descriptors; None: it can."""
    needed = descriptors(settings)
    served = Served.of(settings, limit)
    if needed.least <= limit - served.connections:
        return None
    return (
        f"{_targets(settings)} with {needed.least_workers} workers at least (min_workers) "
        f"{_need(needed.least, limit, served)}"
    )


def possible_shortage(settings: ScalerSettings, limit: int) -> str | None:
    """Why not all workers that the settings allow could be started; None: they could."""
    needed = descriptors(settings)
    served = Served.of(settings, limit)
    if needed.most <= limit - served.connections:
        return None
    return (
        f"{_targets(settings)} with {needed.most_workers} workers at most (max_workers, max_total_workers) "
        f"{_need(needed.most, limit, served)}"
    )


def _targets(settings: ScalerSettings) -> str:
    return f"{sum(target.processes is not None for target in settings.targets)} targets"


def _need(descriptors: int, limit: int, served: Served) -> str:
    return (
        f"need {descriptors} file descriptors, and the limit of this process is {limit} (RLIMIT_NOFILE), "
        f"of which {served}: "
        "raise it, as by `ulimit -n` or LimitNOFILE, or set fewer workers"
    )
