"""`monitor queues NAME`: the view and the table of some queues, with their jobs by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from exporter.commands.tables import environment_translator, queues_table
from exporter.summaries import has_several_prefixes
from exporter.views import View
from service.commands.columns import Cell, Column, Fitting, make_table
from service.i18n import Translator
from service.units import count, milliseconds, percent, printable

_NEAR: Final = 3  # names that may have been meant


class UnknownQueueError(Exception):
    """No queue has this name; the text says which may have been meant."""


def select_queues(view: View, names: Sequence[str]) -> View:
    """The view of the queues with these names, as NAME or PREFIX:NAME, and of their issues only.

    Raises UnknownQueueError.
    """
    state = view["queues"]
    if state is None:
        return view
    queues, unread = ([each for each in state[part] if _is_of(each, names)] for part in ("queues", "unread"))
    found = [*queues, *unread]
    for name in names:
        if not any(_is_of(each, [name]) for each in found):
            text = _unknown(name, [*state["queues"], *state["unread"]])
            raise UnknownQueueError("; ".join([text, *_not_all(view)]))
    ids = {(each["prefix"], each["name"]) for each in found}
    search = {**(state.get("search") or {}), "passed_over": [], "refused": [], "left_out": []}
    selected = {**state, "queues": queues, "unread": unread, "problems": [], "search": search}
    health = view["health"]
    if health is not None:
        issues = [of_them for issue in health["issues"] if (of_them := _issue_of(issue, ids))]
        health = {**health, "issues": issues}
    return {**view, "queues": selected, "health": health}


def chosen_table(view: View) -> RenderableType:
    """The queues of a view that was selected, and the jobs of each by their name."""
    translator, state = environment_translator(), view["queues"]
    if state is None:
        return queues_table(view)
    prefixed = has_several_prefixes(state)
    names = [part for queue in state["queues"] for part in _names(queue, translator, prefixed=prefixed)]
    return Group(queues_table(view), *names)


def _is_of(queue: View, names: Sequence[str]) -> bool:
    return queue["name"] in names or f"{queue['prefix']}:{queue['name']}" in names


def _unknown(name: str, queues: Sequence[View]) -> str:
    near = get_close_matches(name, [each["name"] for each in queues], n=_NEAR)
    meant = f"; did you mean {' or '.join(map(printable, near))}?" if near else ""
    shown = printable(name) or "''"
    return f"no queue {shown}{meant}"


def _not_all(view: View) -> list[str]:
    """Why there may be such a queue although it is not in this view."""
    shard = view.get("shard") or {}
    missing = [printable(text) for text in shard.get("missing") or ()]
    if not missing and shard.get("number") is not None:
        missing = [f"this is shard {shard['number']} of {shard['shards']}"]
    return [*missing, *([] if view["queues"]["discovered"] else ["the search for queues has not ended yet"])]


def _issue_of(issue: View, ids: set[tuple[str, str]]) -> dict[str, Any] | None:
    affected = [each for each in issue["affected"] if (each["prefix"], each["queue"]) in ids]
    return {**issue, "affected": affected} if affected else None


_COLUMNS: Final[Mapping[str, Column]] = {
    "name": Column("table.job_name"),
    "added": Column("table.job_added", number=True),
    "completed": Column("table.completed", number=True),
    "failed": Column("table.failed", number=True),
    "retried": Column("table.job_retried", number=True),
    "wait_average": Column("table.wait_average", number=True),
    "wait_p95": Column("table.wait_p95", number=True),
    "run_average": Column("table.run_average", number=True),
    "run_p95": Column("table.run_p95", number=True),
    "share": Column("table.job_share", number=True),
}
_LEAST_NEEDED: Final = ("wait_average", "retried", "run_average", "wait_p95", "completed")


def _names(queue: View, translator: Translator, *, prefixed: bool) -> list[RenderableType]:
    names = queue.get("job_names")
    name = printable(f"{queue['prefix']}:{queue['name']}" if prefixed else queue["name"])
    if names is None:
        return [Text(), Text(translator.translate("job_names.not_counted", queue=name), "dim")]
    if not names:
        return [Text(), Text(translator.translate("job_names.none_yet", queue=name), "dim")]
    rows: list[dict[str, Cell]] = [
        {
            "name": printable(each["name"]),
            **{kind: count(each[kind]) for kind in ("added", "completed", "failed", "retried")},
            "wait_average": milliseconds(each["wait_average"]),
            "wait_p95": milliseconds(each["wait_p95"]),
            "run_average": milliseconds(each["processing_average"]),
            "run_p95": milliseconds(each["processing_p95"]),
            "share": percent(each["processing_share"]),
        }
        for each in names
    ]
    whole = make_table(_COLUMNS, rows, translator)
    tables = (whole.without(_LEAST_NEEDED[:left_out]) for left_out in range(len(_LEAST_NEEDED) + 1))
    return [Text(), Text(translator.translate("job_names.of", queue=name)), Fitting(*tables)]
