"""The TLS of the server: our certificate of now, and only the API server's own is taken of a client."""

from __future__ import annotations

import logging
import ssl
from typing import Final

from scaler.config.external_metrics import ExternalMetricsTlsSettings
from scaler.engines.certificates import Certificates, certificates_of
from scaler.external_metrics.front_proxy import FrontProxy, FrontProxyError, front_proxy_of
from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from service.clock import Deadline, monotonic
from service.logs import ProblemLog
from service.threads import Supervised, backoff
from service.web.latest_context import LatestContext

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 2.0  # between two looks at the files
_EVERY_SECONDS: Final = 60.0  # between two looks at the ConfigMap, which changes with the cluster's CA
_MOST_SECONDS: Final = 30.0  # of a request


class FrontProxyTls:
    """Until the API server has said what its certificate is, no handshake succeeds."""

    def __init__(self, api: KubeApi, tls: ExternalMetricsTlsSettings) -> None:
        """Raises CertificateError."""
        self._api = api
        self._tls = tls
        self._files = certificates_of(tls)
        self._made: tuple[Certificates | None, FrontProxy | None] | None = None
        self._due = float("-inf")
        self._failures = 0
        self._problem = ProblemLog(log, "front proxy not known", "front proxy known")
        self.proxy: FrontProxy | None = None
        self.context: Final = LatestContext(_context(tls, None))
        self.task: Final = Supervised("front proxy", self._step, max_age=_EVERY_SECONDS + 2 * _MOST_SECONDS)

    def _step(self) -> float:
        if monotonic() >= self._due:
            self._ask()
        made = self._files.current() if self._files else None, self.proxy
        if made != self._made:
            try:
                self.context.latest = _context(self._tls, self.proxy)
            except (OSError, ssl.SSLError):  # a file is being replaced
                return _POLL_SECONDS
            self._made = made
        return _POLL_SECONDS

    def _ask(self) -> None:
        """What is known stays while nothing better is."""
        try:
            proxy = front_proxy_of(self._api.front_proxy(Deadline.after(_MOST_SECONDS)))
            _context(self._tls, proxy)
        except (KubeError, FrontProxyError) as error:
            self._failed(str(error))
        except (OSError, ssl.SSLError):
            self._failed("requestheader-client-ca-file is no PEM of certificates")
        else:
            self.proxy, self._failures, self._due = proxy, 0, monotonic() + _EVERY_SECONDS
            self._problem.report("")

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._due = monotonic() + min(_EVERY_SECONDS, backoff(self._failures))
        self._problem.report(why)


def _context(tls: ExternalMetricsTlsSettings, proxy: FrontProxy | None) -> ssl.SSLContext:
    """Raises OSError and ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The password, which no key of ours has, keeps OpenSSL from asking a terminal for one.
    context.load_cert_chain(str(tls.cert_file), str(tls.key_file), lambda: "")
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a bundle may hold what is between root and leaf
    if proxy is not None:
        context.load_verify_locations(cadata=proxy.ca)
    return context
