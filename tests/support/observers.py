"""Looks of the scaler at a Prometheus, for one queue."""

from __future__ import annotations

from collections.abc import Callable

from scaler.model import Missing, QueueSample
from scaler.prometheus.observer import Observer, QueryResult
from scaler.prometheus.promql import QueueKey
from service.clock import Deadline

MAIL = QueueKey("bull", "mail")

ObserverOf = Callable[..., Observer]


def observe(one: Observer, seconds: float = 10) -> QueryResult:
    return one.observe(Deadline.after(seconds))


def mail(one: Observer, seconds: float = 10) -> QueueSample | Missing:
    return observe(one, seconds).of([MAIL])[MAIL]


def missing(one: Observer, seconds: float = 10) -> Missing:
    told = mail(one, seconds)
    assert isinstance(told, Missing), told
    return told
