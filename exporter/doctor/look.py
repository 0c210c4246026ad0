"""Looks once: Redis, Prometheus and the scaler at the same time, all within one deadline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, Final, TypeVar

from exporter.config.notices import exporter_notices
from exporter.config.settings import ExporterSettings
from exporter.doctor.examination import Examination, RedisLook
from exporter.doctor.peer_readers import read_prometheus, read_scaler
from exporter.doctor.redis_reader import read_redis
from service.clock import Deadline
from service.config.load import Loaded
from service.outcome import Failed, Ok, Outcome, UnreadableError
from service.threads import NoThreadError, start_thread
from service.web.status_client import key_from_settings

log = logging.getLogger(__name__)

T = TypeVar("T")
_READING_SHARE: Final = 0.9  # of the time: what ends by itself at its end has time to say what it read
_LATE: Final = Failed("timeout", "not read in time")


def examine(loaded: Loaded[ExporterSettings], environ: Mapping[str, str], deadline: Deadline) -> Examination:
    """Everything that can be read until the deadline; the rest is Failed, or None without its URL."""
    api = loaded.model.api
    reading = deadline.at_most(deadline.remaining() * _READING_SHARE)
    redis: Future[Outcome[RedisLook]] = _begin("redis", partial(read_redis, loaded.model, reading))
    prometheus = api.prometheus_url and _begin(
        "prometheus", partial(read_prometheus, api.prometheus_url, reading)
    )
    scaler = api.scaler_url and _begin(
        "scaler", partial(read_scaler, api.scaler_url, key_from_settings(api), reading)
    )
    parts: list[Future[Any]] = [part for part in (redis, prometheus, scaler) if part]
    wait(parts, deadline.remaining())
    return Examination(
        loaded=loaded,
        notices=tuple(exporter_notices(loaded, environ)),
        variables=frozenset(name for name, value in environ.items() if value.strip()),
        redis=_result(redis),
        prometheus=_result(prometheus) if prometheus else None,
        scaler=_result(scaler) if scaler else None,
    )


def _begin(name: str, read: Callable[[], T]) -> Future[Outcome[T]]:
    """In a daemon thread: what hangs in the kernel must not block the exit of the process."""
    future: Future[Outcome[T]] = Future()

    def run() -> None:
        try:
            future.set_result(Ok(read()))
        except UnreadableError as error:
            future.set_result(Failed(error.kind, str(error)))
        except Exception as error:  # a bug in one part must not hide the others
            log.exception("source failed", extra={"source": name})
            future.set_result(Failed("error", f"{type(error).__name__}, a bug in this command; see above"))

    try:
        start_thread(run, f"doctor:{name}")
    except NoThreadError as error:
        future.set_result(Failed("error", str(error)))
    return future


def _result(future: Future[Outcome[T]]) -> Outcome[T]:
    return future.result() if future.done() else _LATE
