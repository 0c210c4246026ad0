"""Who may ask: the API server itself, for the clients that it has let through. Pure.

kube-apiserver authenticates a client and asks its roles before it passes a request on, with a client
certificate of its own. What that has to look like is in a ConfigMap of each cluster. Nobody else is answered,
so that there is nobody whose roles we would have to ask once more, as servers with direct clients have to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

_CA: Final = "requestheader-client-ca-file"
_NAMES: Final = "requestheader-allowed-names"


class FrontProxyError(ValueError):
    """The ConfigMap does not say who may ask."""


class FrontProxy(NamedTuple):
    """The CA bundle (PEM, ASCII) of the certificate, and its common names; without any each is right."""

    ca: str
    names: frozenset[str]

    def sent(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a client whose verified certificate is this one (see `ssl.SSLSocket.getpeercert`) is the
        API server."""
        if not certificate:
            return False
        return not self.names or not self.names.isdisjoint(_common_names(certificate))


def front_proxy_of(config_map: Mapping[str, Any]) -> FrontProxy:
    """Raises FrontProxyError."""
    data = config_map.get("data")
    data = data if isinstance(data, Mapping) else {}
    authority = data.get(_CA)
    if not isinstance(authority, str) or not authority.strip():
        raise FrontProxyError(f"{_CA} is missing: the cluster has no aggregation layer")
    try:
        names = json.loads(data.get(_NAMES) or "[]")
    except (ValueError, RecursionError, TypeError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FrontProxyError(f"{_NAMES} is no list of names")
    readable = authority.replace("\0", "?").encode("ascii", "replace")  # OpenSSL reads no other remarks
    return FrontProxy(readable.decode("ascii"), frozenset(names))


def _common_names(certificate: Mapping[str, Any]) -> Iterable[str]:
    for relative_name in certificate.get("subject", ()):
        for key, value in relative_name:
            if key == "commonName":
                yield value
