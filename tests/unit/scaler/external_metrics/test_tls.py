"""Which authority and which certificate are in force while files and the ConfigMap change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from lab.tls import Certificates, make_certificates
from scaler.config.external_metrics import ExternalMetricsTlsSettings
from scaler.external_metrics import tls
from scaler.external_metrics.tls import FrontProxyTls
from scaler.kube.errors import KubeError
from service.clock import Deadline

CA = "requestheader-client-ca-file"


class Api:
    """Of which only the ConfigMap is asked."""

    def __init__(self, ca: str) -> None:
        self.answer: dict[str, Any] | KubeError = {"data": {CA: ca}}
        self.asked = 0

    def front_proxy(self, deadline: Deadline) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.answer, KubeError):
            raise self.answer
        return self.answer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tls, "monotonic", clock)
    return clock


@pytest.fixture
def proxies(tmp_path: Path) -> list[Certificates]:
    """Two authorities of front proxies."""
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made.append(make_certificates(tmp_path / name))
    return made


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    (tmp_path / "own").mkdir()
    return make_certificates(tmp_path / "own")


@pytest.fixture
def api(proxies: list[Certificates]) -> Api:
    return Api(proxies[0].ca.read_text())


@pytest.fixture
def served(api: Api, files: Certificates, clock: Clock) -> FrontProxyTls:
    names = {"cert_file": str(files.server_certificate), "key_file": str(files.server_key)}
    return FrontProxyTls(api, ExternalMetricsTlsSettings.model_validate(names))  # type: ignore[arg-type]


def is_taken(served: FrontProxyTls, own: Certificates, proxy: Certificates) -> bool:
    """Whether a client with the certificate of this front proxy gets through a handshake."""
    context = ssl.create_default_context(cafile=str(own.ca))
    context.load_cert_chain(str(proxy.client_certificate), str(proxy.client_key))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname="localhost")
    server = served.context.wrap_bio(there, back, server_side=True)
    done = 0
    for _ in range(6):
        for side in (client, server):
            try:
                side.do_handshake()
                done += side is server
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return done > 0


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.message, getattr(record, "error", "")) for record in caplog.records]


def test_the_authority_of_the_config_map_is_taken(
    served: FrontProxyTls, files: Certificates, proxies: list[Certificates]
) -> None:
    assert not is_taken(served, files, proxies[0])
    served._step()
    assert is_taken(served, files, proxies[0])
    assert not is_taken(served, files, proxies[1])


@pytest.mark.fault
def test_a_certificate_that_cannot_be_used_is_not_told_of_the_config_map(
    served: FrontProxyTls,
    files: Certificates,
    proxies: list[Certificates],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor does it keep the front proxy from being known."""
    caplog.set_level(logging.INFO)
    files.server_key.write_text("half a fi")
    served._step()
    assert is_taken(served, files, proxies[0])
    clock.now = 100.0
    served._step()
    assert [event for event, _ in lines(caplog)] == ["file not usable, last value stays"]


@pytest.mark.fault
def test_an_authority_is_replaced_while_the_certificate_cannot_be_used(
    served: FrontProxyTls, api: Api, files: Certificates, proxies: list[Certificates], clock: Clock
) -> None:
    served._step()
    whole = files.server_certificate.read_text()
    files.server_certificate.write_text(proxies[0].ca.read_text())
    api.answer = {"data": {CA: proxies[1].ca.read_text()}}
    clock.now = 100.0
    served._step()
    assert is_taken(served, files, proxies[1])
    files.server_certificate.write_text(whole)
    served._step()
    assert is_taken(served, files, proxies[1])
    assert not is_taken(served, files, proxies[0]), "the old one is taken no longer"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"data": {CA: "garbage"}}, "requestheader-client-ca-file is no PEM of certificates"),
        ({"data": {CA: "\u00e9\ud800\x00"}}, "requestheader-client-ca-file is no PEM of certificates"),
        (
            {"data": {CA: "-----BEGIN CERTIFICATE-----\nAAAA\n"}},
            "requestheader-client-ca-file is no PEM of certificates",
        ),
        ({"data": {CA: "x" * 3_000_000}}, "requestheader-client-ca-file is no PEM of certificates"),
        ({}, "requestheader-client-ca-file is missing: the cluster has no aggregation layer"),
        (KubeError("forbidden", "get configmap: 403 Forbidden", status=403), "get configmap: 403 Forbidden"),
    ],
)
def test_what_says_nothing_leaves_what_is_known_and_is_one_line(
    answer: Any,
    why: str,
    served: FrontProxyTls,
    api: Api,
    files: Certificates,
    proxies: list[Certificates],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    known, api.answer = api.answer, answer
    for clock.now in (0.0, 2.0, 4.0, 6.0, 100.0, 200.0):
        served._step()
    assert served.proxy is None
    api.answer = known
    clock.now = 300.0
    served._step()
    assert is_taken(served, files, proxies[0])
    api.answer = answer
    for clock.now in (400.0, 402.0, 404.0, 500.0):
        served._step()
    assert is_taken(served, files, proxies[0])
    api.answer, clock.now = known, 600.0
    served._step()
    assert lines(caplog) == [
        ("front proxy not known", why),
        ("front proxy known", ""),
        ("front proxy not read, last one stays", why),
        ("front proxy read again", ""),
    ]


def test_the_api_server_has_the_pause_that_it_asks_for(served: FrontProxyTls, api: Api, clock: Clock) -> None:
    api.answer = KubeError("throttled", "429", status=429, retry_after=30.0)
    for clock.now in range(0, 30, 2):
        served._step()
    assert api.asked == 1
    clock.now = 31.0
    served._step()
    assert api.asked == 2


@pytest.mark.fault
def test_remarks_in_a_bundle_have_any_letters(
    served: FrontProxyTls, api: Api, files: Certificates, proxies: list[Certificates]
) -> None:
    api.answer = {"data": {CA: f"# Autorit\u00e9\n{proxies[1].ca.read_text()}# fin\u00e9\n"}}
    served._step()
    assert is_taken(served, files, proxies[1])
