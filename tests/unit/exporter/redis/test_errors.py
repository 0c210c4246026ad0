from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.errors import RECENT_SECONDS, RecentErrors, parse_errors
from exporter.snapshot import Info


def test_codes_of_the_server_and_others() -> None:
    fields = {
        "errorstat_MISCONF": "count=3",
        "errorstat_ERR": "count=2",
        "errorstat_MINE1": "count=4",
        "errorstat_MINE2": "count=5",
        "errorstat_OOM": "count=x",
        "errorstat_ASK": "",
        "errorstat_MOVED": "count=-1",
        "cmdstat_get": "calls=1",
    }
    assert parse_errors(Info(fields)) == {"MISCONF": 3, "ERR": 2, "other": 9}


@given(st.dictionaries(st.text(), st.text()))
def test_any_info_is_parsed(fields: dict[str, str]) -> None:
    named = {f"errorstat_{name}": row for name, row in fields.items()}
    assert all(count >= 0 for count in parse_errors(Info(named)).values())


def test_errors_are_recent_for_a_while() -> None:
    recent = RecentErrors()
    assert recent.observe("a:1", "run", {"OOM": 7}, 0.0) == {}
    assert recent.observe("a:1", "run", {"OOM": 9}, 15.0) == {"OOM": 2}
    assert recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, 30.0) == {"OOM": 2, "MISCONF": 1}
    last = 15.0 + RECENT_SECONDS
    assert recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, last - 1) == {"OOM": 2, "MISCONF": 1}
    assert recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, last) == {"MISCONF": 1}
    assert recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, last + 15) == {}


def test_collections_that_are_far_apart_are_compared_with_the_one_before() -> None:
    recent = RecentErrors()
    recent.observe("a:1", "run", {}, 0.0)
    assert recent.observe("a:1", "run", {"OOM": 1}, 10 * RECENT_SECONDS) == {"OOM": 1}
    assert recent.observe("a:1", "run", {"OOM": 1}, 20 * RECENT_SECONDS) == {}


def test_a_restart_and_a_reset_begin_again() -> None:
    recent = RecentErrors()
    recent.observe("a:1", "run", {"OOM": 1}, 0.0)
    assert recent.observe("a:1", "another", {"OOM": 5}, 15.0) == {}
    assert recent.observe("a:1", "another", {"OOM": 6}, 30.0) == {"OOM": 1}
    assert recent.observe("a:1", "another", {}, 45.0) == {}


def test_nodes_have_their_own_counts_and_are_forgotten() -> None:
    recent = RecentErrors()
    recent.observe("a:1", "run", {"OOM": 1}, 0.0)
    assert recent.observe("b:1", "run", {"OOM": 9}, 0.0) == {}
    recent.forget_others(["b:1"])
    assert recent.observe("a:1", "run", {"OOM": 2}, 15.0) == {}
    assert recent.observe("b:1", "run", {"OOM": 10}, 15.0) == {"OOM": 1}


@given(st.lists(st.floats(0, 30), max_size=200))
def test_what_is_remembered_is_bounded(steps: list[float]) -> None:
    recent, at = RecentErrors(), 0.0
    for count, step in enumerate(steps):
        at += step
        recent.observe("a:1", "run", {"OOM": count}, at)
    (samples,) = recent._samples.values() if steps else ([],)
    assert len(samples) <= RECENT_SECONDS / 5 + 3
