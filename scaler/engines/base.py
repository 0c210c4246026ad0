"""An engine that acts on our number, as a part of the scaler: KEDA, the HPA."""

from __future__ import annotations

from typing import Protocol

from prometheus_client.registry import Collector

from scaler.config.settings import ScalerSettings
from scaler.step_result import StepResult
from service.threads import Supervised


class Engine(Protocol):
    """Does nothing where the settings do not name an address for it."""

    def start(self) -> None:
        """Begin to answer. Raises BindError; nothing runs then."""

    def publish(self, settings: ScalerSettings, result: StepResult, interval: float) -> None:
        """A step has just ended: answer by it. `interval`: seconds between two steps."""

    def stop(self) -> bool:
        """Whether its threads have ended."""

    @property
    def alive(self) -> bool:
        """Whether it answers, if it should."""

    @property
    def address(self) -> str | None:
        """host:port that is listened on, once started; None: none is."""

    @property
    def tasks(self) -> tuple[Supervised, ...]:
        """Its supervised threads."""

    @property
    def series(self) -> list[Collector]:
        """What is exposed of its questions."""
