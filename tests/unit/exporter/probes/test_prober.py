from __future__ import annotations

import logging

import pytest

from exporter.config.settings import ProbeSettings
from exporter.probes import prober
from exporter.probes.checks import ProbeError
from exporter.probes.prober import Prober


def test_a_problem_is_logged_once_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def probe(*_: object) -> None:
        raise ProbeError("status", "status 503, expected 2xx", status=503)

    monkeypatch.setattr(prober, "probe", probe)
    shop = Prober(ProbeSettings(name="shop", url="http://shop.example"))
    with caplog.at_level(logging.INFO):
        shop.step()
        shop.step()
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "probe failing")
    assert (vars(record)["probe"], vars(record)["why"]) == ("shop", "status 503, expected 2xx")
    assert shop.state is not None
    assert shop.state.failures == {"status": 2}
