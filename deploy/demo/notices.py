"""The lines that the demo prints for a notification: one for each alert in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

NoticeState: TypeAlias = Literal["FIRING", "REPEATED", "RESOLVED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One alert of one notification. REPEATED is an alert that still fires after its cooldown."""

    state: NoticeState
    severity: str
    alert: str
    about: str

    @property
    def text(self) -> str:
        """All except the state, in columns as wide as the project's own alerts need."""
        return f"{self.severity:<8}  {self.alert:<19}  {self.about}"


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
                about=alert["annotations"].get("description") or alert["annotations"].get("summary", ""),
            )

    def _state(self, fingerprint: str, status: str) -> NoticeState:
        if status == "resolved":
            self._fingerprints.discard(fingerprint)
            return "RESOLVED"
        state: NoticeState = "REPEATED" if fingerprint in self._fingerprints else "FIRING"
        self._fingerprints.add(fingerprint)
        return state
