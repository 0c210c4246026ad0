"""The text of the one query, and the queues of a target as one sample."""

from __future__ import annotations

from typing import Any, cast

import pytest

from scaler.config.prometheus import MEASURES, QuerySettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey, combine, explained, query_text

MAIL = QueueKey("bull", "mail")
VIDEO = QueueKey("bull", "video")
WHOLE = QueueSample(
    at=100.0,
    waiting=3.0,
    active=2.0,
    completed=10.0,
    failed=1.0,
    added=16.0,
    duration_sum=5.0,
    duration_count=11.0,
    oldest_waiting=7.0,
    due=1.0,
    busy_seconds=8.0,
)
CUSTOM = QuerySettings(waiting="w{{selector}}", active="a{{selector}}")


def test_ours_is_one_line_for_each_measure() -> None:
    lines = query_text(DEFAULT_QUERIES, {}).splitlines()
    assert len(lines) == len(MEASURES) + 4
    for line, measure in zip(lines, (*MEASURES, "up", "deployment", "shard", "started"), strict=True):
        assert f'"oxherd_measure", "{measure}"' in line
    assert 'bullmq_job_count{state="waiting",queue!=""} + ignoring (state) bullmq_job_count{' in lines[0]
    assert "(bullmq_up{})" in lines[-4]


def test_every_selector_has_the_matchers() -> None:
    text = query_text(DEFAULT_QUERIES, {"env": 'a"b\\c', "cluster": "eu"}, ["mail"])
    for line in text.splitlines():
        assert 'cluster="eu",env="a\\"b\\\\c"' in line


@pytest.mark.parametrize(
    ("names", "selector"),
    [
        ([], 'queue!=""'),
        (["mail"], 'queue=~"mail"'),
        (["b", "a"], 'queue=~"a|b"'),
        (["a.b"], 'queue=~"a\\\\.b"'),
        (["{tag}(x)|y"], 'queue=~"\\\\{tag\\\\}\\\\(x\\\\)\\\\|y"'),
        (['say "hi" you-all'], 'queue=~"say \\"hi\\" you-all"'),
        ([f"q{n}" for n in range(101)], 'queue!=""'),
    ],
)
def test_the_queues_are_named_while_they_are_few(names: list[str], selector: str) -> None:
    assert f"{{{selector}}}" in query_text(CUSTOM, {}, names)


@pytest.mark.parametrize(
    ("text", "matchers", "filled"),
    [
        ("w{{matchers}}", {}, "w{}"),
        ('w{{matchers},s="x"}', {}, 'w{s="x"}'),
        ('w{s="x",{matchers}}', {}, 'w{s="x"}'),
        ('w{s="x", {matchers}}', {}, 'w{s="x"}'),
        ('w{s="x",{matchers}}', {"c": "e"}, 'w{s="x",c="e"}'),
        ('w{s="x",\n {selector}}', {"c": "e"}, 'w{s="x", q!="",c="e"}'),
        ("w", {"c": "e"}, "w"),
    ],
)
def test_placeholders_of_a_custom_query(text: str, matchers: dict[str, str], filled: str) -> None:
    queries = QuerySettings(waiting=text, active="a", queue_label="q")
    assert query_text(queries, matchers).startswith(f"label_replace(({filled}), ")


def test_a_custom_query_contains_its_measures_and_the_time_of_waiting() -> None:
    text = query_text(CUSTOM, {})
    assert [line.rsplit('"', 6)[1] for line in text.splitlines()] == ["waiting", "active", "timestamp"]
    assert '(timestamp(w{queue!=""}))' in text
    timed = CUSTOM.model_copy(update={"timestamp": "t", "completed": "c"})
    assert "timestamp(" not in query_text(timed, {})
    assert len(query_text(timed, {}).splitlines()) == 4


def test_a_parse_error_names_the_measure() -> None:
    message = 'Prometheus: invalid parameter "query": 2:20: parse error: unexpected <by>'
    assert explained(CUSTOM, message) == f"{message} (in `active`, or just before it)"
    assert explained(CUSTOM, "9:1: parse error: x") == "9:1: parse error: x"
    assert explained(CUSTOM, "no place") == "no place"


# --- the queues of a target --------------------------------------------------------------------------------


def test_one_queue_is_itself() -> None:
    assert combine({MAIL: WHOLE}) == WHOLE


def test_queues_are_added_up() -> None:
    other = WHOLE._replace(at=90.0, oldest_waiting=3.0)
    assert combine({MAIL: WHOLE, VIDEO: other}) == QueueSample(
        at=90.0,
        waiting=6.0,
        active=4.0,
        completed=20.0,
        failed=2.0,
        added=32.0,
        duration_sum=10.0,
        duration_count=22.0,
        oldest_waiting=7.0,
        due=2.0,
        busy_seconds=16.0,
        largest_share=0.5,
        largest_active=2.0,
    )


@pytest.mark.parametrize("name", ["completed", "failed", "added", "due", "busy_seconds"])
def test_a_total_is_there_only_if_every_queue_has_it(name: str) -> None:
    sample = combine({MAIL: WHOLE, VIDEO: WHOLE._replace(**cast("dict[str, Any]", {name: None}))})
    assert isinstance(sample, QueueSample)
    assert getattr(sample, name) is None
    assert sample.waiting == 6


@pytest.mark.parametrize(
    ("completed", "expected"), [(0.0, (5.0, 11.0)), (None, (None, None))], ids=["counted", "not counted"]
)
def test_a_queue_without_an_attempt_adds_nothing_to_the_durations(
    completed: float | None, expected: tuple[float | None, float | None]
) -> None:
    idle = QueueSample(at=100.0, waiting=0.0, active=0.0, completed=completed, failed=completed)
    sample = combine({MAIL: WHOLE, VIDEO: idle})
    assert isinstance(sample, QueueSample)
    assert (sample.duration_sum, sample.duration_count) == expected


def test_durations_that_no_queue_has_are_not_zero() -> None:
    bare = WHOLE._replace(duration_sum=None, duration_count=None, oldest_waiting=None)
    sample = combine({MAIL: bare, VIDEO: bare})
    assert isinstance(sample, QueueSample)
    assert (sample.duration_sum, sample.duration_count, sample.oldest_waiting) == (None, None, None)


def test_the_longest_wait_is_of_the_queues_in_which_a_job_waits() -> None:
    sample = combine({MAIL: WHOLE._replace(oldest_waiting=None), VIDEO: WHOLE})
    assert isinstance(sample, QueueSample)
    assert sample.oldest_waiting == 7.0


def test_one_missing_queue_makes_the_target_missing() -> None:
    gone = Missing("empty", "bull:video: not there")
    assert combine({MAIL: WHOLE, VIDEO: gone}) == gone
    both = combine({MAIL: gone, VIDEO: Missing("stale", "old")})
    assert both == Missing("empty", "bull:video: not there (and 1 more of 2 queues)")


def test_without_queues_the_sample_is_not_zero() -> None:
    sample = combine({})
    assert isinstance(sample, Missing)
    assert sample.kind == "empty"
