from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from exporter.redis.errors import RECENT_SECONDS, RecentCounts, parse_errors, watched_totals
from exporter.snapshot.redis import Info, Recent


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


def counted(grown: Mapping[str, Recent]) -> dict[str, int]:
    return {name: recent.growth for name, recent in grown.items()}


def test_refused_clients_are_watched_beside_errors_where_the_server_counts_them() -> None:
    info = Info({"rejected_connections": "3", "client_output_buffer_limit_disconnections": "x"})
    assert watched_totals({"OOM": 1}, info) == {"OOM": 1, "rejected_connections": 3}


def test_errors_are_recent_for_a_while() -> None:
    recent = RecentCounts()
    assert recent.observe("a:1", "run", {"OOM": 7}, 0.0) == {}
    assert recent.observe("a:1", "run", {"OOM": 9}, 15.0) == {"OOM": Recent(2, 0.0, 0.0)}
    assert recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, 30.0) == {
        "OOM": Recent(2, 15.0, 0.0),
        "MISCONF": Recent(1, 0.0, 0.0),
    }
    last = 15.0 + RECENT_SECONDS
    before = recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, last - 1)
    assert counted(before) == {"OOM": 2, "MISCONF": 1}
    at_last = recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, last)
    assert at_last == {"MISCONF": Recent(1, last - 30.0, 0.0)}
    assert recent.observe("a:1", "run", {"OOM": 9, "MISCONF": 1}, last + 15) == {}


def test_how_long_a_count_goes_on_growing() -> None:
    recent = RecentCounts()
    for at, total in [(0.0, 1), (15.0, 2), (30.0, 2), (45.0, 3)]:
        recent.observe("a:1", "run", {"READONLY": total}, at)
    assert recent.observe("a:1", "run", {"READONLY": 9}, 75.0) == {"READONLY": Recent(8, 0.0, 60.0)}
    assert recent.observe("a:1", "run", {"READONLY": 9}, 90.0) == {"READONLY": Recent(8, 15.0, 60.0)}


def test_collections_in_quick_succession_do_not_hide_growth() -> None:
    recent = RecentCounts()
    recent.observe("a:1", "run", {"OOM": 0}, 0.0)
    recent.observe("a:1", "run", {"OOM": 0}, 1.0)
    assert recent.observe("a:1", "run", {"OOM": 1}, 2.0) == {"OOM": Recent(1, 0.0, 0.0)}
    assert recent.observe("a:1", "run", {"OOM": 1}, 3.0) == {"OOM": Recent(1, 0.0, 0.0)}
    grown = recent.observe("a:1", "run", {"OOM": 1}, 20.0)
    assert counted(grown) == {"OOM": 1}


def test_collections_that_are_far_apart_are_compared_with_the_one_before() -> None:
    recent = RecentCounts()
    recent.observe("a:1", "run", {}, 0.0)
    assert recent.observe("a:1", "run", {"OOM": 1}, 10 * RECENT_SECONDS) == {"OOM": Recent(1)}
    assert recent.observe("a:1", "run", {"OOM": 1}, 20 * RECENT_SECONDS) == {}


def test_a_restart_and_a_reset_begin_again() -> None:
    recent = RecentCounts()
    recent.observe("a:1", "run", {"OOM": 1}, 0.0)
    assert recent.observe("a:1", "another", {"OOM": 5}, 15.0) == {}
    assert recent.observe("a:1", "another", {"OOM": 6}, 30.0) == {"OOM": Recent(1)}
    assert recent.observe("a:1", "another", {}, 45.0) == {}


def test_nodes_have_their_own_counts_and_are_forgotten() -> None:
    recent = RecentCounts()
    recent.observe("a:1", "run", {"OOM": 1}, 0.0)
    assert recent.observe("b:1", "run", {"OOM": 9}, 0.0) == {}
    recent.forget_others(["b:1"])
    assert recent.observe("a:1", "run", {"OOM": 2}, 15.0) == {}
    assert recent.observe("b:1", "run", {"OOM": 10}, 15.0) == {"OOM": Recent(1)}


@given(st.lists(st.floats(0, 30), max_size=200))
def test_what_is_remembered_is_bounded(steps: list[float]) -> None:
    recent, at = RecentCounts(), 0.0
    for count, step in enumerate(steps):
        at += step
        recent.observe("a:1", "run", {"OOM": count}, at)
    (samples,) = recent._samples.values() if steps else ([],)
    assert len(samples) <= RECENT_SECONDS / 5 + 3
