"""The settings of the queues."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from pydantic import Field

from exporter.config.memory import MemorySettings
from service.config.model import DAY_SECONDS, MOST_JOBS_AT_ONCE, YEAR_SECONDS, Model

MOST_JOB_NAMES: Final = 100
"""With series of their own, of a queue."""


class QueueSettings(Model):
    """Facts that Redis does not have about the queues whose name matches `match`; the first match counts."""

    match: str = Field(description="glob pattern for the queue's name")
    capacity_per_worker: float | None = Field(
        None,
        gt=0,
        le=MOST_JOBS_AT_ONCE,
        description="jobs that count as the full load of one worker of these queues; if absent "
        "bullmq.capacity_per_worker where that is set, else worker_concurrency, or 10",
    )
    worker_concurrency: int | None = Field(
        None, ge=1, le=MOST_JOBS_AT_ONCE, description="jobs that one worker processes at the same time"
    )
    job_names: int | None = Field(
        None, ge=0, le=MOST_JOB_NAMES, description="as bullmq.job_names, for these queues"
    )


class SchedulerSettings(Model):
    """Job schedulers and repeatable jobs, which are read in the background."""

    enabled: bool = Field(True, description="read when they run next, and whether the job for it is there")
    interval_seconds: float = Field(
        10.0,
        ge=1,
        le=300,
        description="seconds between two reads; longer where a read takes over a twentieth of it",
    )
    per_queue: int = Field(
        1000, ge=1, le=10_000, description="schedulers of a queue that are read: those that run next"
    )
    series_per_queue: int = Field(
        100,
        ge=0,
        le=1000,
        description="schedulers of a queue with series of their own, by their ids; of a queue with more than "
        "`per_queue` none have",
    )
    changed_repeatables: bool = Field(
        True,
        description="two repeatable jobs of one name, id and data with different schedules are duplicates, "
        "as a changed cron leaves the old one; false where both are meant",
    )


LONGEST_NAME: Final = 512
"""Bytes of a queue's prefix and name together. A longer name is left out whole: one that is cut in a label
would be another queue's to the scaler, the API and whoever looks for it in Redis."""


class BullMQSettings(Model):
    prefixes: tuple[str, ...] = Field(
        (), description="key prefixes of the queues; absent: queues are found under any prefix"
    )
    queues: tuple[str, ...] = Field(
        (),
        description="names or glob patterns; names are known immediately, patterns filter the discovered "
        "queues",
    )
    max_queues: int = Field(
        12_000,
        ge=1,
        le=1_000_000,
        description="queues that are watched at most: those that `queues` names, then those that were found "
        "first; the rest is counted and told. The default fits 512 MB of memory; of several shards each has "
        "its own",
    )
    scan: bool = Field(True, description="discover queues by a rate-limited SCAN in the background")
    scan_calls_per_second: float = Field(
        20.0,
        ge=0.1,
        le=1000,
        description="SCAN calls per second in all, 1,000 keys each: about 0.6 ms of Redis' time per call; "
        "the first search makes ten times as many on each master",
    )
    discovery_interval_seconds: float = Field(
        10.0, ge=1, le=3600, description="seconds between two reads of CLIENT LIST"
    )
    rescan_interval_seconds: float = Field(
        60.0,
        ge=1,
        le=DAY_SECONDS,
        description="seconds from the end of one SCAN to the start of the next",
    )
    events: bool = Field(
        True, description="follow the queues' event streams: exact counters, wait and processing times"
    )
    state_file: str | None = Field(
        None,
        description="file for the read positions of the streams: counters then continue after a restart; "
        "absent: they begin at 0",
    )
    event_buckets: tuple[Annotated[float, Field(gt=0, le=YEAR_SECONDS)], ...] = Field(
        (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0),
        min_length=1,
        max_length=50,
        description="upper bounds of the wait and processing histograms, in seconds, ascending",
    )
    histograms: Literal["classic", "native", "both"] = Field(
        "classic",
        description="form of the wait and processing histograms where Prometheus asks for protobuf: classic "
        "buckets as in text; native ones, which are one series a histogram and need no bounds; or both. Text "
        "always has classic ones",
    )
    failed_reasons: int = Field(
        10,
        ge=0,
        le=50,
        description="reasons for which jobs of a queue fail that have a series of their own, without what "
        "differs from job to job and what may be a secret; all others count as one; 0: none is looked at",
    )
    max_failed_reasons: int = Field(
        500, ge=1, le=10_000, description="such series of all queues together: those that came first"
    )
    job_names: int = Field(
        20,
        ge=0,
        le=MOST_JOB_NAMES,
        description="names of jobs of a queue that have series of their own, without ids and numbers; all "
        "others count as one; 0: none is looked at",
    )
    max_job_names: int = Field(
        500, ge=1, le=10_000, description="such names of all queues together: those that came first"
    )
    capacity_per_worker: float = Field(
        10.0, gt=0, le=MOST_JOBS_AT_ONCE, description="jobs that count as the full load of one worker"
    )
    schedulers: SchedulerSettings = SchedulerSettings()
    memory: MemorySettings = MemorySettings()
    settings: tuple[QueueSettings, ...] = Field((), description="settings for some of the queues")

    def job_names_of(self, queue: str) -> int:
        """How many names of jobs of this queue may have series of their own."""
        rule = next((rule for rule in self.settings if fnmatchcase(queue, rule.match)), None)
        return self.job_names if rule is None or rule.job_names is None else rule.job_names
