"""TLS: authority, client certificate, server name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.snapshot.redis import RedisState
from lab.redis import RedisServer, start_redis
from lab.tls import Certificates, expire_server_certificate, issue_server_certificate, make_certificates
from service.outcome import Failed
from tests.support.deployments import Connect, collect


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[RedisServer]:
    with start_redis(tls=certificates, password="s3kret") as started:
        yield started


def tls(certificates: Certificates, **changed: object) -> dict[str, object]:
    files = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(certificates.client_key),
    }
    return {**files, **changed}


def why(state: RedisState) -> str:
    (outcome,) = state.nodes.values()
    assert isinstance(outcome, Failed)
    assert outcome.kind == "tls"
    return outcome.message


def test_a_client_certificate(server: RedisServer, certificates: Certificates, connect: Connect) -> None:
    deployment = connect(url=server.url, tls=tls(certificates))
    assert collect(deployment).reachable
    assert collect(deployment).reachable


def test_tls_by_the_setting(server: RedisServer, certificates: Certificates, connect: Connect) -> None:
    url = server.url.replace("rediss://", "redis://")
    assert collect(connect(url=url, tls=tls(certificates, enabled=True))).reachable


def test_no_client_certificate(server: RedisServer, certificates: Certificates, connect: Connect) -> None:
    (failed,) = collect(connect(url=server.url, tls={"ca_file": str(certificates.ca)})).nodes.values()
    assert isinstance(failed, Failed)
    assert "certificate" in failed.message  # in the server's alert, if it comes through, else in our guess


@pytest.mark.fault
def test_another_authority(
    server: RedisServer, certificates: Certificates, connect: Connect, tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path)
    message = why(collect(connect(url=server.url, tls=tls(certificates, ca_file=str(stranger.ca)))))
    assert message.startswith("the server's certificate: ")


@pytest.mark.fault
def test_another_server_name(server: RedisServer, certificates: Certificates, connect: Connect) -> None:
    message = why(collect(connect(url=server.url, tls=tls(certificates, server_name="cache.example"))))
    assert "cache.example" in message
    right = tls(certificates, server_name="localhost")
    assert collect(connect(url=server.url, tls=right)).reachable


@pytest.mark.fault
def test_an_expired_certificate_and_one_of_another_name_are_refused_until_the_right_one(
    connect: Connect, tmp_path: Path
) -> None:
    own = make_certificates(tmp_path)
    with start_redis(tls=own) as server:
        deployment = connect(url=server.url, tls=tls(own))
        assert collect(deployment).reachable
        expire_server_certificate(own)
        server.restart()
        assert "expired" in why(collect(deployment))
        issue_server_certificate(own, names="DNS:elsewhere.example")
        server.restart()
        assert "127.0.0.1" in why(collect(deployment))
        issue_server_certificate(own, names="DNS:localhost,IP:127.0.0.1")
        server.restart()
        assert collect(deployment).reachable


def test_no_verification(server: RedisServer, certificates: Certificates, connect: Connect) -> None:
    anyone = tls(certificates, ca_file=None, server_name="cache.example", verify=False)
    assert collect(connect(url=server.url, tls=anyone)).reachable


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_files_that_are_none(certificates: Certificates, connect: Connect, tmp_path: Path, name: str) -> None:
    wrong = tmp_path / "wrong.pem"
    settings = {"url": "rediss://127.0.0.1:1", "tls": tls(certificates, **{name: str(wrong)})}
    assert why(collect(connect(**settings))).endswith("No such file or directory")
    wrong.write_text("not a certificate")
    message = why(collect(connect(**settings)))
    assert f"tls.{name} {wrong}" in message
    assert message.endswith("not a PEM file of that kind")


def test_tls_to_a_port_without_it(certificates: Certificates, connect: Connect) -> None:
    with start_redis() as plain:
        settings = {"url": f"rediss://{plain.address}", "tls": tls(certificates), "timeout_seconds": 0.3}
        (failed,) = collect(connect(**settings)).nodes.values()
    assert isinstance(failed, Failed)
    assert failed.message == "no TLS handshake in time: a port without TLS?"


def test_no_tls_to_a_port_with_it(server: RedisServer, connect: Connect) -> None:
    (failed,) = collect(connect(url=f"redis://{server.address}")).nodes.values()
    assert isinstance(failed, Failed)
    assert failed.kind in ("unreachable", "protocol")
