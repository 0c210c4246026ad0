"""What others know and the page shows: the scaler's targets, the alerts that fire in Prometheus. Asked in the
background; a page never waits for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from exporter.peers.model import Peers, PeerStatus
from exporter.settings import ExporterApiSettings
from service.clock import Deadline, now
from service.threads import Supervised
from service.web.client import HttpClientError, fetch
from service.web.status_client import StatusError, fetch_status, key_from_settings

_EVERY: Final = 10.0
_SECONDS: Final = 3.0
_LIMIT: Final = 16 << 20
_MOST_ALERTS: Final = 100


class PeerPoller:
    """Asks both every ten seconds."""

    def __init__(self, settings: ExporterApiSettings) -> None:
        self._key = key_from_settings(settings)
        self._scaler_url, self._prometheus_url = settings.scaler_url, settings.prometheus_url
        self._peers = Peers(
            PeerStatus(None, None, "not asked yet") if self._scaler_url else None,
            PeerStatus(None, None, "not asked yet") if self._prometheus_url else None,
        )
        known = bool(self._scaler_url or self._prometheus_url)
        self.tasks: Final = (Supervised("neighbours", self._step, max_age=60.0),) if known else ()

    @property
    def peers(self) -> Peers:
        """As of the last round."""
        return self._peers

    def _step(self) -> float:
        before = self._peers
        self._peers = Peers(self._ask_scaler(before.scaler), self._ask_prometheus(before.alerts))
        return _EVERY

    def _ask_scaler(self, before: PeerStatus | None) -> PeerStatus | None:
        if before is None or self._scaler_url is None:
            return None
        try:
            view = fetch_status(
                self._scaler_url.rstrip("/"),
                "scaler",
                "oxherd scaler",
                seconds=_SECONDS,
                headers={},
                key=self._key,
            )
        except StatusError as error:
            return PeerStatus(before.at, None, str(error))
        return PeerStatus(now(), view, "")

    def _ask_prometheus(self, before: PeerStatus | None) -> PeerStatus | None:
        if before is None or self._prometheus_url is None:
            return None
        url = self._prometheus_url.rstrip("/") + "/api/v1/alerts"
        try:
            response = fetch(
                url,
                deadline=Deadline.after(_SECONDS),
                headers={"accept": "application/json"},
                limit=_LIMIT,
            )
            return PeerStatus(now(), firing(json.loads(response.body)), "")
        except HttpClientError as error:
            return PeerStatus(before.at, None, f"Prometheus cannot be asked: {error}")
        except (ValueError, RecursionError):
            return PeerStatus(before.at, None, "what answers at PROMETHEUS_URL is not a Prometheus")


def firing(answer: Any) -> list[dict[str, str]]:
    """The alerts of our rules that fire, each with name, severity and summary; known by their `cooldown`.

    Raises ValueError: not what Prometheus answers.
    """
    alerts = answer.get("data", {}).get("alerts") if isinstance(answer, Mapping) else None
    if not isinstance(alerts, list):
        raise ValueError("no alerts")  # noqa: TRY004  # it is data
    found = []
    for one in alerts:
        labels, notes = one.get("labels") or {}, one.get("annotations") or {}
        if one.get("state") == "firing" and "cooldown" in labels:
            found.append(
                {
                    "name": str(labels.get("alertname", "")),
                    "severity": str(labels.get("severity", "")),
                    "summary": str(notes.get("summary", "")),
                    "since": str(one.get("activeAt", ""))[:19].replace("T", " "),
                }
            )
    return sorted(found, key=lambda one: (one["severity"] != "critical", one["name"]))[:_MOST_ALERTS]
