"""What a failed exchange is called, and where a URL leads."""

from __future__ import annotations

import http.client
import socket
import ssl

import pytest

from service.clock import Deadline
from service.web.client import HttpClientError, Origin, _explained


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "refused", "connection refused"),
        (
            socket.gaierror(-2, "Name or service not known"),
            "dns",
            "the host name cannot be resolved: name or service not known",
        ),
        (TimeoutError(), "timeout", "no answer in time"),
        (OSError(113, "No route to host"), "unreachable", "no route to host"),
        (OSError(), "unreachable", "OSError"),
        (ConnectionResetError(104, "reset"), "closed", "the server closed the connection"),
        (http.client.RemoteDisconnected("gone"), "closed", "the server closed the connection"),
        (http.client.IncompleteRead(b"x"), "closed", "the answer ended before its announced end"),
        (ssl.SSLCertVerificationError(1, "x"), "certificate", "certificate not trusted"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x"), "tls", "TLS: "),
        (http.client.BadStatusLine("x"), "protocol", "the answer is not HTTP: BadStatusLine"),
        (ValueError("a key, which must not be repeated"), "protocol", "the answer is not HTTP: ValueError"),
    ],
)
def test_errors_become_a_kind_and_a_few_words(error: Exception, kind: str, message: str) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "self-signed"
    explained = _explained(error, Deadline.after(5))
    assert isinstance(explained, HttpClientError)
    assert explained.kind == kind
    assert str(explained).startswith(message)


def test_whatever_fails_after_the_deadline_is_late() -> None:
    explained = _explained(ConnectionResetError(104, "reset"), Deadline.after(-1))
    assert isinstance(explained, HttpClientError)
    assert explained.kind == "timeout"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a", Origin(secure=False, host="a", port=80, target="/")),
        ("https://a/b/c?d=e", Origin(secure=True, host="a", port=443, target="/b/c?d=e")),
        ("http://[::1]:9090/x", Origin(secure=False, host="::1", port=9090, target="/x")),
    ],
)
def test_where_a_url_leads(url: str, origin: Origin) -> None:
    assert Origin.of(url) == origin
