"""The web configuration file on real sockets: TLS, client certificates, users, and what changes meanwhile."""

from __future__ import annotations

import logging
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import yaml

from lab.deadline import wait_until
from lab.programs import find_program
from lab.tls import Certificates, make_certificates
from service.alive import is_alive, urls
from service.web.server import WebServer
from service.web.web_config import WebConfig, WebConfigError
from tests.support.asgi import App

pytestmark = pytest.mark.timeout(120)  # up to 6 s alone, of waits for the next look at a file

PASSWORD, OTHER = "a-password-of-tests", "another-password-of-tests"


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def tls(certificates: Certificates, **more: str) -> dict[str, str]:
    return {
        "cert_file": str(certificates.server_certificate),
        "key_file": str(certificates.server_key),
    } | more


def written(folder: Path, data: Any) -> Path:
    path = folder / "web.yml"
    path.write_text(yaml.safe_dump(data))
    return path


@contextmanager
def serving(path: Path) -> Iterator[tuple[str, str]]:
    server = WebServer(App(), "127.0.0.1", 0, WebConfig(str(path)))
    server.start()
    try:
        yield f"http://{server.address}", f"https://{server.address}"
    finally:
        assert server.stop()


def client(certificates: Certificates, *, own: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    if own:
        context.load_cert_chain(certificates.client_certificate, certificates.client_key)
    return context


def test_users_and_headers(tmp_path: Path) -> None:
    headers = {"X-Frame-Options": "deny"}
    data = {
        "basic_auth_users": {"ann": hashed(PASSWORD), "bob": hashed(OTHER)},
        "http_server_config": {"headers": headers},
    }
    with serving(written(tmp_path, data)) as (url, _), httpx.Client(base_url=url) as anybody:
        for path in ("/", "/healthz", "/metrics"):
            refused = anybody.get(path)
            assert (refused.status_code, refused.headers["x-frame-options"]) == (401, "deny")
            assert refused.headers["www-authenticate"].startswith("Basic ")
        for user, password, expected in (
            ("ann", PASSWORD, 200),
            ("ann", PASSWORD, 200),
            ("bob", OTHER, 200),
            ("ann", OTHER, 401),
            ("bob", PASSWORD, 401),
            ("eve", PASSWORD, 401),
            ("ann", "", 401),
        ):
            answer = anybody.get("/", auth=(user, password))
            assert answer.status_code == expected
        assert anybody.get("/", auth=("ann", PASSWORD)).headers["x-frame-options"] == "deny"
        for sent in ("Basic", "Basic x", "Basic YW5u", f"Bearer {PASSWORD}", "Basic \xff"):
            assert anybody.get("/", headers={"authorization": sent.encode("latin-1")}).status_code == 401  # type: ignore[arg-type]


def test_a_container_is_alive_behind_tls_and_users(tmp_path: Path, certificates: Certificates) -> None:
    data = {"tls_server_config": tls(certificates), "basic_auth_users": {"ann": hashed(PASSWORD)}}
    with serving(written(tmp_path, data)) as (plain, secure):
        assert is_alive(f"{secure}/healthz")
        assert not is_alive(f"{plain}/healthz")
        assert any(map(is_alive, urls({"EXPORTER_LISTEN": plain.removeprefix("http://")})))
    assert not is_alive(f"{secure}/healthz")


def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    path = written(tmp_path, {"tls_server_config": tls(certificates)})
    with serving(path) as (plain, secure):
        assert httpx.get(secure, verify=client(certificates)).text == "ok"
        with pytest.raises(httpx.HTTPError):
            httpx.get(plain)
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(secure)


def test_client_certificates(tmp_path: Path, certificates: Certificates) -> None:
    required = tls(
        certificates, client_auth_type="RequireAndVerifyClientCert", client_ca_file=str(certificates.ca)
    )
    with serving(written(tmp_path, {"tls_server_config": required})) as (_, secure):
        assert httpx.get(secure, verify=client(certificates, own=True)).text == "ok"
        with pytest.raises(httpx.HTTPError):
            httpx.get(secure, verify=client(certificates))


def test_an_old_version_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    path = written(tmp_path, {"tls_server_config": tls(certificates, min_version="TLS13")})
    old = client(certificates)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(path) as (_, secure), pytest.raises(httpx.ConnectError):
        httpx.get(secure, verify=old)


def test_it_is_read_again(
    tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own = tmp_path / "own"
    own.mkdir()
    for name, source in (("a.crt", certificates.server_certificate), ("a.key", certificates.server_key)):
        (own / name).write_bytes(source.read_bytes())
    section = {"cert_file": "own/a.crt", "key_file": "own/a.key"}  # beside the file
    path = written(tmp_path, {"tls_server_config": section, "basic_auth_users": {"ann": hashed(PASSWORD)}})
    others = make_certificates(tmp_path)

    def status(password: str, trusted: Certificates = certificates) -> int:
        try:
            return httpx.get(secure, auth=("ann", password), verify=client(trusted)).status_code
        except httpx.ConnectError:
            return 0

    with serving(path) as (_, secure):
        assert (status(PASSWORD), status(OTHER)) == (200, 401)
        path.write_text("basic_auth_users: [")
        wait_until(lambda: "changed web config refused" in caplog.text, what="the refusal")
        assert status(PASSWORD) == 200
        written(tmp_path, {"tls_server_config": section, "basic_auth_users": {"ann": hashed(OTHER)}})
        wait_until(lambda: status(OTHER) == 200, what="the new password")
        assert status(PASSWORD) == 401
        (own / "a.crt").write_bytes(others.server_certificate.read_bytes())
        (own / "a.key").write_bytes(others.server_key.read_bytes())
        wait_until(lambda: status(OTHER, others) == 200, what="the new certificate")
        assert status(OTHER) == 0
    assert PASSWORD not in caplog.text
    assert OTHER not in caplog.text


def test_whom_it_lets_in_is_read_again_too(tmp_path: Path, certificates: Certificates) -> None:
    path = written(tmp_path, {"tls_server_config": tls(certificates)})

    def admitted(*, own: bool) -> bool:
        try:
            return httpx.get(secure, verify=client(certificates, own=own)).status_code == 200
        except httpx.HTTPError:
            return False

    with serving(path) as (_, secure):
        assert admitted(own=False)
        required = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(certificates.ca)}
        written(tmp_path, {"tls_server_config": tls(certificates, **required)})
        wait_until(lambda: not admitted(own=False), what="a certificate is asked for")
        assert admitted(own=True)
        written(tmp_path, {"tls_server_config": tls(certificates)})
        wait_until(lambda: admitted(own=False), what="and not any more")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"basic_auth_users": {"ann": PASSWORD}}, "basic_auth_users.ann: is not a bcrypt hash"),
        ({"basic_auth_user": {}}, "basic_auth_user: extra inputs"),
        ({"tls_server_config": {"cert_file": "a"}}, "tls_server_config.key_file: field required"),
        ({"tls_server_config": {"cert_file": "a", "key_file": "b"}}, "cannot be read: No such file"),
        (
            {"tls_server_config": {"cert_file": "a", "key_file": "b", "client_auth_type": "Maybe"}},
            "tls_server_config.client_auth_type",
        ),
        (
            {
                "tls_server_config": {
                    "cert_file": "a",
                    "key_file": "b",
                    "client_auth_type": "RequireAndVerifyClientCert",
                }
            },
            "client_ca_file: is needed",
        ),
        (
            {
                "tls_server_config": {
                    "cert_file": "a",
                    "key_file": "b",
                    "client_auth_type": "RequireAnyClientCert",
                }
            },
            "nobody verifies",
        ),
        ({"http_server_config": {"headers": {"Server": "x"}}}, "http_server_config.headers"),
        ([], "the file: input should be"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, data: Any, told: str) -> None:
    with pytest.raises(WebConfigError) as error:
        WebConfig(str(written(tmp_path, data)))
    assert told in str(error.value)
    assert PASSWORD not in str(error.value)


def test_the_file_is_what_promtool_takes(tmp_path: Path, certificates: Certificates) -> None:
    """One with everything that ours takes is one of the format's."""
    data = {
        "tls_server_config": tls(
            certificates,
            client_auth_type="RequireAndVerifyClientCert",
            client_ca_file=str(certificates.ca),
            min_version="TLS12",
            max_version="TLS13",
        ),
        "http_server_config": {"http2": True, "headers": {"Strict-Transport-Security": "max-age=1"}},
        "basic_auth_users": {"ann": hashed(PASSWORD)},
    }
    path = written(tmp_path, data)
    WebConfig(str(path))
    command = [find_program("promtool"), "check", "web-config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout + done.stderr
