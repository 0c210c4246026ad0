"""Prometheus and the scaler answer the doctor with JSON of any form: findings, never a traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.validation import load_exporter_settings
from exporter.doctor.checks.table import diagnose
from exporter.doctor.examination import Examination
from exporter.doctor.peer_readers import read_prometheus, read_scaler
from exporter.doctor.report import report_lines
from service.catalogs import ENGLISH
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome, UnreadableError
from service.web.client import HttpResponse
from tests.support.any_json import ANY_JSON, damaged
from tests.support.public_interface import FIXTURES

LOADED = load_exporter_settings(
    "redis: {url: redis://a:1}\napi: {prometheus_url: 'http://p:9090', scaler_url: 'http://s:9878'}\n",
    {},
    file="e",
)
ANSWERS: dict[str, Any] = {
    "/api/v1/query": {
        "data": {"result": [{"metric": {"job": "oxherd", "instance": "a:1", "redis_deployment": "x"}}]}
    },
    "/api/v1/rules": {
        "data": {
            "groups": [
                {"rules": [{"type": "alerting", "name": "A", "query": 'up{job="x"}', "lastError": ""}]}
            ]
        }
    },
    "/api/v1/targets": {
        "data": {
            "activeTargets": [
                {
                    "labels": {"job": "oxherd", "instance": "a:1"},
                    "health": "up",
                    "lastError": "",
                    "scrapeInterval": "1m30s",
                    "lastScrape": "2026-01-02T03:04:05.6Z",
                }
            ]
        }
    },
    "/api/v1/alertmanagers": {"data": {"activeAlertmanagers": [{"url": "http://m:9093/api/v2/alerts"}]}},
    "/status.json": json.loads((FIXTURES / "scaler-status.json").read_text()),
}


@pytest.mark.fault
@pytest.mark.slow
@given(st.one_of(damaged(ANSWERS), st.fixed_dictionaries(dict.fromkeys(ANSWERS, ANY_JSON))))
def test_whatever_the_neighbours_answer_the_doctor_reports(answers: dict[str, Any]) -> None:
    def fetch(url: str, **_: object) -> HttpResponse:
        path = "/" + url.partition("?")[0].split("/", 3)[3]
        return HttpResponse(200, {}, json.dumps(answers.get(path, "")).encode())

    def outcome(read: Any, *arguments: Any) -> Outcome[Any]:
        try:
            return Ok(read(*arguments, Deadline.after(5)))
        except UnreadableError as error:
            return Failed(error.kind, str(error))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.doctor.peer_readers.fetch", fetch)
        patch.setattr("service.web.status_client.fetch", fetch)
        prometheus = outcome(read_prometheus, "http://p:9090")
        scaler = outcome(read_scaler, "http://s:9878", None)
    examination = Examination(LOADED, prometheus=prometheus, scaler=scaler)
    lines = list(report_lines(diagnose(examination), ENGLISH, width=100))
    assert lines
    assert all(line.isprintable() for line in lines)
