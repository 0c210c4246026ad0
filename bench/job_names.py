"""`python -m bench.job_names`: what counting jobs by their name costs, of 1,000 queues with 30 names each.

Series and bytes of a scrape with and without names, in text and in protobuf with native histograms; the CPU
of an event as a ratio of what it is without names; the memory of a job that waits.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import Iterator
from typing import Final

from exporter.assessment import Assessment
from exporter.bullmq.names.tally import NameTally
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Entry, Jobs
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.config.bullmq import BullMQSettings
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.metrics.families import FAMILIES
from exporter.metrics.render import Renderer
from exporter.snapshot.queues import BullMQState, Events, QueueId
from exporter.snapshot.whole import Snapshot
from service.outcome import Ok
from service.web.negotiate import MetricsFormat

QUEUES: Final = 1_000
NAMES: Final = 30
MOST: Final = (500, 21_000)
"""Names of all queues together: as the settings are, and as many as 20 of each queue."""
WAITING: Final = 100_000
MAX_BYTES_A_JOB: Final = 120
MAX_CPU: Final = 2.2
MAX_SERIES_A_NAME: Final = 28
MAX_TEXT_A_NAME: Final = 3_000
MAX_NATIVE_A_NAME: Final = 900

_FORMS: Final[tuple[tuple[MetricsFormat, bool], ...]] = (("text", False), ("protobuf", True))
_START: Final = 1_700_000_000_000


def _name(number: int) -> bytes:
    return b"send-" + bytes(97 + int(digit) for digit in f"{number:02}") + b"-mail"


def entries(jobs: int, *, ended: bool = True) -> Iterator[Entry]:
    """Jobs one after the other, of all names in turn, that wait and run for some ms to some seconds."""
    ms = _START
    for number in range(jobs):
        job, again, name = b"%d" % number, b"%d" % number, _name(number % NAMES)
        wait, run = 3 * (number % 97), 1 + (number * number) % 4_099
        yield [b"%d-0" % ms, [b"event", b"added", b"jobId", job, b"name", name]]
        yield [b"%d-1" % ms, [b"event", b"waiting", b"jobId", again]]
        if ended:
            yield [b"%d-0" % (ms + wait), [b"event", b"active", b"jobId", job, b"prev", b"waiting"]]
            yield [b"%d-0" % (ms + wait + run), [b"event", b"completed", b"jobId", job]]
        ms += 10_000


def _jobs(budget: LabelBudget | None, *, native: bool = False) -> Jobs:
    most = BullMQSettings().job_names
    names = NameTally(budget, most, DEFAULT_BUCKETS, native=native) if budget else None
    return Jobs(native=native, names=names)


def _assessment(budget: LabelBudget | None, *, native: bool) -> Assessment:
    listed = list(entries(20 * NAMES))
    events, kept = {}, []  # a queue that is gone gives its labels back
    for number in range(QUEUES):
        jobs = _jobs(budget, native=native)
        jobs.feed(listed)
        jobs.settle()
        kept.append(jobs)
        events[QueueId("bull", f"queue-{number:04}")] = Events(
            jobs.counters(), len(listed), 0, 0.0, since=_START / 1000
        )
    state = BullMQState((), {}, events=events)
    snapshot = Snapshot(_START / 1000 + 1, bullmq=Ok(state, 0.01))
    return Assessment(snapshot, assess(snapshot, HealthSettings()))


def _size(assessment: Assessment, form: MetricsFormat) -> tuple[int, int, int]:
    """Bytes of a scrape, of it compressed, and series with a name (of text)."""
    body = Renderer(FAMILIES).body(assessment, form)
    plain = body.plain()
    series = sum(line.startswith(b"bullmq_job_name_") for line in plain.splitlines()) if form == "text" else 0
    return len(plain), len(body.gzip()), series


def scrape() -> bool:
    """Series and bytes."""
    held = True
    for form, native in _FORMS:
        plain, packed, _ = _size(_assessment(None, native=native), form)
        for most in MOST:
            with_names, packed_with, series = _size(_assessment(LabelBudget(most), native=native), form)
            of_queue = BullMQSettings().job_names
            with_some = min(most // of_queue, QUEUES)
            names = with_some * (of_queue + 1)  # `other`
            each, bound = (with_names - plain) / names, MAX_NATIVE_A_NAME if native else MAX_TEXT_A_NAME
            print(
                f"{form}, {most:,} names of {QUEUES:,} queues, and their `other`: {series:,} series, "
                f"{(with_names - plain) / 1e6:.1f} MB more, "
                f"{(packed_with - packed) / 1e6:.2f} MB compressed, {each:.0f} bytes a name (at most {bound})"
            )
            held &= each <= bound and series <= MAX_SERIES_A_NAME * names
    return held


def cpu() -> bool:
    """CPU of an event, with names and without, in turn; the least of some rounds."""
    listed = list(entries(20_000))
    times: list[list[float]] = [[], []]
    for _ in range(5):
        for each, budget in zip(times, (None, LabelBudget(500)), strict=True):
            jobs = _jobs(budget)
            begun = time.process_time()
            jobs.feed(listed)
            each.append(time.process_time() - begun)
    without, with_names = (min(each) / len(listed) * 1e6 for each in times)
    ratio = with_names / without
    print(
        f"CPU of an event: {without:.2f} us, with names {with_names:.2f} us, "
        f"{ratio:.2f} of it (at most {MAX_CPU})"
    )
    return ratio <= MAX_CPU


def memory() -> bool:
    """Bytes that a job that waits takes more, as its name is remembered."""
    grown = []
    for budget in (None, LabelBudget(500)):
        jobs = _jobs(budget)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        jobs.feed(entries(WAITING, ended=False))
        gc.collect()
        grown.append(tracemalloc.get_traced_memory()[0] - before)
        tracemalloc.stop()
    each = (grown[1] - grown[0]) / WAITING
    print(f"a job that waits: {grown[0] / WAITING:.0f} bytes, for its name {each:.0f} more")
    return each <= MAX_BYTES_A_JOB


def main() -> int:
    """Print the results; 1 if a bound is exceeded."""
    results = [scrape(), cpu(), memory()]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
