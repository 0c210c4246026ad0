from __future__ import annotations

import string
from random import Random
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.reasons.masking import (
    LONGEST_READ,
    LONGEST_REASON,
    NO_REASON,
    masked_reason,
    without_ids,
)


def of(text: str) -> str:
    return masked_reason(text.encode())


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        ("", NO_REASON),
        (" \n\t\n", NO_REASON),
        ("other", "(other)"),  # the label of all the rest
        ("job stalled more than allowable limit", "job stalled more than allowable limit"),
        ("connect ECONNREFUSED 10.0.0.5:6379", "connect ECONNREFUSED <ip>:#"),
        ("connect ECONNREFUSED ::1:6379", "connect ECONNREFUSED <ip>"),
        ("connect EHOSTUNREACH fe80::1ff:fe23:4567:890a", "connect EHOSTUNREACH <ip>"),
        ("getaddrinfo ENOTFOUND api.stripe.com", "getaddrinfo ENOTFOUND api.stripe.com"),
        ("Request failed with status code 404", "Request failed with status code 404"),
        ("Request failed with status code 503", "Request failed with status code 503"),
        ("HTTP 429: Too Many Requests", "HTTP 429: Too Many Requests"),
        ("HTTP/1.1 502 Bad Gateway", "HTTP/# 502 Bad Gateway"),
        ("timeout of 30000ms exceeded", "timeout of #ms exceeded"),
        ("took 10:15:30, not 1,234.5 s", "took #, not # s"),
        ("nothing since 2024-11-30T10:15:30.123Z for 2024-11-30", "nothing since # for #"),
        ("no such job import-customers-2024-11", "no such job import-customers-#-#"),
        ("Missing key for job report-8842.", "Missing key for job report-#."),
        (
            "Cannot read properties of undefined (reading 'total')",
            "Cannot read properties of undefined (reading '…')",
        ),
        ('Unexpected token "<" in JSON at position 0', 'Unexpected token "…" in JSON at position #'),
        ("can't find it, can't say why", "can't find it, can't say why"),
        ("no user with id 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no user with id <id>"),
        ("order 5f8f8c44b54764421b7156c9 not found", "order <id> not found"),
        (
            "duplicate key value violates unique constraint `users_pkey`",
            "duplicate key value violates unique constraint `…`",
        ),
        ("E11000 duplicate key error", "E# duplicate key error"),
        (
            "MongoServerSelectionError: connection timed out",
            "MongoServerSelectionError: connection timed out",
        ),
        ("OAuth2AuthorizationError: denied", "OAuth#AuthorizationError: denied"),
        ('Invalid input: {"card":"4111111111111111"} at row 3', "Invalid input: {…}"),
        ("expected [1, 2, 3] to be empty", "expected {…}"),
        ("[Errno 111] Connection refused", "[Errno #] Connection refused"),
        ("bad row {half of it", "bad row {…}"),
        ("GET https://api.example.com/v1/users/12?token=abc failed", "GET https://api.example.com/… failed"),
        ("cannot reach redis://:hunter2@redis-7:6379/0", "cannot reach redis://redis-#/…"),
        ("cannot mail bob@example.com", "cannot mail <mail>"),
        ("Error: first line\n    at Object.<anonymous> (/srv/app.js:1:2)", "Error: first line"),
        ("\x1b[31mred\x1b[0m \u202eturned", "red turned"),
        ("a" * 500, "a" * (LONGEST_REASON - 1) + "…"),
    ],
)
def test_what_differs_from_job_to_job_is_masked(reason: str, counted: str) -> None:
    assert of(reason) == counted


SECRETS = (
    "password: hunter2",
    "password=hunter2",
    "passwd = 'correct horse'",
    "wrong password hunter2 for x",
    "PWD:hunter2;",
    "api_key=hunter2",
    "API key: hunter2",
    "apikey hunter2",
    "token hunter2",
    "secret: hunter2",
    "Authorization: Bearer hunter2",
    "Bearer hunter2",
    "Basic aHVudGVyMjpodW50ZXIy",
    "cookie: session=hunter2",
    "https://bob:hunter2@example.com/x",
    "postgres://bob:hunter2@db/orders",
    "https://example.com/reset?code=hunter2",
    "hunter2@example.com",
    "'hunter2'",
    '"hunter2"',
    "{password:hunter2}",
    '["hunter2"]',
)


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_left(text: str) -> None:
    for before, after in (("", ""), ("could not send ", " to it"), ("Error: ", "")):
        left = of(f"{before}{text}{after}")
        assert "hunter" not in left
        assert "aHVudGVy" not in left
        assert "horse" not in left


@pytest.mark.parametrize(
    "key",
    [
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "xoxb-2444333222-abcdefGHIJ",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    ],
)
def test_a_key_is_no_word(key: str) -> None:
    left = of(f"the service refused {key} today")
    assert left in {"the service refused <secret> today", "the service refused <id> today"}


LETTERS, DIGITS = string.ascii_letters, string.digits


@pytest.mark.parametrize("alphabet", [LETTERS + DIGITS, f"{DIGITS}abcdef", DIGITS + string.ascii_uppercase])
def test_what_a_generator_of_keys_makes_is_no_word(alphabet: str) -> None:
    """But for a few in a thousand, which have one digit at most and look like words."""
    random, count = Random(1), 5000
    keys = ["".join(random.choices(alphabet, k=random.randint(20, 64))) for _ in range(count)]
    words = [key for key in keys if of(f"refused {key} today") != "refused <id> today"]
    assert len(words) <= 3 * count / 1000, words


@given(st.text(max_size=300))
def test_any_text_is_one_short_line(text: str) -> None:
    left = of(text)
    assert 0 < len(left) <= LONGEST_REASON
    assert left.isprintable()
    assert left == left.strip()
    assert not any(sign.isdigit() and sign.isascii() for sign in left) or any(
        word in left.lower() for word in ("status", "code", "http")
    )


@given(st.binary(max_size=300))
def test_any_bytes_are_one(reason: bytes) -> None:
    assert masked_reason(reason).isprintable()


@pytest.mark.fault
@pytest.mark.parametrize(
    "sign", ["{", "'", '"', "a", "1", ":", "@", "a@", "1.", "a:", "://", "a://@", "key ", "-_", "f:"]
)
def test_no_text_takes_long(sign: str) -> None:
    """A regular expression that tries all ways would take minutes: the time-out of a test ends it."""
    assert masked_reason((sign * LONGEST_READ).encode() + b"!")


@pytest.mark.parametrize("text", ["@" + "a" * 100_000, "a.b+" * 25_000 + " @", "-" * 100_000])
def test_the_time_grows_with_the_text_not_with_its_square(text: str) -> None:
    """Milliseconds for one of a thousand letters: of what a job fails with, anyone may decide."""
    begun = thread_time()
    without_ids(text)
    assert thread_time() - begun < 2
