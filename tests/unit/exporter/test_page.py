from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.assessment import Assessment
from exporter.config.health import HealthSettings
from exporter.config.shard import QueueShard
from exporter.health import assess
from exporter.history import HISTORY_SECONDS, History, Point, point_of
from exporter.page import status_page
from exporter.page.frame import PageQuery, sign_in
from exporter.page.plots import plots
from exporter.page.queues import ROWS, queue_table
from exporter.peers.model import Peers, PeerStatus
from exporter.peers.scaler_report import scaler_report
from exporter.snapshot.queues import BullMQState, QueueId
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from exporter.views import About, Task, status_view
from exporter.web.status_page import page_query_of
from service.catalogs import ENGLISH, TRANSLATORS
from service.i18n import Message
from service.outcome import Failed, Ok
from tests.support.assessments import NASTY, assessment, healthy_assessment, issue, queue

VOID = {"meta", "br", "link", "input", "polyline", "circle"}
ABOUT = About(
    "1.2.3",
    monitoring=True,
    uptime=3700.0,
    tasks=(Task("discovery", True, 1.0, 0), Task("assessment", False, 999.0, 3)),
)


PEERS = Peers(
    PeerStatus(
        1.0,
        scaler_report(
            {
                "enabled": False,
                "targets": [
                    {
                        "name": NASTY,
                        "current": 3,
                        "ready": None,
                        "desired": 5,
                        "load_factor": 0.5,
                        "sentence": f"because {NASTY}",
                        "override": {"by": NASTY, "reason": "a launch"},
                    },
                    {"name": "other"},
                ],
            }
        ),
        "",
    ),
    PeerStatus(1.0, [{"name": "HighLoad", "severity": "critical", "summary": NASTY, "since": "now"}], ""),
)


class Reader(HTMLParser):
    """The page's text, links and elements; fails where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.scripts += [value or "" for name, value in attrs if tag == "script" and name == "src"]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_from_outside_is_escaped() -> None:
    page = Reader(status_page(status_view(assessment(), ABOUT), PageQuery(search=NASTY), peers=PEERS))
    assert page.tags.count("script") == 1
    assert page.scripts == ["/page.js"]
    assert "<script>" in page.text  # as text, in an advice and in a reason


def test_it_loads_nothing_and_links_only_to_its_own_paths() -> None:
    page = Reader(status_page(status_view(assessment(), ABOUT)))
    assert {"/metrics", "/healthz", "/readyz", "/status.json"} <= set(page.links)
    assert all(link.startswith("/") and not link.startswith("//") for link in page.links if link != "data:,")
    assert not {"img", "iframe", "object", "style"} & set(page.tags)
    assert {"/page.css", "/page.js"} <= set(page.links)


def test_the_content_of_the_page() -> None:
    issues = (issue("cluster_node_unhealthy", penalty=20), issue("failed_jobs_high", "bullmq", 10))
    text = Reader(status_page(status_view(assessment(issues=issues, score=70), ABOUT))).text
    for expected in (
        "70",
        "warning",
        "2 issues",
        "title of failed_jobs_high",
        "1 of 2 nodes",
        "0 nodes",
        "1.2.3",
    ):
        assert expected in text
    for expected in (
        "1.2.3",
        "redis",
        "bullmq",
        "host",
        "process",
        "failed",
        "2.0 ms",
        "1 h 1 min",
        "discovery",
        "Late",
    ):
        assert expected in text


def test_all_healthy() -> None:
    page = status_page(status_view(healthy_assessment(), ABOUT))
    assert "no issues" in page
    assert '<b class="healthy">100</b>' in page
    assert ">off<" in page


def test_switched_off() -> None:
    page = Reader(status_page(status_view(None, About("1.2.3", monitoring=False, uptime=1.0))))
    assert "Monitoring is switched off" in page.text
    assert "table" not in page.tags


# --- queues ----------------------------------------------------------------------------------------------


def queues(count: int, **more: Any) -> dict[str, Any]:
    states = [queue(f"queue-{number:05}", waiting=number, prioritized=0, **more) for number in range(count)]
    view = status_view(assessment(), ABOUT)
    first = dict(view["queues"]["queues"][0])
    rows = [
        first | {"name": state.id.name, "waiting": state.jobs.waiting, "prioritized": 0} for state in states
    ]
    return {"queues": rows, "unread": []}


def table_of(state: dict[str, Any], query: PageQuery) -> str:
    return queue_table({"queues": state, "health": {"issues": []}}, query)


def shown(state: dict[str, Any], query: PageQuery = PageQuery()) -> list[str]:  # noqa: B008
    return re.findall(r">(queue-\d{5})", table_of(state, query))


def test_ten_thousand_queues_are_split_into_pages() -> None:
    state = queues(10_000)
    first = table_of(state, PageQuery())
    assert len(first) < 60_000
    assert shown(state) == [f"queue-{number:05}" for number in range(9_999, 9_999 - ROWS, -1)]
    assert "1 - 50 of 10,000 queues" in first
    last = PageQuery(page=200)
    assert shown(state, last)[-1] == "queue-00000"
    assert "Next" not in table_of(state, last)
    assert shown(state, PageQuery(page=99_999)) == shown(state, last), "beyond the end is the end"


def test_search_and_order() -> None:
    state = queues(300)
    assert shown(state, PageQuery(search="QUEUE-0012", sort="name")) == [
        f"queue-0012{digit}" for digit in range(10)
    ]
    assert shown(state, PageQuery(search="bull:queue-00007")) == ["queue-00007"]
    assert "No matching queue." in table_of(state, PageQuery(search="none"))
    assert "No queues found yet." in table_of(queues(0), PageQuery())


def test_the_search_is_below_the_queues() -> None:
    state = queues(2)
    candidate = {"prefix": "app", "name": "<users>", "why": "its active is a set"}
    searched = {"prefixes": [], "keys": 1234, "ended_at": 5.0, "passed_over": [candidate], "refused": []}
    table = table_of({**state, "search": searched}, PageQuery())
    assert "searched 1,234 keys under any prefix" in table
    assert "1 candidate is not a queue: app:&lt;users&gt; (its active is a set)" in table
    empty = table_of({**queues(0), "search": searched}, PageQuery())
    assert "searched 1,234 keys under any prefix" in empty


def test_workers_that_are_not_known_are_a_question_mark_with_its_reason() -> None:
    state = queues(1)
    state["queues"][0] |= {"workers": None, "workers_unknown": "no <name>"}
    assert '<span class="dim" title="no &lt;name&gt;">?</span>' in table_of(state, PageQuery())


def test_unknown_values_come_last_and_are_not_zero() -> None:
    state = queues(3)
    for row, workers in zip(state["queues"], (2, None, 0), strict=True):
        row["workers"] = workers
    table = table_of(state, PageQuery(sort="workers"))
    assert shown(state, PageQuery(sort="workers")) == ["queue-00000", "queue-00002", "queue-00001"]
    assert table.count('<td class="number">0</td>') >= 1


def test_queues_that_cannot_be_read_are_first() -> None:
    state = queues(100)
    state["unread"] = [{"prefix": "bull", "name": "lost", "why": "no answer"}]
    assert "no answer" in table_of(state, PageQuery())
    assert "cannot be read" in table_of(state, PageQuery())


@given(st.text(max_size=30), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_any_query_is_a_page_query(search: str, page: str, sort: str, language: str) -> None:
    query = page_query_of({"q": search, "page": page, "sort": sort, "lang": language}, None)
    Reader(table_of(queues(3), query))
    assert query.page >= 0
    assert PageQuery(
        **{field: getattr(query, field) for field in ("search", "page", "sort", "translator")}
    ).url()


# --- plots -----------------------------------------------------------------------------------------------


def points(values: list[float | None], apart: float = 60.0) -> list[Point]:
    return [Point(index * apart, 100.0, value, None, None, None) for index, value in enumerate(values)]


def test_a_gap_splits_the_line_of_a_plot() -> None:
    drawn = plots(points([1.0, 2.0, None, 4.0, 5.0, None, 7.0]), 360.0, ENGLISH)
    waiting = drawn.split("<figure>")[2]
    assert (waiting.count("<polyline"), waiting.count("<circle")) == (2, 1)
    assert "<b>7</b>" in waiting
    assert "max 7" in waiting


def test_a_plot_without_data_says_so_and_draws_no_zero() -> None:
    assert plots([], 0.0, ENGLISH).count("no data") >= 5
    done = plots(points([1.0, 2.0]), 60.0, ENGLISH).split("<figure>")[3]
    assert "no data" in done
    assert "<polyline" not in done


def test_the_history_is_one_hour_and_bounded() -> None:
    history, base = History(), point_of(assessment())
    assert base.waiting is None, "a queue could not be read: the sum is not known"
    history.add(assessment())
    history.add(assessment())
    taken = history.points(base.at)
    assert len(taken) == 1, "the same moment once"
    assert history.points(base.at + HISTORY_SECONDS + 1) == ()


def of_workers(at: float, *workers: int | None, unread: bool = False) -> Assessment:
    queues = tuple(queue(f"q{place}", workers=number) for place, number in enumerate(workers))
    lost = {QueueId("bull", "lost"): Failed("refused", "NOPERM no")} if unread else {}
    snapshot = Snapshot(at, bullmq=Ok(BullMQState(queues, lost)))
    return Assessment(snapshot, healthy_assessment().health)


def test_the_last_value_of_a_plot_is_that_of_the_tables() -> None:
    """The workers are counted moments after the start: not "no data" for as long as no point is kept."""
    history = History()
    history.add(of_workers(1000.0, None))
    history.add(of_workers(1003.0, 2))
    assert "Workers: 2," in plots(history.points(1003.0), 1003.0, ENGLISH)
    history.add(of_workers(1004.0, 3))
    assert [point.workers for point in history.points(1004.0)] == [None, 3.0], "at most one more"
    history.add(of_workers(1011.0, 4))
    assert [point.workers for point in history.points(1011.0)] == [None, 4.0]


@pytest.mark.parametrize(
    ("workers", "unread", "told"),
    [
        ((3, 4), False, "Workers: 7,"),
        ((3, None), False, "Workers: at least 3"),
        ((3, 4), True, "Workers: at least 7"),
        ((None, None), False, "Workers: no data"),
        ((0, None), False, "Workers: at least 0"),
        ((), False, "Workers: 0"),
    ],
)
def test_workers_that_are_known_in_part(
    workers: tuple[int | None, ...],
    unread: bool,  # noqa: FBT001
    told: str,
) -> None:
    history = History()
    history.add(of_workers(1000.0, *workers, unread=unread))
    drawn = plots(history.points(1000.0), 1000.0, ENGLISH)
    assert f'aria-label="{told}' in drawn
    figure = drawn.split("<figure>")[5]
    assert ("<circle" in figure) is (not unread and None not in workers), "no line of a partial sum"


# --- languages and the form ------------------------------------------------------------------------------


def test_in_indonesian() -> None:
    page = status_page(status_view(assessment(), ABOUT), PageQuery(translator=TRANSLATORS["id"]), peers=PEERS)
    assert '<html lang="id">' in page
    text = Reader(page).text
    for expected in ("Antrean", "Satu jam terakhir", "Penskalaan", "Latar belakang", "Skor"):
        assert expected in text
    for english in ("Queues", "The last hour", "Scaling", "Background"):
        assert english not in text


def test_the_sign_in_form_shows_no_monitored_data() -> None:
    page = Reader(sign_in(PageQuery(), Message("page.invalid_key")))
    assert "form" in page.tags
    assert "Invalid key." in page.text
    assert "Redis" not in page.text


def test_a_queue_of_bull_is_marked() -> None:
    view = status_view(assessment(queues=(queue("jobs", library="bull"), queue("mail"))), ABOUT)
    rows = table_of(view["queues"], PageQuery(translator=ENGLISH)).split("<tr>")
    assert [("jobs" in row, "mail" in row) for row in rows if ">Bull<" in row] == [(True, False)]


def test_queues_have_their_prefix_where_there_are_several() -> None:
    one = status_view(assessment(queues=(queue("jobs"), queue("mail"))), ABOUT)["queues"]
    assert "bull:" not in Reader(table_of(one | {"unread": []}, PageQuery())).text
    other = queue("mail")._replace(id=QueueId("app", "mail"))
    several = status_view(assessment(queues=(queue("mail"), other)), ABOUT)["queues"]
    text = Reader(table_of(several, PageQuery())).text
    assert "bull:mail" in text
    assert "app:mail" in text


def test_columns_that_no_node_fills_are_left_out() -> None:
    def page(slots: int | None) -> str:
        view = status_view(assessment(), ABOUT)
        nodes = [node | {"slots": slots} for node in view["redis"]["nodes"]]
        return status_page({**view, "redis": {**view["redis"], "nodes": nodes}}, PageQuery(), peers=PEERS)

    assert "Slots</th>" in page(5461)
    assert "Slots</th>" not in page(None)


def test_schedulers_that_are_late_are_below_the_queues() -> None:
    late = Scheduler("<b>", "report", True, 3600.0, None, 3600.0, None, None, None, None, 2, "pending")
    state = BullMQState((queue(),), schedulers={QueueId("bull", "mail"): QueueSchedulers((late,), 7300.0)})
    snapshot = Snapshot(7300.0, bullmq=Ok(state))
    view = status_view(Assessment(snapshot, assess(snapshot, HealthSettings())), ABOUT)
    page = queue_table(view, PageQuery(translator=ENGLISH))
    assert '<p class="warning">mail: &lt;b&gt;: its run is 1 h 1 min late.</p>' in page


def test_a_shard_says_which_part_it_has_and_where_the_others_are() -> None:
    urls = ("http://a:9877", f"http://b{NASTY}", "http://c:9877")
    about = About("1.2.3", monitoring=True, shard=QueueShard(2, 3), shard_urls=urls)
    page = status_page(status_view(assessment(), about))
    assert "shard 2 of 3: the queues of this exporter only" in Reader(page).text
    assert '<a href="http://a:9877">1</a> <a href="http://c:9877">3</a>' in page
    assert NASTY not in page
    alone = status_page(status_view(assessment(), About("1.2.3", monitoring=True, shard=QueueShard(2, 3))))
    assert "The setting shard_urls makes links to the others." in Reader(alone).text
    assert 'id="shard"' not in status_page(status_view(assessment(), ABOUT))
