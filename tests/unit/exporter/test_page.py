from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.assessment import Assessment
from exporter.history import HISTORY_SECONDS, History, Point, point_of
from exporter.page import status_page
from exporter.page.frame import PageQuery, sign_in
from exporter.page.plots import plots
from exporter.page.queues import ROWS, queue_table
from exporter.peers.model import Peers, PeerStatus
from exporter.snapshot import BullMQState, QueueId, QueueSchedulers, Scheduler, Snapshot
from exporter.views import About, Task, status_view
from exporter.web.status_page import page_query_of
from service.catalogs import ENGLISH, TRANSLATORS
from service.i18n import Message
from service.outcome import Ok
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
        },
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


def shown(state: dict[str, Any], query: PageQuery = PageQuery()) -> list[str]:  # noqa: B008
    return re.findall(r">(queue-\d{5})", queue_table(state, query))


def test_ten_thousand_queues_are_split_into_pages() -> None:
    state = queues(10_000)
    first = queue_table(state, PageQuery())
    assert len(first) < 60_000
    assert shown(state) == [f"queue-{number:05}" for number in range(9_999, 9_999 - ROWS, -1)]
    assert "1 - 50 of 10,000 queues" in first
    last = PageQuery(page=200)
    assert shown(state, last)[-1] == "queue-00000"
    assert "Next" not in queue_table(state, last)
    assert shown(state, PageQuery(page=99_999)) == shown(state, last), "beyond the end is the end"


def test_search_and_order() -> None:
    state = queues(300)
    assert shown(state, PageQuery(search="QUEUE-0012", sort="name")) == [
        f"queue-0012{digit}" for digit in range(10)
    ]
    assert shown(state, PageQuery(search="bull:queue-00007")) == ["queue-00007"]
    assert "No matching queue." in queue_table(state, PageQuery(search="none"))
    assert "No queues found yet." in queue_table(queues(0), PageQuery())


def test_the_search_is_below_the_queues() -> None:
    state = queues(2)
    candidate = {"prefix": "app", "name": "<users>", "why": "its active is a set"}
    searched = {"prefixes": [], "keys": 1234, "ended_at": 5.0, "passed_over": [candidate], "refused": []}
    table = queue_table({**state, "search": searched}, PageQuery())
    assert "searched 1,234 keys under any prefix" in table
    assert "1 candidate is not a queue: app:&lt;users&gt; (its active is a set)" in table
    empty = queue_table({**queues(0), "search": searched}, PageQuery())
    assert "searched 1,234 keys under any prefix" in empty


def test_workers_that_are_not_known_are_a_question_mark_with_its_reason() -> None:
    state = queues(1)
    state["queues"][0] |= {"workers": None, "workers_unknown": "no <name>"}
    assert '<span class="dim" title="no &lt;name&gt;">?</span>' in queue_table(state, PageQuery())


def test_unknown_values_come_last_and_are_not_zero() -> None:
    state = queues(3)
    for row, workers in zip(state["queues"], (2, None, 0), strict=True):
        row["workers"] = workers
    table = queue_table(state, PageQuery(sort="workers"))
    assert shown(state, PageQuery(sort="workers")) == ["queue-00000", "queue-00002", "queue-00001"]
    assert table.count('<td class="number">0</td>') >= 1


def test_queues_that_cannot_be_read_are_first() -> None:
    state = queues(100)
    state["unread"] = [{"prefix": "bull", "name": "lost", "why": "no answer"}]
    assert "no answer" in queue_table(state, PageQuery())
    assert "cannot be read" in queue_table(state, PageQuery())


@given(st.text(max_size=30), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_any_query_is_a_page_query(search: str, page: str, sort: str, language: str) -> None:
    query = page_query_of({"q": search, "page": page, "sort": sort, "lang": language}, None)
    Reader(queue_table(queues(3), query))
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
    rows = queue_table(view["queues"], PageQuery(translator=ENGLISH)).split("<tr>")
    assert [("jobs" in row, "mail" in row) for row in rows if ">Bull<" in row] == [(True, False)]


def test_queues_have_their_prefix_where_there_are_several() -> None:
    one = status_view(assessment(queues=(queue("jobs"), queue("mail"))), ABOUT)["queues"]
    assert "bull:" not in Reader(queue_table(one | {"unread": []}, PageQuery())).text
    other = queue("mail")._replace(id=QueueId("app", "mail"))
    several = status_view(assessment(queues=(queue("mail"), other)), ABOUT)["queues"]
    text = Reader(queue_table(several, PageQuery())).text
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
    view = status_view(Assessment(Snapshot(7300.0, bullmq=Ok(state)), assessment().health), ABOUT)
    page = queue_table(view["queues"], PageQuery(translator=ENGLISH))
    assert '<p class="warning">mail: &lt;b&gt;: its run is 1 h 1 min late.</p>' in page
