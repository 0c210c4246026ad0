"""The aggregation layer of the API server in memory: requests to an API group go on to a server behind it.

As on a real one: the client is authenticated and its roles are asked first; then the request is passed on,
with a client certificate of the front proxy and the client's name in headers, if the server's certificate is
of the `caBundle` and names its Service.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from lab.tls import Certificates, make_certificates
from tests.support.kubernetes.fake_api import Answer, FakeApi
from tests.support.kubernetes.patches import Json, RefusedError
from tests.support.kubernetes.resources import Address, Resource
from tests.support.kubernetes.roles import authorize

SERVICE = "oxherd-scaler-external-metrics.oxherd.svc"
"""Whom the API server wants to talk to."""
_SECONDS = 5.0


class Reply(NamedTuple):
    """Of the server behind it."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Json:
        document: Json = json.loads(self.body)
        return document


@dataclass
class Aggregation:
    """`certificates`: the authority of the front proxy, and its client certificate, whose name is `client`;
    `services`: host:port by API group and version, as APIServices and Endpoints would have it."""

    api: FakeApi
    certificates: Certificates
    ca_bundle: str
    services: dict[tuple[str, str], str] = field(default_factory=dict)
    names: list[str] = field(default_factory=lambda: ["client"])

    def __post_init__(self) -> None:
        self.tell()

    def tell(self, **changed: str | None) -> None:
        """Write the ConfigMap by which servers know the front proxy; None leaves a key out."""
        data = {
            "requestheader-allowed-names": json.dumps(self.names),
            "requestheader-client-ca-file": self.certificates.ca.read_text(),
            "requestheader-username-headers": '["X-Remote-User"]',
            **{key.replace("_", "-"): value for key, value in changed.items()},
        }
        body = {
            "metadata": {"name": "extension-apiserver-authentication"},
            "data": {key: value for key, value in data.items() if value is not None},
        }
        path = "/api/v1/namespaces/kube-system/configmaps"
        self.api.answer("POST", "/api/v1/namespaces", {}, b'{"metadata": {"name": "kube-system"}}')
        self.api.answer("DELETE", f"{path}/extension-apiserver-authentication", {}, b"")
        self.api.answer("POST", path, {}, json.dumps(body).encode())

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request, by whoever has it."""
        parts = urlsplit(target).path.strip("/").split("/")
        address = self.services.get((parts[1], parts[2])) if parts[0] == "apis" and len(parts) > 2 else None
        if address is None:
            return self.api.answer(method, target, headers, body)
        try:
            user = self._user(headers.get("Authorization", ""), parts)
        except RefusedError as error:
            return error.status, {"Content-Type": "application/json"}, json.dumps(_status(error)).encode()
        try:
            reply = self.ask(address, target, {"X-Remote-User": user}, method=method)
        except (OSError, HTTPException) as error:
            return 503, {"Content-Type": "text/plain"}, f"error trying to reach service: {error}".encode()
        return reply.status, {"Content-Type": reply.content_type}, reply.body

    def ask(
        self,
        address: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        certificate: tuple[Path, Path] | None = None,
        anonymous: bool = False,
    ) -> Reply:
        """One request of the front proxy, or with another `certificate` and key, or `anonymous` with none."""
        context = ssl.create_default_context(cadata=self.ca_bundle)
        own = self.certificates.client_certificate, self.certificates.client_key
        if not anonymous:
            context.load_cert_chain(*map(str, certificate or own))
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=SERVICE) as secured,
        ):
            lines = [f"{method} {target} HTTP/1.1", f"Host: {SERVICE}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            secured.sendall("\r\n".join([*lines, "", ""]).encode())
            response = HTTPResponse(secured, method=method)
            response.begin()
            return Reply(response.status, response.headers["content-type"], response.read())

    def _user(self, authorization: str, parts: list[str]) -> str:
        """Who asks, if its roles allow it: what is read is a list of the metric's values."""
        namespace, name = [*parts[4:6], "", ""][:2] if parts[3:4] == ["namespaces"] else ("", "")
        if name:
            resource = Resource(parts[1], parts[2], name, "ExternalMetricValueList")
            authorize(self.api.objects, authorization, "list", Address(resource, namespace, "", ""))
        home, account, _ = [*authorization.removeprefix("Bearer ").split(":"), "", ""][:3]
        return f"system:serviceaccount:{home}:{account}" if authorization else "system:admin"


def _status(error: RefusedError) -> Json:
    facts = {"message": str(error), "reason": error.reason, "code": error.status}
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", **facts}


def aggregation(folder: Path) -> tuple[Aggregation, Certificates]:
    """One of an API server in memory, and the certificates of the server behind it."""
    front, served = folder / "front-proxy", folder / "served"
    for each in (front, served):
        each.mkdir()
    behind = make_certificates(served, names=f"DNS:{SERVICE}")
    return Aggregation(FakeApi(), make_certificates(front), behind.ca.read_text()), behind
