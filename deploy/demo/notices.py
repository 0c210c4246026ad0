"""What the demo's terminal shows of a notification: one line for each alert in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

NoticeState: TypeAlias = Literal["FIRING", "REPEATED", "RESOLVED"]

WHAT = ("queue", "node", "instance")
"""The labels that say what an alert is about, the most telling first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One alert of one notification. REPEATED is an alert that still holds, told again after its cooldown."""

    state: NoticeState
    severity: str
    alert: str
    summary: str
    what: str

    @property
    def text(self) -> str:
        """All but the state, in columns as wide as the longest that the project's own alerts put there."""
        about = f"{self.summary.rstrip('.')}: {self.what}" if self.what else self.summary
        return f"{self.severity:<8}  {self.alert:<19}  {about}"


class Firing:
    """Which alerts have been told, by their fingerprints: the only thing that tells a repeat from a start."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def notices(self, body: Mapping[str, Any]) -> Iterator[Notice]:
        """The alerts in the body of Alertmanager's webhook (version 4)."""
        for alert in body["alerts"]:
            labels = alert["labels"]
            yield Notice(
                state=self._state(alert["fingerprint"], alert["status"]),
                severity=labels.get("severity", ""),
                alert=labels["alertname"],
                summary=alert["annotations"].get("summary", ""),
                what=next((labels[name] for name in WHAT if name in labels), ""),
            )

    def _state(self, fingerprint: str, status: str) -> NoticeState:
        if status == "resolved":
            self._told.discard(fingerprint)
            return "RESOLVED"
        state: NoticeState = "REPEATED" if fingerprint in self._told else "FIRING"
        self._told.add(fingerprint)
        return state
