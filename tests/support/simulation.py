"""The shipped policy in simulated time."""

from __future__ import annotations

from bench.contenders import Shipped
from bench.scenarios import Scenario
from scaler.backtest.plant import Report
from scaler.backtest.simulate import simulate
from scaler.config.settings import PolicySettings


def shipped(scenario: Scenario, settings: PolicySettings, *, interval: float = 5.0) -> Report:
    """Under these settings, with scrapes and decisions every `interval` seconds, half a scrape apart."""
    plant = scenario.plant(interval=interval, scrape=interval, phase=interval / 2, seed=1)
    controller = Shipped(settings, interval)
    return simulate(scenario.load, plant, controller, slo=scenario.slo, until=scenario.seconds)
