"""What an answer to a push means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.otlp.answers import LONGEST_PAUSE, PushAnswer, answer_of, answer_of_error, retry_after
from lab.collector import partial_success
from service.web.client import ErrorKind, HttpClientError, HttpResponse

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
STATUS = b"\x08\x08\x12\x09too large"  # google.rpc.Status: code 8, message


def answer(status: int, body: bytes = b"", **headers: str) -> PushAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer_of(HttpResponse(status, named, body), 10, NOW)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_success(status: int) -> None:
    assert answer(status) == PushAnswer(None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_those_that_are_sent_again(status: int) -> None:
    assert answer(status, retry_after="7") == PushAnswer(
        "unavailable", f"status {status}", again=True, after=7.0
    )
    assert answer(status).after is None


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        *((301, "redirect"), (307, "redirect"), (400, "rejected"), (401, "unauthorized")),
        *((403, "unauthorized"), (404, "rejected"), (413, "rejected"), (500, "server_error")),
        (501, "server_error"),
    ],
)
def test_those_that_are_dropped(status: int, failure: str) -> None:
    assert answer(status, retry_after="7") == PushAnswer(failure, f"status {status}")  # type: ignore[arg-type]


def test_the_reason_of_an_error_is_told_in_a_line() -> None:
    plain = answer(400, b"out of order\nsample \x1b[31m", content_type="text/plain; charset=utf-8")
    assert plain.text == "status 400: out of order sample [31m"
    assert answer(413, STATUS, content_type="application/x-protobuf").text == "status 413: too large"
    assert answer(400, b"<html>", content_type="text/html").text == "status 400"
    assert answer(400, b"\xff\xff", content_type="application/x-protobuf").text == "status 400"
    assert len(answer(400, b"a" * 5000, content_type="text/plain").text) < 350


def test_points_that_were_not_taken() -> None:
    partial = answer(200, partial_success(3, "too old").body)
    assert partial == PushAnswer("partial", "too old", rejected=3)
    assert answer(200, partial_success(99, "all").body).rejected == 10
    assert answer(200, partial_success(0, "be careful").body) == PushAnswer(None, "be careful")


def test_success_of_something_else() -> None:
    assert answer(200, b"<html>Sign in</html>").failure == "protocol"


@pytest.mark.parametrize(
    "kind",
    ["dns", "refused", "unreachable", "timeout", "closed", "certificate", "tls", "protocol", "too_large"],
)
def test_an_exchange_that_failed(kind: ErrorKind) -> None:
    again = kind in ("dns", "refused", "unreachable", "timeout", "closed")
    assert answer_of_error(HttpClientError(kind, "why")) == PushAnswer(kind, "why", again=again)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *((None, None), ("", None), ("soon", None), ("-1", None), ("0", 0.0), ("120", 120.0), (" 5 ", 5.0)),
        *(("9" * 400, LONGEST_PAUSE), ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0)),
        *(("Tue, 14 Nov 2023 22:13:00 GMT", 0.0), ("Tue, 14 Nov 2043 22:13:00 GMT", LONGEST_PAUSE)),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(st.text(max_size=60))
def test_any_header_is_a_bounded_wait(header: str) -> None:
    seconds = retry_after(header, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_PAUSE


@given(
    st.binary(max_size=200), st.sampled_from([200, 400, 503]), st.sampled_from(["text/plain", "x/protobuf"])
)
def test_any_body_is_an_answer(body: bytes, status: int, kind: str) -> None:
    given_answer = answer(status, body, content_type=kind)
    assert 0 <= given_answer.rejected <= 10
    assert given_answer.text.isprintable()
