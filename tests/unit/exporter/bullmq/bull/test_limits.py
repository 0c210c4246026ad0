from __future__ import annotations

import pytest

from exporter.bullmq.bull.limits import why_too_large, why_too_many


@pytest.mark.parametrize(
    ("octets", "active", "why"),
    [
        (500, 1000, ""),
        (65_536, 1, ""),
        (65_537, 0, "a job returned 64 KiB, and the message of its end has all of it"),
        (20_480, 52, "52 active jobs that return 20 KiB each may end at once"),
        (900, 2000, "2000 active jobs that return 900 bytes each may end at once"),
    ],
)
def test_what_is_too_large(octets: float, active: int, why: str) -> None:
    assert why_too_large(octets, active) == why


def test_what_is_too_many() -> None:
    assert why_too_many(5 * 1024 * 1024) == "the messages of jobs that end have 5120 KiB a second"
