"""The lines that the demo prints for a notification: one for each alert in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

NoticeState: TypeAlias = Literal["FIRING", "REPEATED", "RESOLVED"]

WHAT = ("queue", "node", "instance")
"""The labels that name the object of an alert, the most specific first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One alert of one notification. REPEATED is an alert that still fires after its cooldown."""

    state: NoticeState
    severity: str
    alert: str
    summary: str
    what: str

    @property
    def text(self) -> str:
        """All except the state, in columns as wide as the project's own alerts need."""
        about = f"{self.summary.rstrip('.')}: {self.what}" if self.what else self.summary
        return f"{self.severity:<8}  {self.alert:<19}  {about}"


class Firing:
    """The alerts that fire, by fingerprint: only this distinguishes a repeat from a start."""

    def __init__(self) -> None:
        self._fingerprints: set[str] = set()

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
            self._fingerprints.discard(fingerprint)
            return "RESOLVED"
        state: NoticeState = "REPEATED" if fingerprint in self._fingerprints else "FIRING"
        self._fingerprints.add(fingerprint)
        return state
