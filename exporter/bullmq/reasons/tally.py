"""How often jobs of a queue failed for which reason, in bounded memory. No I/O and no clock.

The first reasons of a queue get a label each, as many as are allowed; all others count as `other`, so that
each failure counts once. A reason without a label takes the place of a labelled one that has become rare,
whose count ends with it; the new one begins with what comes from then on, so that `other` never falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exporter.bullmq.reasons.masking import LONGEST_READ, masked_reason
from exporter.bullmq.tallies.known_texts import KnownTexts
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.snapshot.queues import FailedReason, FailedReasons

_MOST_KNOWN: Final = 50
"""Reasons of a queue that are counted, with and without a label."""
LONGEST_JOB: Final = 200
"""Letters of the id of a job."""
_RARE: Final = 4
"""A reason takes the place of one that came less than a quarter as often since it was first seen."""


class _Known:
    """A reason: how often, when first and last (ms of Redis), the job that failed last for it, and how often
    since it has a label (None: it has none)."""

    __slots__ = ("count", "first", "job", "labelled", "last")

    def __init__(self, ms: int) -> None:
        self.count = 0
        self.first = self.last = ms
        self.job = ""
        self.labelled: int | None = None

    def as_reason(self, text: str) -> FailedReason:
        times = self.first / 1000, self.last / 1000
        return FailedReason(text, self.count, *times, self.job, self.labelled)


class ReasonTally:
    """Of one queue. What `snapshot` returns is for any thread."""

    def __init__(self, budget: LabelBudget, most: int, texts: KnownTexts | None = None) -> None:
        """At most `most` reasons have a label of their own. What `texts` has no time for is `other`."""
        self.labels = 0
        self.most_labels: Final = most
        self._budget = budget
        self._texts = KnownTexts(masked_reason, LONGEST_READ) if texts is None else texts
        self._known: dict[str, _Known] = {}
        self._other = 0
        self._snapshot: FailedReasons | None = None

    def add(self, reason: bytes, job: bytes, ms: int) -> None:
        """A job failed at this time of Redis."""
        self._snapshot = None
        text = self._texts.get(reason)
        if text is None:
            self._other += 1
            return
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = _Known(ms)
            if len(self._known) > _MOST_KNOWN:
                self._forget_one(text)
        known.count += 1
        known.last = max(known.last, ms)
        known.job = _shown(job[:LONGEST_JOB])
        if known.labelled is None and self._gets_label(known):
            known.labelled = 0
            self.labels += 1
        if known.labelled is None:
            self._other += 1
        else:
            known.labelled += 1

    def snapshot(self) -> FailedReasons:
        """As of now, the most frequent first; the same object until a job fails."""
        if self._snapshot is None:
            reasons = [known.as_reason(text) for text, known in self._known.items()]
            self._snapshot = FailedReasons(tuple(sorted(reasons, key=_by_count)), self._other)
        return self._snapshot

    def _gets_label(self, known: _Known) -> bool:
        if self._budget.take(self):
            return True
        labels = [other for other in self._known.values() if other.labelled is not None]
        if not labels or known.count < _RARE:
            return False
        rarest = min(labels, key=lambda other: _rate(other, known.last))
        if _RARE * _rate(rarest, known.last) >= _rate(known, known.last):
            return False
        self._unlabel(rarest)
        return True

    def _unlabel(self, known: _Known) -> None:
        if known.labelled is not None:
            known.labelled = None
            self.labels -= 1

    def _forget_one(self, new: str) -> None:
        """The one without a label that came least often; else the one that came last the longest ago."""
        others = [(text, known) for text, known in self._known.items() if text != new]
        unlabelled = [(text, known) for text, known in others if known.labelled is None]
        text, known = min(unlabelled or others, key=lambda item: (item[1].count, item[1].last))
        if known.labelled is not None:
            self._unlabel(known)
            self._budget.freed()
        del self._known[text]

    # --- over a restart ----------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "other": self._other,
            "known": [
                [text, known.count, known.first, known.last, known.job, known.labelled]
                for text, known in self._known.items()
            ],
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Continue from a dump whose every part was looked at, within the bounds of now."""
        self._snapshot = None
        self._known, self._other, self.labels = {}, dumped["other"], 0
        self._budget.freed()
        for text, count, first, last, job, labelled in dumped["known"][:_MOST_KNOWN]:
            if text in self._known:
                continue
            known = self._known[text] = _Known(first)
            known.count, known.last, known.job = count, last, job
            if labelled is not None and self._budget.take(self):
                known.labelled = labelled
                self.labels += 1


def _shown(job: bytes) -> str:
    """Its id as a text on one line."""
    text = job.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def _rate(known: _Known, now: int) -> float:
    """Jobs a second since it was first seen, of a minute at least."""
    return known.count / max(60_000, now - known.first)


def _by_count(reason: FailedReason) -> tuple[int, str]:
    return -reason.jobs, reason.text
