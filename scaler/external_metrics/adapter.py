"""The external metrics as a part of the scaler: started, fed with each step, stopped; nothing without
`external_metrics.listen`.

Every scaler answers, whether it leads or not, for the reasons of KEDA's: nothing is written, and a Service
knows pods that are ready, not which of them leads.
"""

from __future__ import annotations

from typing import Final

from prometheus_client.registry import Collector

from scaler.backends import BackendError
from scaler.config.settings import ScalerSettings, TargetSettings
from scaler.engines.decisions import Decisions, decisions_of
from scaler.external_metrics.answers import Located, places_of
from scaler.external_metrics.app import Published, make_external_metrics_app
from scaler.external_metrics.series import ExternalMetricsRequests
from scaler.external_metrics.tls import FrontProxyTls
from scaler.kube.api import KubeApi
from scaler.kube.lease import identity
from scaler.kube.wire.credentials import NoClusterError
from scaler.step_result import StepResult
from service.clock import monotonic
from service.threads import Supervised
from service.web.address import parse_listen
from service.web.server import WebServer
from service.web.settings import WebSettings

_CONNECTIONS: Final = WebSettings(max_connections=64)  # of API servers, which keep theirs
_SHARE: Final = 8  # of the descriptors, beside the half that the other HTTP server may take


class ExternalMetrics:
    """Answers the API server, if the settings say where."""

    def __init__(self, settings: ScalerSettings) -> None:
        """Raises CertificateError and BackendError."""
        self._running = None if settings.external_metrics.listen is None else _Running(settings)

    def start(self) -> None:
        """Raises BindError; nothing runs then."""
        if self._running is not None:
            self._running.start()

    def publish(self, settings: ScalerSettings, result: StepResult, interval: float) -> None:
        """A step has just ended: the API server is answered by it."""
        if self._running is not None:
            decisions = decisions_of(settings.targets, result, ended=monotonic(), interval=interval)
            self._running.publish(settings.targets, decisions)

    def stop(self) -> bool:
        """Whether its threads have ended."""
        return self._running is None or self._running.stop()

    @property
    def alive(self) -> bool:
        """Whether it is answered, if it should be."""
        return self._running is None or self._running.server.alive

    @property
    def address(self) -> str | None:
        """host:port that is listened on, once started; None: none is."""
        return None if self._running is None else self._running.server.address

    @property
    def tasks(self) -> tuple[Supervised, ...]:
        """Its background threads."""
        return () if self._running is None else (self._running.tls.task,)

    @property
    def series(self) -> list[Collector]:
        """What is exposed of the questions."""
        return [] if self._running is None else [self._running.requests]


class _Running:
    def __init__(self, settings: ScalerSettings) -> None:
        try:
            self._api = KubeApi(settings.kubernetes, identity())
        except NoClusterError as error:
            raise BackendError(str(error)) from None
        self.tls = FrontProxyTls(self._api, settings.external_metrics.tls)
        self.requests = ExternalMetricsRequests(lambda: self.tls.proxy is not None)
        self._targets: tuple[TargetSettings, ...] = ()
        self._places: list[Located] = []
        self._published = Published(Decisions(settings.targets), [])
        self.publish(settings.targets, Decisions(settings.targets))
        app = make_external_metrics_app(
            lambda: self._published, lambda: self.tls.proxy, self.requests.count, monotonic
        )
        host, port = parse_listen(settings.external_metrics.listen or "")
        self.server = WebServer(
            app,
            host,
            port,
            settings=_CONNECTIONS,
            tls=self.tls.context,
            setting="external_metrics.listen",
            share=_SHARE,
        )

    def start(self) -> None:
        self.server.start()
        self.tls.task.start()

    def publish(self, targets: tuple[TargetSettings, ...], decisions: Decisions) -> None:
        if targets is not self._targets:
            self._targets, self._places = targets, places_of(targets, self._api.namespace)
        self._published = Published(decisions, self._places)

    def stop(self) -> bool:
        ended = self.tls.task.stop()
        ended = self.server.stop() and ended
        self._api.close()
        return ended
