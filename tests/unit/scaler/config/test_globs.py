from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.config.globs import globs_overlap

patterns = st.text(alphabet="ab*?", max_size=6)


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("mail", "mail", True),
        ("mail", "mails", False),
        ("mail-*", "mail-retry", True),
        ("mail-*", "mail", False),
        ("mail-*", "*-retry", True),
        ("mail-*", "video-*", False),
        ("*", "anything", True),
        ("a?c", "ab*", True),
        ("a?c", "a", False),
        ("report-[0-4]", "report-[3-9]", True),
        ("report-[0-4]", "report-[5-9]", False),
        ("[!m]*", "mail", False),
        ("[!m]*", "video", True),
        ("[!m]*", "[!v]*", True),
        ("{tag}*", "{tag}:mail", True),
    ],
)
def test_whether_two_patterns_can_match_one_name(first: str, second: str, overlap: bool) -> None:  # noqa: FBT001
    assert globs_overlap(first, second) == globs_overlap(second, first) == overlap


@given(patterns, st.text(alphabet="ab", max_size=6))
def test_with_a_name_it_is_a_match(pattern: str, name: str) -> None:
    assert globs_overlap(pattern, name) == fnmatchcase(name, pattern)


@given(patterns, patterns, st.text(alphabet="ab", max_size=6))
def test_what_both_match_is_an_overlap(first: str, second: str, name: str) -> None:
    if fnmatchcase(name, first) and fnmatchcase(name, second):
        assert globs_overlap(first, second)
