"""`monitor doctor`: what it reads of Redis, of Prometheus and of the scaler, and what it says of that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from unittest.mock import patch

from exporter.config.validation import load_exporter_settings
from exporter.doctor import peer_readers
from exporter.doctor.checks.table import diagnose
from exporter.doctor.examination import Examination, RedisLook
from exporter.doctor.peer_readers import read_prometheus, read_scaler
from exporter.doctor.redis_reader import read_redis
from exporter.doctor.report import report_lines
from exporter.redis.protocol import Reply
from service.catalogs import ENGLISH
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError
from service.web.client import HttpResponse
from tests.fuzz.inputs import JSON, REPLIES
from tests.fuzz.of_monitor import answering
from tests.fuzz.search import REFUSED, Target
from tests.support.key_servers import CACHE

_URL: Final = "http://127.0.0.1:9090"
_LOADED: Final = load_exporter_settings(f"redis: {{url: 'redis://{CACHE}'}}\nbullmq: {{queues: [mail]}}", {})


@cache
def _healthy() -> RedisLook:
    with answering([]):
        return read_redis(_LOADED.model, Deadline.after(5))


def _redis(replies: list[Reply]) -> None:
    with answering(replies):
        look = read_redis(_LOADED.model, Deadline.after(5))
    _say(Examination(_LOADED, redis=Ok(look)))


def _say(examination: Examination) -> None:
    for line in report_lines(diagnose(examination), ENGLISH, width=80):
        assert "\n" not in line, line


def _peers(data: Any) -> object:
    """By the last part of each path: the answers of Prometheus, one a text, and that of the scaler."""
    if not isinstance(data, Mapping):
        return REFUSED

    def answer(url: str, **_: object) -> HttpResponse:
        found = data.get(url.partition("?")[0].rpartition("/")[2])
        body = found.encode("utf-8", "replace") if isinstance(found, str) else json.dumps(found).encode()
        return HttpResponse(200, {}, body)

    prometheus: Outcome[Any]
    scaler: Outcome[Any]
    with (
        patch.object(peer_readers, "fetch", answer),
        patch.object(peer_readers, "fetch_status", lambda *_, **__: data.get("scaler")),
    ):
        try:
            prometheus = Ok(read_prometheus(_URL, Deadline.after(5)))
        except UnreadableError as error:
            prometheus = Failed(error.kind, str(error))
        try:
            scaler = Ok(read_scaler(_URL, None, Deadline.after(5)))
        except UnreadableError as error:
            scaler = Failed(error.kind, str(error))
    _say(Examination(_LOADED, redis=Ok(_healthy()), prometheus=prometheus, scaler=scaler))
    return None if isinstance(prometheus, Ok) and isinstance(scaler, Ok) else REFUSED


TARGETS_OF_DOCTOR: Final = (
    Target("doctor_redis", REPLIES, _redis, words=(b"first-entry", b"no permissions"), quick=300),
    Target("doctor_peers", JSON, _peers, words=(b"15s", b"1m30s", b"oxherd", b"HighFailedJobs", b"up")),
)
