"""The exit code of a command, as in Nagios checks: 0 healthy, 1 warning, 2 critical or unknown."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from exporter.views import View

Area: TypeAlias = Literal["redis", "bullmq"]

_CODES: Final = {"healthy": 0, "warning": 1, "critical": 2}
CRITICAL: Final = 2


def exit_code(view: View) -> int:
    """The exit code of the whole state, by its status. An unknown state is critical, also of some queues."""
    health = view["health"]
    return CRITICAL if health is None or _incomplete(view) else _CODES[health["status"]]


def _incomplete(view: View) -> bool:
    """Whether a shard of the queues is missing in a view of all."""
    return bool((view.get("shard") or {}).get("missing"))


def area_exit_code(view: View, area: Area) -> int:
    """The exit code of one area, by its own issues: 2 if it cannot be read, or if they alone make the score
    critical."""
    health = view["health"]
    states = {source["name"]: source["state"] for source in view["sources"]}
    if (
        health is None
        or (area == "bullmq" and _incomplete(view))
        or states.get(area) not in ("ok", "partial")
    ):
        return CRITICAL
    penalties = [issue["penalty"] for issue in health["issues"] if issue["source"] == area]
    if not penalties:
        return 0
    return CRITICAL if 100 - sum(penalties) < 70 else 1
