from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bullmq.names.folding import LONGEST_JOB_NAME, NO_NAME, OTHER_NAMES, UNKNOWN_NAME, folded_name

FOLDED = {
    "sendEmail": "sendEmail",
    "__default__": "__default__",
    "generateMonthlyReportPDF": "generateMonthlyReportPDF",
    "v2-import": "v2-import",
    "OAuth2TokenRefresh": "OAuth2TokenRefresh",
    "report-8842": "report-#",
    "report-7": "report-#",
    "chunk-10": "chunk-#",
    "user:123:sync": "user:#:sync",
    "orders/1234/items/55": "orders/#/items/#",
    "daily-report-2024-11-30": "daily-report-#",
    "resize 1920x1080": "resize #x#",
    "1700000000000-1-2": "#",
    "job-550e8400-e29b-41d4-a716-446655440000": "job-<id>",
    "a1b2c3d4e5f6a7b8": "<id>",
    "mail bob@example.com": "mail <mail>",
    "fetch https://bob:hunter2@example.com/x?key=1": "fetch https://example.com/…",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc": "<secret>",
    "two\nlines\x1b[31m": "two lines [#m",
    "": NO_NAME,
    " \n": NO_NAME,
    "other": "(other)",
    "unknown": "(unknown)",
    "x" * 500: "x" * 79 + "…",
}


@pytest.mark.parametrize(("name", "folded"), FOLDED.items(), ids=[f"{name[:30]!r}" for name in FOLDED])
def test_a_name_without_what_is_one_jobs(name: str, folded: str) -> None:
    assert folded_name(name.encode()) == folded


@given(st.binary(max_size=700))
def test_any_bytes_are_a_short_text_on_one_line_and_no_name_of_ours(name: bytes) -> None:
    folded = folded_name(name)
    assert 0 < len(folded) <= LONGEST_JOB_NAME
    assert folded.isprintable()
    assert folded not in (OTHER_NAMES, UNKNOWN_NAME)


@given(st.integers(0, 10**20), st.integers(0, 10**20))
def test_all_numbers_are_one_name(one: int, other: int) -> None:
    assert folded_name(b"report-%d" % one) == folded_name(b"report-%d" % other)
