"""The external scaler as a part of the scaler: started, fed with each step, stopped; nothing without
`keda.listen`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from scaler.config.settings import ScalerSettings
from scaler.engines.certificates import certificates_of
from scaler.engines.decisions import Decisions, decisions_of
from scaler.step_result import StepResult
from service.clock import monotonic
from service.threads import Supervised
from service.web.address import parse_listen
from service.web.server import descriptor_limit

if TYPE_CHECKING:
    from scaler.keda.server import KedaServer


class ExternalScaler:
    """Answers KEDA, if the settings say where."""

    def __init__(self, settings: ScalerSettings) -> None:
        """Raises CertificateError."""
        self._server = _server(settings)

    def start(self) -> None:
        """Raises BindError; nothing runs then."""
        if self._server is not None:
            self._server.start()

    def publish(self, settings: ScalerSettings, result: StepResult, interval: float) -> None:
        """A step has just ended: KEDA is answered by it."""
        if self._server is not None:
            decisions = decisions_of(settings.targets, result, ended=monotonic(), interval=interval)
            self._server.publish(decisions)

    def stop(self) -> bool:
        """Whether its thread has ended."""
        return self._server is None or self._server.stop()

    @property
    def alive(self) -> bool:
        """Whether KEDA is answered, if it should be."""
        return self._server is None or self._server.alive

    @property
    def address(self) -> str | None:
        """host:port on which KEDA is answered; None: it is not."""
        return None if self._server is None else self._server.address

    @property
    def tasks(self) -> tuple[Supervised, ...]:
        """None: its thread is a server's, see `alive`."""
        return ()

    @property
    def series(self) -> list[Collector]:
        """What is exposed of the requests."""
        return [] if self._server is None else [self._server.requests]


def _server(settings: ScalerSettings) -> KedaServer | None:
    """Imported late: gRPC takes 13 MB and eight threads, which a scaler that acts by itself does not need."""
    if settings.keda.listen is None:
        return None
    from scaler.keda.server import KedaServer

    certificates = certificates_of(settings.keda.tls)
    host, port = parse_listen(settings.keda.listen)
    most = settings.keda.most_connections(descriptor_limit())
    decisions = Decisions(settings.targets)
    return KedaServer(host, port, decisions, most_connections=most, certificates=certificates)
