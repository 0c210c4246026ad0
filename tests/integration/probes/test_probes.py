"""Endpoints that are slow, broken, elsewhere or not to be trusted, as a real exporter sees them."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from exporter.config.settings import ExporterSettings, ProbeSettings
from exporter.probes.checks import ProbeError
from exporter.probes.request import probe
from exporter.run import Exporter
from lab.deadline import wait_until
from lab.ports import free_port
from lab.redis import RedisServer
from lab.tls import make_certificates
from service.clock import Deadline, monotonic
from tests.support.raw_server import endless, sending, serving
from tests.support.system import running

SECRET = "s3cret-token"


@dataclass
class Endpoint(ThreadingHTTPServer):
    """Answers by its path; what it was asked is kept."""

    tls: ssl.SSLContext | None = None
    asked: list[dict[str, str]] = field(default_factory=list)

    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("0.0.0.0", 0), _Handler)  # noqa: S104  # 127.0.0.2 too, which no certificate names
        if self.tls:
            self.socket = self.tls.wrap_socket(self.socket, server_side=True)
        self.released = threading.Event()
        self.status = 200
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """A client that does not trust us breaks off; that is the test."""

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://localhost:{self.server_address[1]}"

    def stop(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        self.server.asked.append({"path": self.path, **dict(self.headers)})
        path = self.path.partition("?")[0]
        if path == "/hang":
            self.server.released.wait(30)
        elif path == "/trickle":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not self.server.released.wait(0.05):
                    self.wfile.write(b".")
        elif path == "/break":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif path == "/garbage":
            self.wfile.write(b"\x00\x01 no http\r\n\r\n")
        elif path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
        else:
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.stop()


@pytest.fixture
def secure(certificates: Any) -> Iterator[Endpoint]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    endpoint = Endpoint(context)
    yield endpoint
    endpoint.stop()


def failure(url: str, seconds: float = 5.0, **options: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        probe(ProbeSettings(name="x", url=url, **options), Deadline.after(seconds))
    return caught.value


def test_one_that_is_well(endpoint: Endpoint) -> None:
    settings = ProbeSettings(name="x", url=f"{endpoint.url}/health?deep=1", expect_body='"ok"')
    assert probe(settings, Deadline.after(5)).status == 200
    assert endpoint.asked[0]["path"] == "/health?deep=1"
    tcp = ProbeSettings(name="x", url=f"tcp://127.0.0.1:{endpoint.server_address[1]}")
    assert probe(tcp, Deadline.after(5)).status is None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("path", "options", "kind"),
    [
        ("/", {"expect_status": ("204",)}, "status"),
        ("/", {"expect_body": "down"}, "body"),
        ("/break", {}, "protocol"),
        ("/garbage", {}, "protocol"),
        ("/to/http://elsewhere.invalid/", {}, "redirect"),
        ("/to//to//to//to//to//to//to//x", {}, "redirect"),
        ("/to//x", {"follow_redirects": "no"}, "redirect"),
    ],
)
def test_one_that_is_not(endpoint: Endpoint, path: str, options: dict[str, Any], kind: str) -> None:
    assert failure(endpoint.url + path, **options).kind == kind


@pytest.mark.fault
@pytest.mark.parametrize("path", ["/hang", "/trickle"])
def test_one_that_does_not_come_to_an_end_costs_its_time_and_no_more(endpoint: Endpoint, path: str) -> None:
    begun = monotonic()
    assert failure(endpoint.url + path, seconds=0.5).kind == "timeout"
    assert monotonic() - begun < 3


@pytest.mark.fault
@pytest.mark.parametrize(
    ("head", "again", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 1000, "protocol"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "timeout"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000, None),  # the first MiB is looked at
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 1000, None),
    ],
)
def test_one_that_never_stops_sending_costs_its_time_and_a_mebibyte(
    head: bytes, again: bytes, kind: str | None
) -> None:
    with serving(endless(head, again)) as (url, _):
        begun = monotonic()
        tracemalloc.start()
        try:
            if kind is None:
                settings = ProbeSettings(name="x", url=url, expect_body="x{1000}")
                assert probe(settings, Deadline.after(2)).status == 200
            else:
                assert failure(url, seconds=2).kind == kind
        finally:
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert monotonic() - begun < 3
        assert most < 16 << 20


@pytest.mark.fault
def test_a_body_that_is_not_searched_in_time_is_a_failure() -> None:
    random = Random(1)
    body = bytes(random.choice(b"ab") for _ in range(1 << 17))
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with serving(sending(raw)) as (url, _):
        begun = monotonic()
        assert failure(url, seconds=0.5, expect_body="a[ab]{900}c").kind in ("timeout", "body")
        assert monotonic() - begun < 10


def test_one_that_is_not_there() -> None:
    assert failure(f"http://localhost:{free_port()}").kind == "refused"
    assert failure(f"tcp://localhost:{free_port()}").kind == "refused"
    assert failure("http://nowhere.invalid").kind == "dns"


def test_one_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert failure(f"http://127.0.0.1:{port}", seconds=0.3).kind == "timeout"
        assert failure(f"https://127.0.0.1:{port}", seconds=0.3).kind == "timeout"


def test_certificates(secure: Endpoint, endpoint: Endpoint, certificates: Any) -> None:
    trusted = ProbeSettings(name="x", url=secure.url, ca_file=str(certificates.ca))
    answer = probe(trusted, Deadline.after(5))
    assert answer.status == 200
    assert answer.expires is not None
    assert failure(secure.url).kind == "certificate"
    other_name = secure.url.replace("localhost", "127.0.0.2")
    assert failure(other_name, ca_file=str(certificates.ca)).kind == "certificate"
    unchecked = ProbeSettings(name="x", url=secure.url, verify=False)
    assert probe(unchecked, Deadline.after(5)).status == 200
    assert failure(endpoint.url.replace("http:", "https:")).kind == "protocol"


@pytest.mark.fault
def test_a_secret_header_is_read_anew_and_goes_to_no_other_host(endpoint: Endpoint, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"Bearer {SECRET}\n")
    other = endpoint.url.replace("localhost", "127.0.0.1")
    settings = ProbeSettings(
        name="x",
        url=f"{endpoint.url}/to/{other}/end",
        header_files={"Authorization": str(token)},
        headers={"X-Who": "oxherd"},
        follow_redirects="any",
    )
    probe(settings, Deadline.after(5))
    first, second = endpoint.asked
    assert (first["Authorization"], first["X-Who"]) == (f"Bearer {SECRET}", "oxherd")
    assert "Authorization" not in second
    token.write_text("Bearer another")
    probe(settings, Deadline.after(5))
    assert endpoint.asked[2]["Authorization"] == "Bearer another"
    token.unlink()
    assert failure(settings.url, header_files={"Authorization": str(token)}).kind == "protocol"


@pytest.mark.fault
def test_a_secret_header_goes_to_no_other_port_and_not_from_https_to_http(
    endpoint: Endpoint, secure: Endpoint, certificates: Any, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(f"Bearer {SECRET}")
    other = Endpoint()
    ways = [(endpoint, other, "same_host"), (secure, endpoint, "any"), (endpoint, secure, "same_host")]
    try:
        for begin, end, follow in ways:
            settings = ProbeSettings.model_validate(
                {
                    "name": "x",
                    "url": f"{begin.url}/to/{end.url}/end",
                    "header_files": {"Authorization": str(token)},
                    "follow_redirects": follow,
                    "ca_file": str(certificates.ca),
                }
            )
            end.asked.clear()
            assert probe(settings, Deadline.after(5)).status == 200
            assert [(asked["path"], "Authorization" in asked) for asked in end.asked] == [("/end", False)]
        assert all("Authorization" in asked for asked in secure.asked if asked["path"] != "/end")
    finally:
        other.stop()


# --- in the exporter ---------------------------------------------------------------------------------------


@pytest.mark.fault
def test_a_body_that_makes_a_pattern_explode_does_not_stop_the_exporter(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    body = b"a" * 5000 + b"!"
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with serving(sending(raw)) as (url, asked):
        settings = {
            "redis": {"url": redis_server.url},
            "probes": [
                {
                    "name": "odd",
                    "url": url,
                    "expect_body": r"^(\w+\s?)*$",
                    "interval_seconds": 1,
                    "timeout_seconds": 2,
                }
            ],
        }
        with running(tmp_path, "monitor", {}, settings, key=None) as program:
            wait_until(lambda: len(asked) > 2, what="it was probed three times")
            for path in ("/healthz", "/readyz", "/metrics", "/"):
                begun = monotonic()
                assert program.client.get(path).status_code == 200
                assert monotonic() - begun < 2
            assert (
                'oxherd_probe_failures_total{probe="odd",reason="body"}'
                in program.client.get("/metrics").text
            )
            program.process.terminate()
            assert program.process.wait(10) == 0


def test_metrics_health_page_and_commands_tell(
    endpoint: Endpoint, redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "token").write_text(SECRET)
    probes: list[dict[str, object]] = [
        {"name": "shop", "url": endpoint.url, "header_files": {"X-Key": str(tmp_path / "token")}},
        {"name": "gone", "url": f"tcp://localhost:{free_port()}"},
        {"name": "slow", "url": f"{endpoint.url}/hang", "timeout_seconds": 0.3},
    ]
    settings = ExporterSettings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "redis": {"url": redis_server.url},
            "probes": [probe | {"interval_seconds": 1} for probe in probes],
            "health": {"penalties": {"probe_failing": 12}},
        }
    )
    with ExitStack() as undo:
        exporter = Exporter(settings)
        exporter.start()
        undo.callback(exporter.stop)

        def text(path: str) -> str:
            return httpx.get(f"http://{exporter.address}{path}").text

        wait_until(lambda: 'oxherd_probe_success{probe="slow"} 0' in text("/metrics"), what="all are asked")
        metrics = text("/metrics")
        assert 'oxherd_probe_success{probe="shop"} 1' in metrics
        assert 'oxherd_probe_http_status_code{probe="shop"} 200' in metrics
        assert 'oxherd_probe_http_status_code{probe="gone"}' not in metrics
        assert 'oxherd_probe_failures_total{probe="gone",reason="refused"}' in metrics
        assert 'oxherd_probe_duration_seconds_bucket{le="0.25",probe="slow"} 0' in metrics
        assert 'oxherd_health_penalty{issue="probe_failing"} 12' in metrics
        status = json.loads(text("/status.json"))
        by_name = {probe["name"]: probe for probe in status["probes"]}
        assert (by_name["slow"]["failure"], by_name["gone"]["failure"]) == ("timeout", "refused")
        issue = next(issue for issue in status["health"]["issues"] if issue["name"] == "probe_failing")
        assert "2 of 3 endpoints" in issue["measured"]
        page = text("/")
        assert "An endpoint fails its probe" in page
        assert "1 of 3 endpoints answer as expected" in page
        endpoint.status = 500
        wait_until(lambda: 'oxherd_probe_success{probe="shop"} 0' in text("/metrics"), what="it is noticed")
        assert 'oxherd_probe_http_status_code{probe="shop"} 500' in text("/metrics")
        endpoint.status = 200
        wait_until(
            lambda: 'oxherd_probe_success{probe="shop"} 1' in text("/metrics"), what="it is well again"
        )
        everything = text("/metrics") + text("/status.json") + text("/") + caplog.text
        assert "probe failing" in caplog.text
        assert "probe recovered" in caplog.text
        assert SECRET not in everything + str([record.__dict__ for record in caplog.records])
