"""What is counted of the jobs of a queue, as JSON. Pure."""

from __future__ import annotations

from typing import Any, Final

from exporter.snapshot.histogram import average, histogram_quantile
from exporter.snapshot.job_names import JobName
from exporter.snapshot.queues import Events
from service.units import readable

MOST_REASONS: Final = 10


def failed_reasons_view(events: Events | None) -> list[dict[str, Any]] | None:
    """Why jobs of a queue failed, the most frequent reasons first; None: it is not counted."""
    reasons = events.counters.reasons if events else None
    if reasons is None:
        return None
    return [
        {
            "reason": reason.text,
            "jobs": reason.jobs,
            "first": reason.first,
            "last": reason.last,
            "job": readable(reason.job),
        }
        for reason in reasons.known[:MOST_REASONS]
    ]


def job_names_view(events: Events | None) -> list[dict[str, Any]] | None:
    """The jobs of a queue by their name, those first that took most time; None: they are not counted."""
    names = events.counters.names if events else None
    if names is None:
        return None
    counted = names.all
    whole = sum(each.processing.total for each in counted)
    return [_job_name(each, whole) for each in sorted(counted, key=_by_size)]


def _by_size(counted: JobName) -> tuple[float, int, str]:
    return -counted.processing.total, -counted.added, counted.name


def _job_name(counted: JobName, whole: float) -> dict[str, Any]:
    wait, processing = counted.wait, counted.processing
    return {
        "name": counted.name,
        "added": counted.added,
        "completed": counted.completed,
        "failed": counted.failed,
        "retried": counted.retried,
        "wait_average": average(wait),
        "wait_p95": histogram_quantile(wait, 0.95),
        "processing_average": average(processing),
        "processing_p95": histogram_quantile(processing, 0.95),
        "processing_seconds": processing.total,
        "processing_share": processing.total / whole if whole else None,
    }
