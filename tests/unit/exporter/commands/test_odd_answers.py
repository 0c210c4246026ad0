"""What the commands do with an answer of any form: a table, or one line and exit code 2; no traceback."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from exporter.commands.one_queue import UnknownQueueError
from exporter.commands.query import VIEW_COMMANDS, of_queues, run_view_command
from exporter.commands.view_source import ShardsSource, ViewSource
from exporter.config.shard import QueueShard
from exporter.views import About, Task, status_view
from service.json_text import read_json
from service.web.status_client import StatusError
from tests.support.any_json import ANY_JSON, STEERING, damaged
from tests.support.assessments import assessment

TASKS = (Task("discovery", False, 1.0, 0),)
VIEWS = [
    json.loads(
        json.dumps(status_view(assessment(), About("1.2.3", True, 61.0, TASKS, QueueShard(number, 2))))
    )
    for number in (1, 2)
]
ANSWERS = st.one_of(damaged(VIEWS[0]), st.dictionaries(st.text(max_size=10), ANY_JSON))


class Answered(ViewSource):
    def __init__(self, answer: Any) -> None:
        self.url = "http://a:9877"
        self._answer = answer

    def view(self) -> Any:
        return self._answer


def as_read(answer: Any) -> Any:
    """As it comes over HTTP; None for what is refused there."""
    try:
        return read_json(json.dumps(answer).encode())
    except ValueError:
        return None


def run(name: str, source: ViewSource, *, as_json: bool) -> str:
    """What is printed; `name` may be a queue's."""
    command = VIEW_COMMANDS.get(name) or of_queues([name])
    out = io.StringIO()
    console = Console(file=out, width=200, markup=False, highlight=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.commands.console.Console", lambda **_: console)
        patch.setattr("click.echo", lambda text, **_: out.write(text + "\n"))
        try:
            assert run_view_command(command, source, as_json=as_json, watch=None) in (0, 1, 2)
        except (StatusError, UnknownQueueError) as error:
            out.write(str(error))
    return out.getvalue()


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("name", [*VIEW_COMMANDS, VIEWS[0]["queues"]["queues"][0]["name"]])
@given(answer=ANSWERS, as_json=st.booleans())
def test_whatever_an_exporter_answers_no_command_fails_with_a_traceback(
    name: str, answer: Any, *, as_json: bool
) -> None:
    view = as_read(answer)
    if isinstance(view, dict):
        printed = run(name, Answered(view), as_json=as_json)
        assert [sign for sign in STEERING if sign in printed and sign != "\n"] == []


@pytest.mark.fault
@pytest.mark.slow
@given(answer=ANSWERS)
@settings(deadline=None)
def test_whatever_a_shard_answers_no_command_fails_with_a_traceback(answer: Any) -> None:
    view = as_read(answer)
    if isinstance(view, dict):
        second = Answered(VIEWS[1])
        second.url = "http://b:9877"
        sources: Any = [Answered(view), second]
        assert run("queues", ShardsSource(sources), as_json=False)


@pytest.mark.parametrize("part", ["health", "queues"])
def test_a_missing_part_is_one_line_that_names_the_versions(part: str) -> None:
    view = {name: value for name, value in VIEWS[0].items() if name != part}
    assert "lacks a value of this table: its version is 1.2.3" in run("queues", Answered(view), as_json=False)
