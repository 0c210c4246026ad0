from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.address import RedisUrl, join_address, parse_url, split_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://cache", RedisUrl("cache:6379", tls=False)),
        ("rediss://cache:6380/2", RedisUrl("cache:6380", tls=True, database=2)),
        ("valkey://cache:6380/", RedisUrl("cache:6380", tls=False)),
        ("VALKEYS://cache", RedisUrl("cache:6379", tls=True)),
        ("redis://:p%40s%2Fs@cache", RedisUrl("cache:6379", tls=False, password="p@s/s")),
        ("redis://me:a:b@cache", RedisUrl("cache:6379", tls=False, username="me", password="a:b")),
        ("redis://me@cache", RedisUrl("cache:6379", tls=False, username="me")),
        ("redis://me:a@b@cache", RedisUrl("cache:6379", tls=False, username="me", password="a@b")),
        ("redis://[::1]:6380", RedisUrl("[::1]:6380", tls=False)),
        (" redis://10.0.0.1:6380/0 \n", RedisUrl("10.0.0.1:6380", tls=False, database=0)),
    ],
)
def test_url(text: str, expected: RedisUrl) -> None:
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://cache", "starts with redis://"),
        ("cache:6379", "starts with redis://"),
        ("redis://", "host:port"),
        ("redis://cache:66000", "host:port"),
        ("redis://cache:sekret", "host:port"),
        ("redis://:sek/ret@cache", "%2F"),
        ("redis://:sek#ret@cache", "%23"),
        ("redis://:sek?ret@cache", "%3F"),
        ("redis://:%ff@cache", "percent-encoded"),
        ("redis://cache/one", "a number"),
        ("redis://cache/1?ssl_cert_reqs=none", "a number"),
        ("redis://[::1", "host:port"),
    ],
)
def test_an_invalid_url_reports_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_url(text)


@given(st.text(), st.text(), st.sampled_from(["redis", "htp"]))
def test_no_error_shows_a_part_of_the_password(before: str, after: str, scheme: str) -> None:
    password = f"{before}S3KRET{after}"
    for text in (
        f"{scheme}://:{password}@cache:6379/0",
        f"{scheme}://{password}",
        f"{scheme}://c:{password}",
    ):
        try:
            shown = repr(parse_url(text))
        except ValueError as error:
            shown = f"{error} {error.__cause__}"
            assert error.__suppress_context__ or error.__context__ is None  # noqa: PT017
        if f":{password}@" in text:
            assert "S3K" not in shown


@given(st.text())
def test_any_text_is_an_url_or_a_value_error(text: str) -> None:
    try:
        parse_url(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cache", ("cache", 6379)),
        ("cache:7001", ("cache", 7001)),
        ("[::1]", ("::1", 6379)),
        ("[fe80::1]:7001", ("fe80::1", 7001)),
        ("fe80::1:7001", ("fe80::1", 7001)),
    ],
)
def test_address(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected
    assert split_address(join_address(*expected)) == expected


@pytest.mark.parametrize(
    "text", ["", ":7001", "cache:0", "cache:x", "me:sekret@cache:1", "[::1]7001", "a b:1", "a/b"]
)
def test_an_invalid_address(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        split_address(text)
    assert "sekret" not in str(caught.value)
