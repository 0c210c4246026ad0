"""`monitor queues NAME`: the queues that are meant, with what concerns them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from exporter.assessment import Assessment
from exporter.bullmq.names.tally import NameTally
from exporter.bullmq.streams.events import DEFAULT_BUCKETS, Jobs
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.cli import main
from exporter.commands.one_queue import UnknownQueueError, chosen_table, select_queues
from exporter.commands.query import of_queues, run_view_command
from exporter.commands.view_source import ViewSource
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.snapshot.queues import BullMQState, Events, QueueId
from exporter.snapshot.whole import Snapshot
from exporter.views import About, View, status_view
from service.outcome import Failed, Ok
from tests.support.work_cases import queue

NOW = 10_000.0
IDS = tuple(QueueId(prefix, name) for prefix, name in (("bull", "mail"), ("bull", "pay"), ("shop", "pay")))


def counted(names: NameTally | None) -> Events:
    jobs = Jobs(names=names)
    for number, name in enumerate(("send", "digest-7", "digest-8")):
        job = b"%d" % number
        jobs.feed([[b"1000-0", [b"event", b"added", b"jobId", job, b"name", name.encode()]]])
        jobs.feed([[b"1000-1", [b"event", b"waiting", b"jobId", job]]])
        jobs.feed([[b"1500-0", [b"event", b"active", b"jobId", job]]])
        jobs.feed([[b"4500-0", [b"event", b"completed", b"jobId", job]]])
    return Events(jobs.counters(), 12, 0, 0.0, since=1.0)


def view(*, names: bool = True) -> View:
    tally = NameTally(LabelBudget(10), 5, DEFAULT_BUCKETS) if names else None
    events = {IDS[0]: counted(tally), IDS[1]: Events(Jobs(names=tally and empty()).counters(), 0, 0, 0.0)}
    state = BullMQState(
        tuple(queue(id=each) for each in IDS),
        {QueueId("bull", "gone"): Failed("refused", "NOPERM")},
        events=events,
    )
    snapshot = Snapshot(NOW, bullmq=Ok(state, 0.01))
    return status_view(
        Assessment(snapshot, assess(snapshot, HealthSettings())), About("1.0", monitoring=True)
    )


def empty() -> NameTally:
    return NameTally(LabelBudget(10), 5, DEFAULT_BUCKETS)


def shown(chosen: View, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(chosen_table(chosen))
    file: Any = console.file
    return str(file.getvalue())


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["mail"], ["bull:mail"]),
        (["pay"], ["bull:pay", "shop:pay"]),
        (["shop:pay"], ["shop:pay"]),
        (["mail", "shop:pay"], ["bull:mail", "shop:pay"]),
        (["gone"], []),
    ],
)
def test_a_queue_by_its_name_or_with_its_prefix(names: list[str], found: list[str]) -> None:
    state = select_queues(view(), names)["queues"]
    assert [f"{each['prefix']}:{each['name']}" for each in state["queues"]] == found
    assert len(state["unread"]) == (names == ["gone"])


def test_a_name_that_no_queue_has_is_an_error_with_what_was_meant() -> None:
    with pytest.raises(UnknownQueueError, match=r"^no queue mial; did you mean mail\?$"):
        select_queues(view(), ["mail", "mial"])
    with pytest.raises(UnknownQueueError, match=r"^no queue \S+$"):
        select_queues(view(), ["\x1b[31mzzzzzz"])


def test_where_not_all_queues_are_known_that_is_said() -> None:
    whole = view()
    with pytest.raises(UnknownQueueError, match=r"^no queue ''$"):
        select_queues(whole, [""])
    searching = {**whole, "queues": {**whole["queues"], "discovered": False}}
    with pytest.raises(UnknownQueueError, match=r"^no queue xyz; the search for queues has not ended yet$"):
        select_queues(searching, ["xyz"])
    shard = {**whole, "shard": {"number": 1, "shards": 2}}
    with pytest.raises(UnknownQueueError, match=r"^no queue xyz; this is shard 1 of 2$"):
        select_queues(shard, ["xyz"])
    merged = {**whole, "shard": {"number": None, "shards": 2, "missing": ["http://b:9877: refused"]}}
    with pytest.raises(UnknownQueueError, match=r"^no queue xyz; http://b:9877: refused$"):
        select_queues(merged, ["xyz"])


class Restarting(ViewSource):
    """Of an exporter that does not know the queue for a while; then somebody interrupts."""

    def __init__(self) -> None:
        whole = view()
        self._views = [whole, {**whole, "queues": {**whole["queues"], "queues": []}}, whole]

    def view(self) -> View:
        if not self._views:
            raise KeyboardInterrupt
        return self._views.pop(0)


def test_to_watch_goes_on_where_the_queue_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_view_command(of_queues(["mail"]), Restarting(), as_json=True, watch=0.001)
    printed = capsys.readouterr()
    assert printed.out.count('"digest-#"') == 2
    assert "no queue mail" in printed.err


def test_a_queue_that_is_named_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr("exporter.cli._show", lambda _, queues, **__: asked.append(queues))
    for arguments in (["queues", "--", "--json", "-x"], ["queues", "--json", "mail"]):
        main(arguments, standalone_mode=False)
    assert asked == [("--json", "-x"), ("mail",)]


def test_only_issues_that_concern_it() -> None:
    whole = view()
    assert {issue["source"] for issue in whole["health"]["issues"]} == {"bullmq"}
    issues = select_queues(whole, ["gone"])["health"]["issues"]
    assert {each["queue"] for issue in issues for each in issue["affected"]} <= {"gone"}
    assert select_queues(whole, ["mail"])["health"]["issues"] == []
    assert of_queues(["mail"]).code(whole) == 0


def test_names_are_shown_those_first_that_take_most_time() -> None:
    lines = shown(select_queues(view(), ["mail"])).splitlines()
    (head,) = (number for number, line in enumerate(lines) if "jobs named" in line)
    rows = [line.split() for line in lines[head + 2 : head + 4]]
    assert [row[:3] for row in rows] == [["digest-#", "2", "2"], ["send", "1", "1"]]
    assert [row[-2] for row in rows] == ["66.7", "33.3"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_cuts_no_name(width: int) -> None:
    lines = shown(select_queues(view(), ["mail"]), width).splitlines()
    assert any(line.startswith("digest-#") for line in lines)


def test_what_is_not_counted_is_said() -> None:
    assert "jobs are not counted by their name" in shown(select_queues(view(names=False), ["mail"]))
    assert "none was added since it is followed" in shown(select_queues(view(), ["bull:pay"]))
    assert "jobs are not counted" in shown(select_queues(view(), ["shop:pay"]))


def test_json_has_the_same_shape_as_that_of_all() -> None:
    whole = view()
    data = of_queues(["mail"]).data(whole)
    assert data.keys() == whole["queues"].keys()
    assert [each["name"] for each in data["queues"][0]["job_names"]] == ["digest-#", "send"]
