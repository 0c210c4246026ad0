"""The figures of a run as ratios, compared with those of the last run that was committed.

Machines differ, so that no time is kept, only how many times a floor or a peer of the same run it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

Ratios: TypeAlias = dict[str, float]
"""The name of a figure (`cost, 1,000 queues, idle`) to its ratio; less is better."""

FILE: Final = Path(__file__).with_name("ratios.json")
MOST: Final = 1.5
"""How many times the committed ratio a ratio may be."""


def committed(file: Path = FILE) -> Ratios:
    """The ratios of the last run that was kept."""
    ratios: Ratios = json.loads(file.read_text())
    return ratios


def keep(measured: Mapping[str, float], file: Path = FILE) -> None:
    """Write the ratios of a run; those that it has not measured stay."""
    before = committed(file) if file.exists() else {}
    rounded = {name: float(f"{ratio:.3g}") for name, ratio in measured.items()}
    file.write_text(json.dumps(dict(sorted((before | rounded).items())), indent=2) + "\n")


def costlier(measured: Mapping[str, float], before: Mapping[str, float], most: float = MOST) -> list[str]:
    """A sentence for each ratio that is over `most` times what it was. New ones have nothing to be compared
    with."""
    return [
        f"{name}: {ratio:.2f}, {ratio / before[name]:.2f} times the {before[name]:.2f} that is committed"
        for name, ratio in measured.items()
        if name in before and ratio > most * before[name]
    ]


def table(measured: Mapping[str, float], before: Mapping[str, float]) -> str:
    """The ratios beside those that are committed."""
    lines = [f"{'ratio':<52}{'now':>8}{'committed':>11}{'change':>8}"]
    for name, ratio in measured.items():
        was = before.get(name)
        compared = f"{was:>11.2f}{ratio / was:>8.2f}" if was else f"{'-':>11}"
        lines.append(f"{name:<52}{ratio:>8.2f}{compared}")
    return "\n".join(lines)
