from __future__ import annotations

import pytest

from scaler.backends import LocalBackend
from scaler.config.settings import ScalerSettings

TARGET = {"queues": ["mail"], "processes": {"command": ["true"]}}


def started(settings: dict[str, object]) -> None:
    targets = [{"name": name, **TARGET} for name in ("mail", "video")]
    checked = ScalerSettings.model_validate({"targets": targets, **settings})
    backend = LocalBackend(checked)
    for target in checked.targets:
        backend.target(target).close()


def test_without_an_exporter_it_is_said_once_that_a_scale_in_ends_the_youngest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started({})
    [record] = caplog.records
    assert record.message == "idle workers not known"
    assert "exporter_url is not set" in vars(record)["why"]


def test_with_an_exporter_idle_workers_go_first_without_a_further_setting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started({"exporter_url": "http://127.0.0.1:9877"})
    assert caplog.records == []
