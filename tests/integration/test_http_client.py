"""The one HTTP client against servers that trickle, end early, flood, redirect or hang."""

from __future__ import annotations

import socket
import ssl
import threading
import tracemalloc

import pytest

from lab.deadline import wait_until
from lab.ports import free_port
from lab.tls import Certificates
from service.clock import Deadline, monotonic
from service.web.client import HttpClient, HttpClientError, HttpRequest, HttpResponse, fetch
from tests.support.raw_server import Respond, endless, sending, serving, trickling

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(url: str, seconds: float = 5.0, **options: object) -> HttpResponse:
    return fetch(url, deadline=Deadline.after(seconds), headers={}, **options)  # type: ignore[arg-type]


def failure(url: str, seconds: float = 5.0, **options: object) -> HttpClientError:
    with pytest.raises(HttpClientError) as caught:
        get(url, seconds, **options)
    return caught.value


@pytest.mark.fault
@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_trickles_is_bounded_by_the_deadline(part: str) -> None:
    head, body = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n", b"x" * 400
    raw = head + body if part == "body" else b"HTTP/1.1 200 OK\r\n" + b"X-Slow: " + b"y" * 400 + b"\r\n\r\n"
    with serving(trickling(raw)) as (url, _):
        started = monotonic()
        assert failure(url, seconds=0.5).kind == "timeout"
        assert monotonic() - started < 2


@pytest.mark.fault
def test_a_server_that_hangs_is_bounded_by_the_deadline() -> None:
    def hanging(_: socket.socket, stop: threading.Event) -> None:
        stop.wait(10)

    with serving(hanging) as (url, _):
        assert failure(url, seconds=0.3).kind == "timeout"


def test_a_body_shorter_than_announced_is_an_error() -> None:
    with serving(sending(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 30)) as (url, _):
        error = failure(url)
    assert (error.kind, str(error)) == ("closed", "the answer ended 70 bytes before its announced end")


def test_a_chunked_body_that_ends_early_is_an_error() -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\nshort"
    with serving(sending(raw)) as (url, _):
        assert failure(url).kind == "closed"


@pytest.mark.fault
def test_a_body_over_the_limit_is_an_error_or_cut() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
    with serving(sending(raw)) as (url, _):
        error = failure(url, limit=200 << 10)
        assert (error.kind, str(error)) == ("too_large", "the answer is larger than 200 KiB")
        assert get(url, limit=1000, truncate=True).body == b"x" * 1000
        assert len(get(url, limit=300_000).body) == 300_000


FLOODS = {
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "one header line": (b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 1000),
    "a status line": (b"HTTP/1.1 200 ", b"OK" * 1000),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body without a length": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n"),
    "a chunk's length": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
}


@pytest.mark.fault
@pytest.mark.parametrize("part", FLOODS)
def test_an_answer_without_end_is_bounded_by_the_deadline_and_in_memory(part: str) -> None:
    head, again = FLOODS[part]
    with serving(endless(head, again)) as (url, _):
        tracemalloc.start()
        started = monotonic()
        try:
            error = failure(url, seconds=2, limit=1 << 20)
        finally:
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert error.kind in ("timeout", "protocol", "too_large")
    assert monotonic() - started < 3
    assert most < 8 << 20


@pytest.mark.fault
def test_a_redirect_is_an_answer_and_the_key_goes_nowhere_else() -> None:
    with serving(sending(OK)) as (other, requests):
        raw = f"HTTP/1.1 302 Found\r\nLocation: {other}/\r\nContent-Length: 0\r\n\r\n".encode()
        with serving(sending(raw)) as (url, _):
            response = fetch(url, deadline=Deadline.after(5), headers={"X-API-Key": "secret"})
        assert (response.status, response.headers["location"]) == (302, f"{other}/")
        assert requests == []


@pytest.mark.fault
def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(sending(OK)) as (proxy, requests), serving(sending(OK)) as (url, _):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("ALL_PROXY", proxy)
        assert get(url).body == b"ok"
        assert requests == []


def test_what_is_not_http_is_said_to_be() -> None:
    with serving(sending(b"-ERR unknown command\r\n")) as (url, _):
        assert failure(url).kind == "protocol"
    assert failure(f"http://127.0.0.1:{free_port()}").kind == "refused"


@pytest.mark.fault
def test_a_resolver_that_hangs_is_bounded_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hanging(*_: object, **__: object) -> list[object]:
        release.wait(10)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    started = monotonic()
    assert failure("http://slow.test", seconds=0.3).kind == "timeout"
    assert monotonic() - started < 2
    release.set()


def test_tls_is_verified_and_the_end_of_the_certificate_known(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    trusting = ssl.create_default_context(cafile=str(certificates.ca))
    with serving(sending(OK), context) as (url, _):
        assert failure(url).kind == "certificate"
        response = get(url, tls=trusting)
    assert response.status == 200
    assert response.certificate_expires is not None


def test_the_header_host_names_the_port_unless_it_is_the_schemes_own() -> None:
    with serving(sending(OK)) as (url, requests):
        get(url)
    assert f"Host: {url.removeprefix('http://')}\r\n".encode() in requests[0]


def test_a_connection_is_kept_alive_and_made_again_when_the_server_has_closed_it() -> None:
    closing = threading.Event()

    def respond(stream: socket.socket, _: threading.Event) -> None:
        stream.sendall(OK)
        if closing.is_set():
            stream.close()

    with serving(respond) as (url, requests):
        client = HttpClient(url)
        for _ in range(3):
            assert client.exchange(HttpRequest("GET", "/", {}), Deadline.after(5)).body == b"ok"
        assert len(client._idle) == 1
        closing.set()
        client.exchange(HttpRequest("GET", "/", {}), Deadline.after(5))
        closing.clear()
        assert client.exchange(HttpRequest("GET", "/", {}), Deadline.after(5)).body == b"ok"
        assert len(requests) == 5
        client.close()


def numbered(client: HttpClient, count: int) -> list[bytes]:
    """The bodies of so many exchanges."""
    return [client.exchange(HttpRequest("GET", "/", {}), Deadline.after(5)).body for _ in range(count)]


def counting(before: bytes = b"", after: bytes = b"") -> Respond:
    """Each response has the number of its request, with further bytes around it."""
    numbers = iter(range(100))

    def respond(stream: socket.socket, _: threading.Event) -> None:
        stream.sendall(before + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % next(numbers))
        if after:
            stream.sendall(after)

    return respond


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints\r\nLink: </a>"])
def test_interim_responses_are_skipped_and_requests_keep_their_answers(interim: bytes) -> None:
    with serving(counting(before=(b"HTTP/1.1 " + interim + b"\r\n\r\n") * 2)) as (url, _):
        client = HttpClient(url)
        assert numbered(client, 4) == [b"0", b"1", b"2", b"3"]
        client.close()


def test_bytes_that_nobody_asked_for_are_not_the_next_answer() -> None:
    with serving(counting(after=b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")) as (url, _):
        client = HttpClient(url)
        assert numbered(client, 1) == [b"0"]
        wait_until(lambda: not client._idle[0].is_quiet(), what="the further bytes")
        assert numbered(client, 1) == [b"1"]
        client.close()


def test_a_connection_whose_body_was_cut_is_not_used_again() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000

    def respond(stream: socket.socket, _: threading.Event) -> None:
        stream.sendall(raw)

    with serving(respond) as (url, _):
        client = HttpClient(url)
        request = HttpRequest("GET", "/", {}, limit=10, truncate=True)
        bodies = [client.exchange(request, Deadline.after(5)).body for _ in range(2)]
        assert (bodies, client._idle) == ([b"x" * 10] * 2, [])


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_clear_is_a_protocol_error_of_both_ways_to_ask(head: bytes) -> None:
    with serving(sending(head)) as (url, _):
        with pytest.raises(HttpClientError) as caught:
            HttpClient(url).exchange(HttpRequest("GET", "/", {}), Deadline.after(5))
        assert (failure(url).kind, caught.value.kind) in {("protocol", "protocol"), ("closed", "closed")}


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/"])
def test_an_invalid_url_is_a_protocol_error(url: str) -> None:
    assert str(failure(url)) == "the URL is not valid"
