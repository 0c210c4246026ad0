from __future__ import annotations

import pytest

from service.web.address import parse_listen

ALL = "0.0.0.0"  # noqa: S104  # nothing is bound here


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("0.0.0.0:9877", (ALL, 9877)),
        (":9877", (ALL, 9877)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9877", ("::1", 9877)),
        (" [::]:1 ", ("::", 1)),
    ],
)
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9877",
        "host",
        "host:",
        "host:x",
        "host:-1",
        "host:65536",
        "::1:9877",
        "a b:1",
        "u:p@h:1",
        "http://h:1",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="should be") as caught:
        parse_listen(text)
    assert "u:p" not in str(caught.value)
