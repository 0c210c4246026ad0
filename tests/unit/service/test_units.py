from __future__ import annotations

from itertools import product

import pytest

from service.units import count, duration, milliseconds, percent, plain, readable, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 s"),
        (-1, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
        (86400 + 59, "1 d"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (64 << 30, "64 GiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_size(amount: float | None, text: str) -> None:
    assert size(amount) == text


def test_the_others() -> None:
    assert [plain(number) for number in (0.0, 0.00123, 12.345, 999.7, 1234.5, 2e6)] == [
        *("0", "0.00123", "12.3", "1000", "1234", "2000000")
    ]
    assert [milliseconds(seconds) for seconds in (None, 0.0004, 0.0123, 2)] == [
        "",
        "0.4 ms",
        "12 ms",
        "2.0 s",
    ]
    assert [percent(ratio) for ratio in (None, 0, 0.5, 0.999, 1)] == ["", "0 %", "50 %", "99.9 %", "100 %"]
    assert [count(number) for number in (None, 0, 12345)] == ["", "0", "12,345"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"mail", "mail"),
        ("grüße ✉".encode(), "grüße ✉"),
        (b"caf\xe9", "caf\\xe9"),
        ("ü".encode() + b"\xff", "ü\\xff"),
        (b"\\xff", "\\\\xff"),
        (b"C:\\mail", "C:\\mail"),
    ],
)
def test_a_name_of_any_bytes_can_be_shown(key: bytes, text: str) -> None:
    assert readable(key.decode("utf-8", "surrogateescape")) == text


@pytest.mark.fault
def test_no_two_names_are_shown_as_the_same_text() -> None:
    """Two queues would have one series."""
    parts = (b"\\", b"\xff", b"xff", b"\\xff", b"x", b"f", "ÿ".encode())
    names = {b"".join(some) for length in range(6) for some in product(parts, repeat=length)}
    shown = {readable(name.decode("utf-8", "surrogateescape")) for name in names}
    assert len(shown) == len(names)
