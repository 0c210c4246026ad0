"""The families of this process itself."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.settings import ExporterSettings
from exporter.switch import Switch
from exporter.views import Task
from exporter.web.exposition import Exposition
from service.api.auth import ApiKeyAuth
from service.web.negotiate import MetricsFormat
from tests.support import metric_families
from tests.support.assessments import assessment


def test_each_background_task_says_whether_it_succeeds() -> None:
    settings = ExporterSettings()
    tasks = [
        Task("discovery", alive=True, age=1.0, restarts=0),
        Task("watch", alive=False, age=90.0, restarts=3),
    ]
    auth = ApiKeyAuth(settings.api, "CRON_API_KEY")
    exposition = Exposition("1.0", Switch(settings.monitoring), auth, lambda: tasks)
    text = exposition.render(None, "text").plain().decode()
    assert 'oxherd_background_task_up{task="discovery"} 1.0\n' in text
    assert 'oxherd_background_task_up{task="watch"} 0.0\n' in text
    tasks.clear()
    assert "oxherd_background_task_up{" not in exposition.render(None, "text").plain().decode()


@pytest.mark.fault
def test_an_answer_says_how_many_samples_it_has() -> None:
    settings = ExporterSettings()
    auth = ApiKeyAuth(settings.api, "CRON_API_KEY")
    exposition = Exposition("1.0", Switch(settings.monitoring), auth, list)
    alone = exposition.render(None, "text").plain().decode()
    assert "oxherd_exposed_samples 0" not in alone
    own = sum(not line.startswith("#") for line in alone.splitlines())
    forms: tuple[MetricsFormat, ...] = ("text", "openmetrics", "text")
    for form in forms:
        text = exposition.render(assessment(), form).plain().decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        [said] = [line for line in lines if line.startswith("oxherd_exposed_samples")]
        assert float(said.split()[1]) == len(lines) - own - 1
    body = exposition.render(assessment(), "protobuf").plain()
    assert ("oxherd_exposed_samples", frozenset()) not in metric_families.samples(body)


def test_this_process_is_in_protobuf_too() -> None:
    settings = ExporterSettings()
    auth = ApiKeyAuth(settings.api, "CRON_API_KEY")
    exposition = Exposition("1.0", Switch(settings.monitoring), auth, list)
    body = exposition.render(None, "protobuf").plain()
    parsed = list(parse_text(exposition.render(None, "text").plain().decode()))
    samples = {
        (sample.name, frozenset(sample.labels.items())) for metric in parsed for sample in metric.samples
    }
    assert metric_families.samples(body).keys() == samples
    assert {"process_cpu_seconds_total", "python_gc_collections_total", "process_start_time_seconds"} <= {
        name for name, _ in samples
    }
    kinds = {
        metric.name + "_total" * (metric.type == "counter"): metric.type
        for metric in parsed
        if metric.samples
    }
    assert metric_families.kinds(body) == kinds
    assert metric_families.samples(body)["oxherd_build_info", frozenset({("version", "1.0")})] == 1
