"""All targets as one value: those of the settings, and those declared where the workers run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scaler.config.settings import ScalerSettings
from scaler.configuration import Reloader
from scaler.sources.declared import NO_ORDERS, NOTHING, Declared, Orders


class TargetSources:
    """All targets as one value: the settings, whose `targets` are those of each source. For one thread;
    `settings` for all."""

    def __init__(self, reloader: Reloader, declared: Callable[[ScalerSettings], Declared]) -> None:
        """`declared` returns the targets beside those of the settings, none of which has the same name,
        workload or queue."""
        self._reloader: Final = reloader
        self._declared_by: Final = declared
        self._own = self._all = reloader.current
        self._declared = NOTHING

    @property
    def settings(self) -> ScalerSettings:
        """As of the last `refresh`: the same object while nothing changes."""
        return self._all

    def refresh(self) -> ScalerSettings:
        """Take over a changed file, and what is declared now. Never raises."""
        self._reloader.reload()
        own = self._reloader.current
        declared = self._declared_by(own)
        if own is not self._own or declared.targets is not self._declared.targets:
            targets = (*own.targets, *declared.targets)
            self._all = own.model_copy(update={"targets": targets}) if declared.targets else own
        self._own, self._declared = own, declared
        return self._all

    def orders(self, target: str) -> Orders:
        """What is ordered where the target is declared."""
        return self._declared.orders.get(target, NO_ORDERS)
