"""Polls the scaler for its targets and Prometheus for firing alerts, in the background: the page shows
them and never waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exporter.config.settings import ExporterApiSettings
from exporter.peers.model import Peers, PeerStatus
from exporter.peers.scaler_report import scaler_report
from service.api.keys import ApiKeys
from service.clock import Deadline, now
from service.json_text import read_json
from service.threads import Supervised
from service.web.client import HttpClientError, fetch
from service.web.status_client import StatusError, fetch_status

_INTERVAL_SECONDS: Final = 10.0
_TIMEOUT_SECONDS: Final = 3.0
_MAX_BYTES: Final = 16 << 20
_MAX_PARSED: Final = 128 << 20  # bytes that an answer takes once it is parsed
_MAX_ALERTS: Final = 100
_LONGEST_TEXT: Final = 2000


class PeerPoller:
    """Polls both peers every ten seconds."""

    def __init__(self, settings: ExporterApiSettings) -> None:
        self._key = ApiKeys(settings).own
        self._scaler_url, self._prometheus_url = settings.scaler_url, settings.prometheus_url
        self._peers = Peers(
            PeerStatus(None, None, "not polled yet") if self._scaler_url else None,
            PeerStatus(None, None, "not polled yet") if self._prometheus_url else None,
        )
        any_peer = bool(self._scaler_url or self._prometheus_url)
        self.tasks: Final = (Supervised("peers", self._step, max_age=60.0),) if any_peer else ()

    @property
    def peers(self) -> Peers:
        """The responses of the last poll."""
        return self._peers

    def _step(self) -> float:
        before = self._peers
        self._peers = Peers(self._poll_scaler(before.scaler), self._poll_prometheus(before.alerts))
        return _INTERVAL_SECONDS

    def _poll_scaler(self, before: PeerStatus | None) -> PeerStatus | None:
        if before is None or self._scaler_url is None:
            return None
        try:
            view = fetch_status(
                self._scaler_url.rstrip("/"),
                "scaler",
                "oxherd scaler",
                seconds=_TIMEOUT_SECONDS,
                headers={},
                key=self._key(),
                most=_MAX_PARSED,
            )
        except StatusError as error:
            return PeerStatus(before.at, None, str(error))
        return PeerStatus(now(), scaler_report(view), "")

    def _poll_prometheus(self, before: PeerStatus | None) -> PeerStatus | None:
        if before is None or self._prometheus_url is None:
            return None
        url = self._prometheus_url.rstrip("/") + "/api/v1/alerts"
        try:
            response = fetch(
                url,
                deadline=Deadline.after(_TIMEOUT_SECONDS),
                headers={"accept": "application/json"},
                limit=_MAX_BYTES,
            )
            return PeerStatus(now(), firing_alerts(read_json(response.body, most=_MAX_PARSED)), "")
        except HttpClientError as error:
            return PeerStatus(before.at, None, f"Prometheus cannot be queried: {error}")
        except ValueError:
            return PeerStatus(before.at, None, "the server at PROMETHEUS_URL is not Prometheus")


def firing_alerts(response: Any) -> list[dict[str, str]]:
    """The firing alerts of Oxherd's own rules, which have a label `cooldown`: name, severity, summary, since.

    Raises ValueError for a response that is not of Prometheus.
    """
    data = response.get("data") if isinstance(response, Mapping) else None
    alerts = data.get("alerts") if isinstance(data, Mapping) else None
    if not isinstance(alerts, list) or not all(_is_alert(alert) for alert in alerts):
        raise ValueError("no alerts")
    firing = []
    for alert in alerts:
        labels, annotations = alert.get("labels") or {}, alert.get("annotations") or {}
        if alert.get("state") == "firing" and "cooldown" in labels:
            firing.append(
                {
                    "name": str(labels.get("alertname", ""))[:_LONGEST_TEXT],
                    "severity": str(labels.get("severity", ""))[:_LONGEST_TEXT],
                    "summary": str(annotations.get("summary", ""))[:_LONGEST_TEXT],
                    "since": str(alert.get("activeAt", ""))[:19].replace("T", " "),
                }
            )
    return sorted(firing, key=lambda alert: (alert["severity"] != "critical", alert["name"]))[:_MAX_ALERTS]


def _is_alert(alert: Any) -> bool:
    return isinstance(alert, Mapping) and all(
        isinstance(alert.get(part) or {}, Mapping) for part in ("labels", "annotations")
    )
