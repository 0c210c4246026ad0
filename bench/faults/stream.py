"""Jobs at a high rate through a few queues, counted by their workers, and by the exporters."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lab.bullmq import BullMQ
from lab.driver import DriverError
from lab.prometheus import Prometheus

STREAM_QUEUES: Final = ("{stream-1}", "{stream-2}", "{stream-3}", "{stream-4}")
_TICK: Final = 0.25  # seconds
_MOST_AT_ONCE: Final = 2_000  # jobs of a queue
_CONCURRENCY: Final = 25
_PATIENCE: Final = 90.0
_UNDONE: Final = "max_over_time(bullmq_events_undone_total[1d])"  # since the exporter started
_GONE: Final = {"removeOnComplete": True, "removeOnFail": True}


@dataclass(frozen=True, slots=True)
class StreamTally:
    """Of one queue by one exporter: what its workers did, and what was counted. `lost`, `stalled`
    and `undone` are what the exporter tells: events that it did not read, jobs that Redis gave to a second
    worker, and events of all queues that were counted and then lost by Redis. `running`: jobs that ran as
    their master was killed: nobody may have heard of what happened to them."""

    queue: str
    exporter: str
    started: int
    returned: int
    counted_started: int
    counted_completed: int
    lost: int
    stalled: int
    undone: int
    running: int = 0


class StreamLoad:
    """Adds jobs until it is ended; its workers run all along."""

    def __init__(self, cluster: Sequence[str], rate: float) -> None:
        self._cluster = list(cluster)
        self._rate = rate
        self._workers = BullMQ(6, cluster=self._cluster)
        self._ids = {
            queue: self._workers.start_worker(queue, concurrency=_CONCURRENCY) for queue in STREAM_QUEUES
        }
        self.added = 0
        self.running_at_kills: Counter[str] = Counter()

    def run(self, ended: threading.Event) -> None:
        """On a thread of its own. What is late is made up for, as a shard may hang."""
        if not self._rate:
            return
        began, due = time.monotonic(), dict.fromkeys(STREAM_QUEUES, 0.0)
        with BullMQ(6, cluster=self._cluster) as bullmq:
            while not ended.wait(_TICK):
                for queue in STREAM_QUEUES:
                    wanted = self._rate / len(STREAM_QUEUES) * (time.monotonic() - began)
                    number = min(_MOST_AT_ONCE, int(wanted - due[queue]))
                    if number > 0:
                        jobs = [{"name": "job", "data": {}, "opts": _GONE}] * number
                        given = {"queue": queue, "method": "addBulk", "arguments": [jobs]}
                        try:
                            bullmq.call("queue", **given, seconds=_PATIENCE)
                        except DriverError:  # Redis refuses writes: later
                            continue
                        due[queue] += number
                        self.added += number

    def wait_until_done(self, seconds: float = 120.0) -> None:
        """Raises TimeoutError: jobs are left."""
        for queue in STREAM_QUEUES:
            self._workers.wait_for_counts(queue, {"active": 0, "waiting": 0}, seconds=seconds)

    def tallies(self, prometheus: Prometheus) -> Iterator[StreamTally]:
        """By each exporter that Prometheus scrapes; after two scrapes without a job."""
        series = {
            name: _by_exporter(prometheus, name)
            for name in (
                *("bullmq_job_started_total", "bullmq_job_completed_total"),
                *("bullmq_events_lost_total", "bullmq_job_stalled_total"),
            )
        }
        undone = {labels["instance"]: int(value) for labels, value in prometheus.query(_UNDONE)}
        exporters = sorted({exporter for exporter, _ in series["bullmq_job_started_total"]})
        for queue, worker in self._ids.items():
            tally = self._workers.tally(worker)
            for exporter in exporters:
                started, completed, lost, stalled = (
                    int(values.get((exporter, queue), 0)) for values in series.values()
                )
                did = tally["started"], tally["returned"]
                told = lost, stalled, undone.get(exporter, 0)
                running = self.running_at_kills[queue]
                yield StreamTally(queue, exporter, *did, started, completed, *told, running)

    def close(self) -> None:
        self._workers.close()


def _by_exporter(prometheus: Prometheus, name: str) -> dict[tuple[str, str], float]:
    found = prometheus.query(f'{name}{{queue=~".stream-.*"}}')
    return {(labels["instance"], labels["queue"]): value for labels, value in found}


def uncounted(tallies: Sequence[StreamTally]) -> Iterator[str]:
    """A line for each queue whose counters differ from its workers' by more than is told as lost. Pure."""
    for tally in tallies:
        told = tally.lost + tally.undone + 2 * tally.stalled + tally.running
        for what, did, counted in (
            ("started", tally.started, tally.counted_started),
            ("completed", tally.returned, tally.counted_completed),
        ):
            if abs(did - counted) > told:
                known = (
                    f"{tally.lost} events lost, {tally.undone} undone, {tally.stalled} jobs stalled, "
                    f"{tally.running} ran as a master was killed"
                )
                yield f"{tally.queue} by {tally.exporter}: {did} jobs {what}, {counted} counted; {known}"
