"""The families of this process itself."""

from __future__ import annotations

from exporter.config.settings import ExporterSettings
from exporter.switch import Switch
from exporter.views import Task
from exporter.web.exposition import Exposition
from service.api.auth import ApiKeyAuth


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
