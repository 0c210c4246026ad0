from __future__ import annotations

import pytest

from exporter.address import parse_url
from exporter.config.redis import RedisSettings
from exporter.redis.connection.access import access
from exporter.snapshot.redis import Access

CASES = [
    ("redis://a", {}, Access((), "default")),
    ("redis://reader:secret@a", {}, Access(("--askpass",), "reader")),
    ("redis://:secret@a", {"username": "reader"}, Access(("--askpass",), "reader")),
    ("redis://a", {"password_file": "/run/secret"}, Access(("--askpass",), "default")),
    ("rediss://a", {}, Access(("--tls",), "default")),
    (
        "redis://a",
        {"tls": {"enabled": True, "verify": False, "ca_file": "/a b", "server_name": "cache"}},
        Access(("--tls", "--insecure", "--cacert '/a b'", "--sni cache"), "default"),
    ),
    (
        "rediss://a",
        {"tls": {"cert_file": "/c", "key_file": "/k"}},
        Access(("--tls", "--cert /c", "--key /k"), "default"),
    ),
]


@pytest.mark.parametrize(("url", "settings", "expected"), CASES)
def test_the_options_have_no_secret(url: str, settings: dict[str, object], expected: Access) -> None:
    made = access(RedisSettings.model_validate(settings), parse_url(url))
    assert made == expected
    assert "secret" not in "".join(made.options).replace("/run/secret", "")
