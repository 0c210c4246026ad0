"""Jobs of a queue by their name, in bounded memory. No I/O and no clock.

Only the event of a job that was added has its name, so that the names of the jobs that are not done yet are
remembered. The first names of a queue get series of their own, as many as are allowed; a name without takes
the place of one that has become small, in jobs and in time, whose counts end with it. Each job counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from exporter.bullmq.names.folding import (
    LONGEST_JOB_NAME,
    LONGEST_NAME_READ,
    OTHER_NAMES,
    UNKNOWN_NAME,
    folded_name,
)
from exporter.bullmq.tallies.durations import Durations, in_ms
from exporter.bullmq.tallies.known_texts import KnownTexts
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.snapshot.job_names import JobName, JobNames, NativeOfName

MOST_KNOWN: Final = 200
"""Names of a queue that are looked at, with and without series."""
MAX_REMEMBERED_NAMES: Final = 200_000
"""Jobs of a queue that are not done yet whose name is remembered."""
COUNTED: Final = ("added", "completed", "failed", "retried")

_SMALL: Final = 4
"""A name takes the place of one with less than a quarter of its share, in jobs or in time."""
_JOB_MS: Final = 1000
"""A name is as large as its jobs, or as its seconds."""
_FADE_MS: Final = 3_600_000
"""Shares are those of some hours: what was counted for them is halved each hour."""
_GONE_MS: Final = 24 * _FADE_MS
"""A name of which no job came for a day loses its series."""
_SAVED_JOBS: Final = 10_000
_MOST_FAILED: Final = 1000
_EVICTION_DIVISOR: Final = 8
_NEVER: Final = 1 << 200
"""A size that no name has."""
_NO_NAMES: Final = JobNames()


class _Counts:
    """The series of a name."""

    __slots__ = ("added", "completed", "failed", "frozen", "processing", "retried", "wait")

    def __init__(self, bounds: tuple[float, ...], *, native: bool) -> None:
        self.added = self.completed = self.failed = self.retried = 0
        self.wait = Durations(bounds, native=native)
        self.processing = Durations(bounds, native=native)
        self.frozen: JobName | None = None  # as it was served; nothing was counted since

    def freeze(self, name: str, *, native: bool) -> JobName:
        if self.frozen is None:
            counts = self.added, self.completed, self.failed, self.retried
            durations = self.wait.histogram(), self.processing.histogram()
            of_native = NativeOfName(self.wait.native(), self.processing.native()) if native else None
            self.frozen = JobName(name, *counts, *durations, of_native)
        return self.frozen


class _Name:
    """A name that is looked at: its jobs and the ms they ran, both fading; the ms of Redis when jobs of it
    were last `seen`; and what it counts into, its own series if it is `labelled`. `next`: the size at which
    it is looked at whether it may have some."""

    __slots__ = ("counts", "jobs", "labelled", "last", "ms", "next", "seen", "text")

    def __init__(self, text: str, counts: _Counts) -> None:
        self.text = text
        self.counts = counts
        self.labelled = False
        self.jobs = self.ms = self.last = 0
        self.seen = False
        self.next = 1


class NameTally:
    """Of one queue. What `snapshot` returns is for any thread."""

    def __init__(
        self,
        budget: LabelBudget,
        most: int,
        buckets: Sequence[float],
        *,
        native: bool = False,
        max_jobs: int = MAX_REMEMBERED_NAMES,
        texts: KnownTexts | None = None,
    ) -> None:
        """At most `most` names have series of their own. What `texts` has no time for is `other`."""
        self.labels = 0
        self.most_labels: Final = most
        self._budget = budget
        self._bounds = tuple(buckets)
        self._bounds_ms = in_ms(self._bounds)
        self._native = native
        self._max_jobs = max_jobs
        self._other, self._unknown = self._new_counts(), self._new_counts()
        self._texts = KnownTexts(folded_name, LONGEST_NAME_READ) if texts is None else texts
        self._unread = _Name("", self._other)  # all jobs whose name there was no time for
        self._unread.next = _NEVER
        self._folded: dict[bytes, str] = {}  # of the names that come again: a third of the time of an event
        self._names: dict[str, _Name] = {}
        self._jobs: dict[bytes, str] = {}
        self._failed: dict[bytes, str] = {}  # the last ones: people retry them by hand
        self._total_jobs = self._total_ms = 0
        self._faded = self._fade_at = 0  # ms of Redis

    @property
    def remembered(self) -> int:
        """How many jobs are remembered."""
        return len(self._jobs)

    # --- what happens to jobs, at a time in ms of Redis ---

    def added(self, job: bytes, raw_name: bytes) -> None:
        """A job was added."""
        text = self._folded.get(raw_name)
        if text is None:
            text = self._fold(raw_name)
        name = self._names.get(text) or self._new_name(text)
        name.jobs += 1
        name.seen = True
        self._total_jobs += 1
        if name.jobs >= name.next:
            self._consider(name)
        counts = name.counts
        counts.added += 1
        counts.frozen = None
        jobs = self._jobs
        if job in jobs:
            del jobs[job]  # so that the dict is in the order of time
        jobs[job] = text
        if len(jobs) > self._max_jobs:
            self.evict()

    def started(self, job: bytes, wait_ms: int, ms: int) -> None:
        """An attempt began at `ms` of Redis, for which the job waited this long."""
        text = self._jobs.get(job)
        counts = self._unknown if text is None else (self._names.get(text) or self._new_name(text)).counts
        counts.wait.add(wait_ms, self._bounds_ms)
        counts.frozen = None
        if not self._faded <= ms < self._fade_at:
            self._fade(ms)

    def ended(self, job: bytes, outcome: str, run_ms: int | None) -> None:
        """An attempt ended, with an outcome as in `COUNTED`, after this time (None: it is not known)."""
        text = self._jobs.get(job) if outcome == "retried" else self._jobs.pop(job, None)
        if text is None:
            counts = self._unknown
        else:
            name = self._names.get(text) or self._new_name(text)
            name.seen = True
            if run_ms:
                name.ms += run_ms
                self._total_ms += run_ms
                if name.ms >= name.next * _JOB_MS:
                    self._consider(name)
            counts = name.counts
        if outcome == "completed":
            counts.completed += 1
        elif outcome == "failed":
            counts.failed += 1
            if text is not None:
                self._keep_failed(job, text)
        else:
            counts.retried += 1
        counts.frozen = None
        if run_ms is not None:
            counts.processing.add(run_ms, self._bounds_ms)

    def back(self, job: bytes) -> None:
        """A job that had failed for good is to be run again."""
        if (text := self._failed.pop(job, None)) is not None:
            self._jobs.setdefault(job, text)  # another job may have the id by now

    def removed(self, job: bytes) -> None:
        """A job is gone without an outcome."""
        self._jobs.pop(job, None)

    def evict(self) -> None:
        """Forget the names of an eighth of the remembered jobs, the oldest first."""
        for job in list(islice(self._jobs, -(-len(self._jobs) // _EVICTION_DIVISOR))):
            del self._jobs[job]

    def snapshot(self) -> JobNames:
        """As of now; of a name the same object until something of it is counted."""
        if not self.labels:
            return _NO_NAMES  # of most queues, where there are more than may have series
        named = sorted(name.text for name in self._names.values() if name.labelled)
        rest = ((OTHER_NAMES, self._other), (UNKNOWN_NAME, self._unknown))
        return JobNames(
            tuple(self._names[text].counts.freeze(text, native=self._native) for text in named),
            tuple(counts.freeze(text, native=self._native) for text, counts in rest),
        )

    # --- which names have series ---

    def _new_counts(self) -> _Counts:
        return _Counts(self._bounds, native=self._native)

    def _fold(self, raw_name: bytes) -> str:
        if len(self._folded) >= MOST_KNOWN:
            self._folded.clear()
        text = self._texts.get(raw_name)
        if text is None:
            return self._unread.text
        if len(raw_name) <= LONGEST_JOB_NAME:
            self._folded[raw_name] = text
        return text

    def _new_name(self, text: str) -> _Name:
        if text == self._unread.text:
            return self._unread
        if len(self._names) >= MOST_KNOWN:
            self._forget_small()
        name = self._names[text] = _Name(text, self._other)
        return name

    def _keep_failed(self, job: bytes, text: str) -> None:
        self._failed[job] = text
        if len(self._failed) > _MOST_FAILED:
            del self._failed[next(iter(self._failed))]

    def _consider(self, name: _Name) -> None:
        """Give the name series if there is room, or if it is much larger than one that has some; looked at
        only as it doubles."""
        name.next = _next(name)
        if name.labelled:
            return
        if not self._budget.take(self):
            labelled = [each for each in self._names.values() if each.labelled]
            if not labelled:
                return
            smallest = min(labelled, key=self._share)
            if _SMALL * self._share(smallest) >= self._share(name):
                return
            self._unlabel(smallest)
        self._label(name)

    def _share(self, name: _Name) -> float:
        """Of the jobs or of the time of the queue, whichever is more."""
        return max(name.jobs / max(1, self._total_jobs), name.ms / max(1, self._total_ms))

    def _label(self, name: _Name) -> None:
        name.counts, name.labelled = self._new_counts(), True
        self.labels += 1

    def _unlabel(self, name: _Name) -> None:
        name.counts, name.labelled = self._other, False
        self.labels -= 1

    def _forget_small(self) -> None:
        """An eighth of the names, the smallest without series; they are new names when they come again."""
        unlabelled = sorted((each for each in self._names.values() if not each.labelled), key=self._share)
        for name in unlabelled[: -(-len(unlabelled) // _EVICTION_DIVISOR)]:
            del self._names[name.text]

    def _fade(self, ms: int) -> None:
        """Halve what shares are made of, and forget the names that are gone; where the clock went back, as
        that of a stream that was created again, only begin again."""
        begun = 0 < self._fade_at <= ms
        self._faded, self._fade_at = ms, ms + _FADE_MS
        if not begun:
            for name in self._names.values():
                name.last = min(name.last, ms) or ms
            return
        for name in list(self._names.values()):
            if name.seen or not name.last:
                name.last, name.seen = ms, False
            elif ms - name.last >= _GONE_MS:
                if name.labelled:
                    self._unlabel(name)
                    self._budget.freed()
                del self._names[name.text]
            name.jobs >>= 1
            name.ms >>= 1
            name.next = max(1, name.next >> 1)
        self._add_up()

    def _add_up(self) -> None:
        self._total_jobs = sum(name.jobs for name in self._names.values())
        self._total_ms = sum(name.ms for name in self._names.values())

    # --- over a restart ---

    def dump(self) -> dict[str, Any]:
        """As JSON types; of the jobs only those that were added last, as there may be very many."""
        numbers = {text: number for number, text in enumerate(self._names)}
        newest = islice(self._jobs.items(), max(0, len(self._jobs) - _SAVED_JOBS), None)
        return {
            "names": [
                [
                    name.text,
                    self._faded if name.seen else name.last,
                    name.jobs,
                    name.ms,
                    self._dumped(name.counts) if name.labelled else None,
                ]
                for name in self._names.values()
            ],
            "other": self._dumped(self._other),
            "unknown": self._dumped(self._unknown),
            "jobs": [(job.decode("latin-1"), numbers[text]) for job, text in newest if text in numbers],
        }

    def restored(self, dumped: Mapping[str, Any], *, durations: bool) -> NameTally:
        """One that continues from a dump whose every part was looked at, within the bounds of now; with its
        `durations` only where they have the same buckets. Raises ValueError, TypeError or OverflowError where
        these are none."""
        tally = NameTally(
            self._budget,
            self.most_labels,
            self._bounds,
            native=self._native,
            max_jobs=self._max_jobs,
            texts=self._texts,
        )
        tally._load(tally._other, dumped["other"], durations=durations)
        tally._load(tally._unknown, dumped["unknown"], durations=durations)
        texts = []
        labelled: dict[str, Sequence[Any]] = {}
        for text, last, jobs, ms, counts in dumped["names"][:MOST_KNOWN]:
            texts.append(text)
            name = tally._names.get(text) or tally._new_name(text)
            name.last, name.jobs, name.ms = last, jobs, ms
            name.next = _next(name)
            if counts is not None:
                labelled[text] = counts
        tally._add_up()
        largest = sorted(labelled, key=lambda text: -tally._share(tally._names[text]))
        for text in largest:  # there may be fewer places now
            if self._budget.take(tally):
                name = tally._names[text]
                tally._label(name)
                tally._load(name.counts, labelled[text], durations=durations)
        if faded := max((name.last for name in tally._names.values()), default=0):
            tally._faded, tally._fade_at = faded, faded + _FADE_MS
        for job, number in dumped["jobs"][-self._max_jobs :]:
            if number < len(texts):
                tally._jobs[job.encode("latin-1")] = texts[number]
        return tally

    def _dumped(self, counts: _Counts) -> list[Any]:
        durations = counts.wait, counts.processing
        return [
            [getattr(counts, name) for name in COUNTED],
            *([each.dump(), each.dump_native() if self._native else None] for each in durations),
        ]

    def _load(self, counts: _Counts, dumped: Sequence[Any], *, durations: bool) -> None:
        numbers, wait, processing = dumped
        for name, number in zip(COUNTED, numbers, strict=True):
            setattr(counts, name, number)
        for each, (classic, native) in ((counts.wait, wait), (counts.processing, processing)):
            if durations and (native is not None or not self._native):
                each.restore(classic, native)
        counts.frozen = None


def _next(name: _Name) -> int:
    """The size at which a name of this one is looked at again."""
    return 2 * max(name.jobs, name.ms // _JOB_MS, 1)
