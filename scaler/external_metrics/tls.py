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
        self._unknown = ProblemLog(log, "front proxy not known", "front proxy known")
        self._outdated = ProblemLog(log, "front proxy not read, last one stays", "front proxy read again")
        self.proxy: FrontProxy | None = None
        self.context: Final = LatestContext(_context(tls, None))
        self.task: Final = Supervised("front proxy", self._step, max_age=_EVERY_SECONDS + 2 * _MOST_SECONDS)

    def _step(self) -> float:
        if monotonic() >= self._due:
            self._ask()
        made = self._files.current() if self._files else None, self.proxy
        if made != self._made:
            self._renew(made)
        return _POLL_SECONDS

    def _renew(self, made: tuple[Certificates | None, FrontProxy | None]) -> None:
        try:
            self.context.latest = _context(self._tls, self.proxy)
        except (OSError, ssl.SSLError):  # of the files: the certificate of before stays, the authority is new
            if self.proxy is not None:
                self.context.latest.load_verify_locations(cadata=self.proxy.ca)
        else:
            self._made = made

    def _ask(self) -> None:
        """What is known stays while nothing better is."""
        try:
            proxy = front_proxy_of(self._api.front_proxy(Deadline.after(_MOST_SECONDS)))
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=proxy.ca)
        except KubeError as error:
            self._failed(str(error), error.retry_after or 0.0)
        except FrontProxyError as error:
            self._failed(str(error))
        except ssl.SSLError:
            self._failed("requestheader-client-ca-file is no PEM of certificates")
        else:
            self.proxy, self._failures, self._due = proxy, 0, monotonic() + _EVERY_SECONDS
            self._unknown.report("")
            self._outdated.report("")

    def _failed(self, why: str, pause: float = 0.0) -> None:
        """`pause`: seconds that the API server wants before it is asked again."""
        self._failures += 1
        self._due = monotonic() + min(_EVERY_SECONDS, max(pause, backoff(self._failures)))
        (self._unknown if self.proxy is None else self._outdated).report(why)


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
