from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.config.globs import globs_overlap
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.queue_index import QueueIndex

WORST = ("*a*a*a*a*a*a*a*a*a*b", "[!b]*[!b]*[!b]*[!b]*b", "?*?*?*?*?*?*?*b", "*" * 200 + "b")
"""Patterns that take a matcher with backtracking very long."""

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


@pytest.mark.fault
@pytest.mark.parametrize("length", [600, 2000])
def test_long_patterns_are_compared_too(length: int) -> None:
    assert not globs_overlap(f"*{'a' * length}b", f"*{'a' * length}c")
    assert globs_overlap(f"*{'a' * length}*", f"*{'b' * length}")


@pytest.mark.fault
@pytest.mark.parametrize("pattern", WORST)
def test_no_name_makes_a_pattern_of_the_scaler_slow(pattern: str) -> None:
    begun = time.process_time()
    keys = [QueueKey("bull", f"{number}{'a' * 4096}") for number in range(20)]
    assert QueueIndex(keys).matching("bull", (pattern,)) == ()
    assert time.process_time() - begun < 5
