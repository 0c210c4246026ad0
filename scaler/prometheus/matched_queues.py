"""The queues of a target over time: a pattern remembers what it matched. Pure.

What a pattern does not match any more may be gone, or may be hidden by a part of Redis that does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from scaler.config.settings import TargetSettings, is_glob, matching
from scaler.model import Missing, QueueSample
from scaler.prometheus.parse import UNKNOWN_EXPORTER, ExporterStatus, Reading
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.queue_index import QueueIndex
from scaler.prometheus.series_identity import Labels

FORGET_SECONDS: Final = 600.0
"""A queue is gone when exporters that read all queues do not have it for so long: an exporter that restarts
finds its queues again within minutes, by a search at the pace of 20 calls per second."""
_MOST_DIGITS: Final = 9  # of a number of shards
_LAG_SECONDS: Final = (
    60.0  # a sample so much older than another one of the target is of an exporter that hangs
)


class Owner(NamedTuple):
    """The exporter that had a queue last, and the deployment that it reads (None: it does not say)."""

    origin: Labels
    deployment: str | None

    def may_be(self, origin: Labels, status: ExporterStatus) -> bool:
        """Whether this exporter may have the queues of the owner."""
        if origin == self.origin:
            return True
        if self.deployment and status.deployment:
            return status.deployment == self.deployment
        return _job(origin) == _job(self.origin)


class MatchedQueues(NamedTuple):
    """The target's queues with their samples. `absent`: since when healthy exporters do not have those
    that were there; `origins`: the exporters of the queues, `owners` the last one of each; `unread`: whether
    a pattern may match queues that could not be read, None: no."""

    samples: Mapping[QueueKey, QueueSample | Missing] = MappingProxyType({})
    absent: Mapping[QueueKey, float] = MappingProxyType({})
    origins: frozenset[Labels] = frozenset()
    owners: Mapping[QueueKey, Owner] = MappingProxyType({})
    unread: Missing | None = None


def observe_queues(
    before: MatchedQueues,
    target: TargetSettings,
    reading: Reading,
    time: float,
    index: QueueIndex | None = None,
) -> MatchedQueues:
    """The queues after this reading; `time` in seconds of a clock that is never set. `index`: of the queues
    of the reading, where many targets are observed."""
    index = index or QueueIndex(reading.samples.keys())
    keys = index.matching(target.prefix, target.queues)
    absent: dict[QueueKey, float] = {}
    for key in before.samples.keys() - keys:
        if key.prefix != target.prefix or not matching_globs(target, key.name):
            continue  # the settings have changed
        since = before.absent.get(key, time) if _is_read(reading, before.owners.get(key)) else time
        if time - since < FORGET_SECONDS:
            absent[key] = since
    samples = {key: reading.of(key) for key in (sorted({*keys, *absent}) if absent else keys)}
    origins = frozenset(reading.origins[key] for key in keys if key in reading.origins) or before.origins
    owners = {key: owner for key in samples if (owner := _owner(reading, key) or before.owners.get(key))}
    unread = None
    if any(map(is_glob, target.queues)):
        unread = _unread(reading, origins)
    return MatchedQueues(_without_old(samples), absent, origins, owners, unread)


def matching_globs(target: TargetSettings, name: str) -> bool:
    """Whether one of the target's patterns matches the name."""
    return bool(matching(filter(is_glob, target.queues), [name]))


def _owner(reading: Reading, key: QueueKey) -> Owner | None:
    origin = reading.origins.get(key)
    if origin is None:
        return None
    return Owner(origin, reading.exporters.get(origin, UNKNOWN_EXPORTER).deployment)


def _is_read(reading: Reading, owner: Owner | None) -> bool:
    """Whether the exporters of a queue's owner read all queues, so that one that they do not have is gone.

    Those of other deployments say nothing of it. Of several of its deployment, one that read all is enough.
    If there are none, those of its job count: a Redis that starts again has another identity. Where they
    divide the queues, all parts are needed: the queue is of one of them.
    """
    if reading.up is None or owner is None:
        return bool(reading.samples) if reading.up is None else reading.up
    known = {origin: status for origin, status in reading.exporters.items() if status.up is not None}
    statuses = [status for origin, status in known.items() if owner.may_be(origin, status)]
    if not statuses:
        statuses = [status for origin, status in known.items() if _job(origin) == _job(owner.origin)]
    if _divided(statuses):
        return _has_all_shards(statuses)
    same = [status.up for status in statuses if owner.deployment and status.deployment == owner.deployment]
    return any(same) or (bool(statuses) and all(status.up for status in statuses))


def _unread(reading: Reading, origins: frozenset[Labels]) -> Missing | None:
    """Whether an exporter of these queues, or another one of their job that is not of the same Redis as one
    that read all, could not read all queues; or a shard of the queues has no exporter that did."""
    statuses = reading.exporters
    healthy = {status.deployment for status in statuses.values() if status.up and status.deployment}
    jobs = {_job(origin) for origin in origins}
    parts = [status for origin, status in statuses.items() if _job(origin) in jobs]
    if _divided(parts) and not _has_all_shards(parts):
        return Missing("empty", "a shard of the queues has no exporter now: some that match may be missing")
    for origin, status in statuses.items():
        if status.up is not False:
            continue
        if origin in origins or (_job(origin) in jobs and status.deployment not in healthy):
            return Missing("empty", "the exporter could not read all queues: some that match may be missing")
    return None


def _divided(statuses: Iterable[ExporterStatus]) -> bool:
    """Whether exporters have parts of the queues."""
    return any(status.shard is not None and status.shard[1] != "1" for status in statuses)


def _has_all_shards(statuses: Iterable[ExporterStatus]) -> bool:
    """Whether exporters that read all of their queues have each shard of one division."""
    there: dict[str, set[str]] = {}
    for status in statuses:
        if status.up and status.shard is not None:
            there.setdefault(status.shard[1], set()).add(status.shard[0])
    return any(
        shards.isdecimal() and len(shards) <= _MOST_DIGITS and len(numbers) >= int(shards)
        for shards, numbers in there.items()
    )


def _job(origin: Labels) -> str | None:
    return dict(origin).get("job")


def _without_old(
    samples: Mapping[QueueKey, QueueSample | Missing],
) -> Mapping[QueueKey, QueueSample | Missing]:
    """With those as missing that are a minute older than the newest."""
    if len(samples) == 1:
        return samples
    newest = max((sample.at for sample in samples.values() if isinstance(sample, QueueSample)), default=0.0)
    return {
        key: Missing("stale", f"{key}: its metrics are {newest - sample.at:.0f} s older than those of others")
        if isinstance(sample, QueueSample) and sample.at < newest - _LAG_SECONDS
        else sample
        for key, sample in samples.items()
    }
