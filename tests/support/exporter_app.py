"""The exporter's HTTP application without an exporter behind it, and a client without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import httpx

from exporter.api.forward import ScalerClient
from exporter.assessment import Assessment
from exporter.bullmq.busy import BusyJobs
from exporter.config.settings import MonitoringSettings
from exporter.history import Point
from exporter.peers.model import Peers
from exporter.snapshot.queues import QueueId
from exporter.switch import Monitoring, Switch
from exporter.views import About
from exporter.web.app import make_exporter_app
from service.api.auth import ApiKeyAuth
from service.api.settings import ApiSettings
from service.clock import Deadline
from service.outcome import UnreadableError
from service.web.body import Body
from service.web.negotiate import MetricsFormat
from tests.support.assessments import assessment


class FakeExporter:
    """Returns at once, and records the deadlines."""

    def __init__(self) -> None:
        self.given: list[float] = []
        self.reasons: list[str] = []
        self.switch = Switch(MonitoringSettings())

    def assess(self, deadline: Deadline) -> Assessment | None:
        self.given.append(deadline.remaining())
        return assessment() if self.switch.on else None

    def exposition(self, form: MetricsFormat, deadline: Deadline) -> Body:
        self.given.append(deadline.remaining())
        return Body([f"# {form}\n".encode()])

    def busy(self, prefix: str, names: Iterable[str], deadline: Deadline) -> BusyJobs:
        if "down" in names:
            raise UnreadableError("timeout", "a: no answer")
        if "mail" not in names:
            raise UnreadableError("not_found", "no matching queue")
        return BusyJobs((QueueId(prefix, "mail"),), {"pod-1": 2}, unnamed=1)

    def about(self) -> About:
        return About("1.2.3", monitoring=self.switch.on, uptime=1.0)

    def history(self) -> tuple[Point, ...]:
        return ()

    def peers(self) -> Peers:
        return Peers()

    def monitoring(self) -> Monitoring:
        return self.switch.state

    def monitor(self, *, on: bool, interval_minutes: float | None) -> Monitoring:
        return self.switch.turn(on=on, interval_minutes=interval_minutes)

    def why_not_ready(self) -> list[str]:
        return self.reasons


OPEN = ApiSettings()


class Client:
    """Calls the application as a server would, without a socket."""

    def __init__(self, exporter: FakeExporter, api: ApiSettings = OPEN) -> None:
        self._transport = httpx.ASGITransport(
            make_exporter_app(exporter, ApiKeyAuth(api, "CRON_API_KEY"), ScalerClient(None, 1))
        )

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://exporter") as client:
                return await client.request(
                    method,
                    path,
                    headers={"accept-encoding": "identity"} | dict(headers or {}),
                    content=content,
                )

        return asyncio.run(call())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)
