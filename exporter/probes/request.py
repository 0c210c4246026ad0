"""One probe of an endpoint: connect, request, read, redirects included, all within one deadline."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from exporter.config.settings import ProbeSettings
from exporter.probes.checks import ProbeError, ProbeFailure, check_body, check_status, next_url
from service.clock import Deadline
from service.web.client import ErrorKind, HttpClientError, connect, fetch

_BODY_LIMIT: Final = 1 << 20
_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class ProbeResult(NamedTuple):
    """A probe that succeeded. `expires`: when the certificate expires (unix s); None without TLS."""

    status: int | None = None
    expires: float | None = None


def probe(settings: ProbeSettings, deadline: Deadline) -> ProbeResult:
    """Probe the endpoint once. Raises ProbeError."""
    try:
        if settings.url.startswith("tcp://"):
            parts = urlsplit(settings.url)
            connect(parts.hostname or "", parts.port or 0, deadline)
            return ProbeResult()
        return _request(settings, deadline)
    except HttpClientError as error:
        raise probe_error(error) from None
    except (OSError, ValueError) as error:  # a CA bundle that cannot be read, a header that cannot be sent
        raise ProbeError("protocol", f"the probe cannot be sent: {type(error).__name__}") from None


def _request(settings: ProbeSettings, deadline: Deadline) -> ProbeResult:
    url, headers, status = settings.url, _headers(settings), 0
    for _ in range(_MAX_REDIRECTS + 1):
        response = fetch(
            url,
            method=settings.method,
            deadline=deadline,
            headers=headers,
            limit=_BODY_LIMIT,
            truncate=True,
            tls=_context(settings) if url.startswith("https:") else None,
        )
        status = response.status
        if status not in _REDIRECTS or str(status) in settings.expect_status:
            check_status(status, settings.expect_status)
            check_body(response.body, settings.expect_body, status)
            if deadline.passed():
                raise ProbeError("timeout", "the body was not searched in time", status=status)
            return ProbeResult(status, response.certificate_expires)
        before = urlsplit(url)
        url = next_url(url, response.headers.get("location"), settings.follow_redirects, status)
        if not may_have_headers(before, urlsplit(url)):
            headers = {"User-Agent": headers["User-Agent"]}  # a secret of one origin is not sent to another
    raise ProbeError("redirect", f"more than {_MAX_REDIRECTS} redirects", status=status)


def may_have_headers(before: SplitResult, after: SplitResult) -> bool:
    """Whether a redirect keeps the headers: to the same scheme, host and port, or from http to https of the
    host, each on its usual port: on another port is another service."""
    if before.hostname != after.hostname:
        return False
    ways = (before.scheme, _port(before)), (after.scheme, _port(after))
    return ways[0] == ways[1] or ways == (("http", 80), ("https", 443))


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _context(settings: ProbeSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _headers(settings: ProbeSettings) -> dict[str, str]:
    """The headers of this probe. Files are read each time, as a token may change."""
    try:
        secret = {
            name: Path(path).read_text(encoding="utf-8").strip()
            for name, path in settings.header_files.items()
        }
    except (OSError, ValueError):
        raise ProbeError("protocol", "a file of header_files cannot be read") from None
    return {"User-Agent": "oxherd", "Accept": "*/*", **settings.headers, **secret}


_FAILURES: Final[Mapping[ErrorKind, ProbeFailure]] = {
    "dns": "dns",
    "refused": "refused",
    "unreachable": "unreachable",
    "timeout": "timeout",
    "certificate": "certificate",
    "tls": "protocol",
    "closed": "protocol",
    "protocol": "protocol",
    "too_large": "protocol",
}


def probe_error(error: HttpClientError) -> ProbeError:
    """A failed exchange as the failure of its probe."""
    return ProbeError(_FAILURES[error.kind], str(error))
