"""Targets that are declared where their workers run, beside those of the settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from scaler.config.settings import TargetSettings
from scaler.model import Control, Override


@dataclass(frozen=True, slots=True)
class Orders:
    """What is ordered where a target is declared. `problem`: why an order cannot be read (empty: all can)."""

    paused: bool = False
    override: Override | None = None
    problem: str = ""

    def joined(self, control: Control, at: float) -> Control:
        """With what operators have set in the scaler's state, whose override counts more. An order that
        cannot be read may be any: the target stays as it is. `at`: now, in unix seconds."""
        override = control.override
        if override is None and self.override is not None:
            until = self.override.until
            override = self.override if until is None or until > at else None
        paused = control.paused or self.paused or bool(self.problem)
        return control if (paused, override) == control else Control(paused, override)


NO_ORDERS: Final = Orders()


class Declared(NamedTuple):
    """The targets, and the orders of those that have any, by name. The same object while nothing changes."""

    targets: tuple[TargetSettings, ...] = ()
    orders: Mapping[str, Orders] = MappingProxyType({})


NOTHING: Final = Declared()
