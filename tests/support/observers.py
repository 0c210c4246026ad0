"""Queries of the scaler to a Prometheus, for one queue."""

from __future__ import annotations

from collections.abc import Callable

from scaler.model import Missing, QueueSample
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.promql import QueueKey
from service.clock import Deadline

MAIL = QueueKey("bull", "mail")

ObserverOf = Callable[..., Observer]


def observe(observer: Observer, seconds: float = 10) -> QueryResult:
    return observer.observe(Deadline.after(seconds))


def mail(observer: Observer, seconds: float = 10) -> QueueSample | Missing:
    return observe(observer, seconds).of([MAIL])[MAIL]


def missing(observer: Observer, seconds: float = 10) -> Missing:
    sample = mail(observer, seconds)
    assert isinstance(sample, Missing), sample
    return sample
