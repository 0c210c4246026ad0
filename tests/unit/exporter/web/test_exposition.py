"""The families of this process itself."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.settings import ExporterSettings
from exporter.switch import Switch
from exporter.views import Task
from exporter.web.exposition import Exposition
from service.api.auth import ApiKeyAuth
from tests.support import metric_families


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
