from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.body_pattern import BodyPattern, PatternError
from exporter.config.validation import load_exporter_settings
from service.config.load import ConfigError

EXPLODES_ELSEWHERE = [
    (r"^(\w+\s?)*$", b"a" * 5000 + b"!"),
    (r"(x+x+)+y", b"x" * (1 << 20)),
    (r"(a|a)*b", b"a" * (1 << 20)),
    (r"(a?){100}a{100}b", b"a" * 100_000),
    (r"(.*)*,", b"a" * 100_000),
]


@pytest.mark.fault
@pytest.mark.parametrize(("pattern", "body"), EXPLODES_ELSEWHERE)
def test_no_body_makes_a_pattern_explode(pattern: str, body: bytes) -> None:
    begun = time.process_time()
    assert not BodyPattern(pattern).matches(body)
    assert time.process_time() - begun < 5


@pytest.mark.fault
@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a)\1", r"invalid escape sequence: \1"),
        (r"(?P<q>a)(?P=q)", "invalid perl operator: (?P="),
        (r"ok(?=!)", "invalid perl operator: (?="),
        (r"(?<!not )ok", "invalid perl operator: (?<!"),
        (r"(?>a+)b", "invalid perl operator: (?>"),
        (r"a{1001}", "invalid repetition size: {1001}"),
        (r"(a{900}){900}", "invalid repetition size: {900}"),
        (r"(.?){1000}b", "steps when compiled, at most 2000"),
        ("(", "missing ): ("),
        ("\udc80", "it is not text"),
    ],
)
def test_a_pattern_that_cannot_be_searched_in_linear_time_is_refused_at_the_start(
    pattern: str, why: str
) -> None:
    with pytest.raises(PatternError, match=re.escape(why.split(":", maxsplit=1)[0])):
        BodyPattern(pattern)


def test_the_error_names_the_setting_the_value_and_the_reason() -> None:
    text = "probes:\n- {name: a, url: http://a, expect_body: 'ok(?=!)'}\n"
    with pytest.raises(ConfigError) as caught:
        load_exporter_settings(text, {}, file="e.yml")
    assert str(caught.value).startswith("probes[0].expect_body=ok(?=!) ")
    assert "invalid regular expression (RE2): invalid perl operator: (?=" in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "body", "found"),
    [
        ('"status":\\s*"ok"', b'{"status": "ok"}', True),
        ("^ok$", b"ok\n", True),
        ("^ok$", b"ok\n\n", False),
        ("(?i)all systems OPERATIONAL", b"<p>All Systems Operational</p>", True),
        ("^.$", "é".encode(), True),
        ("a.b", b"a\xffb", True),
        ("a.b", b"a\nb", False),
        ("(?s)a.b", b"a\nb", True),
        ("", b"", True),
        (r"\bup\b", b"it is up.", True),
        ('"db".{0,200}"ok"', b'"db": {"state": "ok"}', True),
    ],
)
def test_what_matches(pattern: str, body: bytes, *, found: bool) -> None:
    assert BodyPattern(pattern).matches(body) is found
    assert bool(re.search(pattern, body.decode("utf-8", "replace"))) is found


@pytest.mark.slow
@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_is_refused(pattern: str) -> None:
    try:
        compiled = BodyPattern(pattern)
    except PatternError:
        return
    assert compiled.matches(b"x" * 1000 + b"\xff\n") in (True, False)
