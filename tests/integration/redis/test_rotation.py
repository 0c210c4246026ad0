"""Passwords and certificates that are replaced while the exporter runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exporter.configuration import read_exporter_settings
from exporter.redis.deployment import Deployment
from lab.redis import RedisServer, start_redis
from lab.sentinel import start_sentinel_set
from lab.tls import Certificates, make_certificates
from service.outcome import Failed
from tests.support.deployments import Connect, collect


def rotate(server: RedisServer, password: str) -> None:
    """A new password, and all connections closed, as after a restart."""
    server.cli("config", "set", "requirepass", password)
    server.password = password
    server.cli("client", "kill", "type", "normal")


def why(deployment: Deployment) -> str:
    (outcome,) = collect(deployment).nodes.values()
    assert isinstance(outcome, Failed)
    return outcome.message


@pytest.mark.fault
@pytest.mark.parametrize("way", ["REDIS_PASSWORD_FILE", "REDIS_URL_FILE", "redis.password_file"])
def test_a_new_password_in_its_file(
    connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level("INFO")
    secret, config = tmp_path / "secret", tmp_path / "oxherd.yaml"

    def write(server: RedisServer, password: str) -> None:
        in_url = f"redis://:{password}@{server.address}"
        secret.write_text((in_url if way == "REDIS_URL_FILE" else password) + "\n")

    with start_redis(password="one") as server:
        write(server, "one")
        config.write_text(f"redis:\n  url: redis://{server.address}\n  password_file: {secret}\n")
        environ = {
            "REDIS_PASSWORD_FILE": {"REDIS_URL": f"redis://{server.address}", way: str(secret)},
            "REDIS_URL_FILE": {way: str(secret)},
            "redis.password_file": {"EXPORTER_CONFIG": str(config)},
        }[way]
        deployment = connect(**read_exporter_settings(environ).model.redis.model_dump())
        assert collect(deployment).reachable
        rotate(server, "two")
        assert "WRONGPASS" in why(deployment)
        write(server, "two")
        assert collect(deployment).reachable
        secret.write_text("")  # half written: the last good value stays
        server.cli("client", "kill", "type", "normal")
        assert collect(deployment).reachable
        secret.unlink()
        server.cli("client", "kill", "type", "normal")
        assert collect(deployment).reachable
        write(server, "three")
        rotate(server, "three")
        assert collect(deployment).reachable
    logged = [(record.getMessage(), str(record.__dict__)) for record in caplog.records]
    events = [event for event, _ in logged]
    assert events.count("file read again") == 2
    assert events.count("file not usable, last value stays") == 2
    assert not any(word in facts for _, facts in logged for word in ("'two", "'three", ":two", ":three"))


@pytest.mark.fault
def test_a_secret_behind_links_as_in_kubernetes(connect: Connect, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "password").write_text(name)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "password").symlink_to("..data/password")
    with start_redis(password="one") as server:
        settings = {"url": f"redis://{server.address}", "password_file": str(tmp_path / "password")}
        deployment = connect(**settings)
        assert collect(deployment).reachable
        rotate(server, "two")
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(tmp_path / "..data")
        assert collect(deployment).reachable


@pytest.mark.fault
def test_a_refused_login_reads_a_file_whose_times_did_not_change(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "password"
    secret.write_text("one")
    with start_redis(password="one") as server:
        monkeypatch.setattr("service.files.from_files.file_stamp", lambda path: 1)  # as some network drives
        deployment = connect(url=f"redis://{server.address}", password_file=str(secret))
        assert collect(deployment).reachable
        secret.write_text("two")
        rotate(server, "two")
        assert collect(deployment).reachable


@pytest.mark.fault
def test_a_new_password_of_the_sentinels(connect: Connect, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("one")
    with start_sentinel_set(replicas=1, sentinels=1, sentinel_password="one") as formed:
        (sentinel,) = formed.sentinels
        settings = {"sentinels": [sentinel.address], "sentinel_master": formed.name}
        deployment = connect(**settings, sentinel_password_file=str(secret))
        assert collect(deployment).sentinel
        sentinel.cli("acl", "setuser", "default", "resetpass", ">two")
        sentinel.password = "two"
        sentinel.cli("client", "kill", "type", "normal")
        assert collect(deployment).sentinel is None
        secret.write_text("two")
        assert collect(deployment).sentinel


def replace(certificates: Certificates, by: Certificates) -> None:
    for name in ("ca", "server_certificate", "server_key", "client_certificate", "client_key"):
        shutil.copy(getattr(by, name), getattr(certificates, name))


@pytest.mark.fault
def test_new_certificates_of_a_new_authority(connect: Connect, tmp_path: Path) -> None:
    for name in ("in-use", "new"):
        (tmp_path / name).mkdir()
    certificates, new = make_certificates(tmp_path / "in-use"), make_certificates(tmp_path / "new")
    files = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(certificates.client_key),
    }
    with start_redis(tls=certificates) as server:
        deployment = connect(url=server.url, tls=files)
        assert collect(deployment).reachable
        replace(certificates, new)
        server.restart()
        assert collect(deployment).reachable


@pytest.mark.fault
def test_half_written_certificates_leave_the_last_ones_in_use(connect: Connect, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    own = tmp_path / "copy.key"
    shutil.copy(certificates.client_key, own)
    files = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(own),
    }
    with start_redis(tls=certificates) as server:
        deployment = connect(url=server.url, tls=files)
        assert collect(deployment).reachable
        own.write_text("-----BEGIN PRIVATE KEY-----\n")
        server.restart()
        assert collect(deployment).reachable


@pytest.mark.fault
def test_certificates_that_come_after_the_server_has_new_ones(connect: Connect, tmp_path: Path) -> None:
    for name in ("in-use", "server", "new"):
        (tmp_path / name).mkdir()
    certificates, new = make_certificates(tmp_path / "in-use"), make_certificates(tmp_path / "new")
    servers = make_certificates(tmp_path / "server")
    replace(servers, certificates)
    files = {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(certificates.client_key),
    }
    with start_redis(tls=servers) as server:
        deployment = connect(url=server.url, tls=files)
        assert collect(deployment).reachable
        replace(servers, new)
        server.restart()
        assert "certificate" in why(deployment)
        shutil.copy(new.ca, certificates.ca)  # one file after the other: a certificate without its key
        shutil.copy(new.client_certificate, certificates.client_certificate)
        assert not collect(deployment).reachable
        shutil.copy(new.client_key, certificates.client_key)
        assert collect(deployment).reachable


@pytest.mark.fault
def test_a_file_that_is_a_directory_for_a_moment(connect: Connect, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("one\r\n")
    with start_redis() as server:
        server.cli("acl", "setuser", "reader", "on", ">one", "+@all", "~*")
        deployment = connect(url=f"redis://{server.address}", username="reader", password_file=str(secret))
        assert collect(deployment).reachable
        secret.unlink()
        secret.mkdir()
        server.cli("client", "kill", "user", "reader")
        assert collect(deployment).reachable
        server.cli("acl", "setuser", "reader", ">two", "<one")
        server.cli("client", "kill", "user", "reader")
        assert "WRONGPASS" in why(deployment)
        secret.rmdir()
        secret.write_text("two")
        assert collect(deployment).reachable
