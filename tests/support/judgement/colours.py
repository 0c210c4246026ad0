"""The colours of queues on the page and in `monitor queues`, and those that follow from the issues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from typing import Any, Final

from exporter.condition_table import CONDITION_TABLE
from exporter.page.queues import SORTS
from exporter.summaries import COLUMN_CONDITIONS

_CODES: Final = {"critical": "31", "warning": "33"}
_TAG: Final = re.compile(r"<[^>]*>")


def expected_levels(status: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By the queue's name as it is shown, and by column: "critical", "warning", or "" for none."""
    queues = (status["queues"] or {}).get("queues", ())
    prefixed = len({queue["prefix"] for queue in (*queues, *(status["queues"] or {}).get("unread", ()))}) > 1
    there: dict[tuple[str, str], set[str]] = {}
    for issue in status["health"]["issues"]:
        for affected in issue["affected"]:
            there.setdefault((affected["prefix"], affected["queue"]), set()).add(issue["name"])
    levels = {}
    for queue in queues:
        name, prefix = queue["name"], queue["prefix"]
        own = there.get((prefix, name), set())
        levels[f"{prefix}:{name}" if prefixed else name] = {
            column: _level(own & set(conditions)) for column, conditions in COLUMN_CONDITIONS.items()
        }
    return levels


def _level(conditions: set[str]) -> str:
    severities = {CONDITION_TABLE[name].severity for name in conditions}
    if not severities:
        return ""
    return "critical" if "critical" in severities else "warning"


def page_levels(html: str) -> dict[str, dict[str, str]]:
    """As `expected_levels`, of the columns that the page has."""
    table = html.partition('id="queues-table"')[2].partition("</table>")[0]
    levels = {}
    for line in re.findall(r"<tr>(.*?)</tr>", table):
        cells = re.findall(r'<td class="([^"]*)"[^>]*>(.*?)</td>', line)
        if len(cells) != len(SORTS):  # the head, or a queue that cannot be read
            continue
        marks = {column: _class(kind) for column, (kind, _) in zip(SORTS, cells, strict=True)}
        badge = re.search(r'class="badge ([a-z]*)">paused', cells[0][1])
        marks["paused"] = _class(badge[1]) if badge else ""
        name = unescape(_TAG.sub("", cells[0][1])).split()[0]
        levels[name] = {column: level for column, level in marks.items() if column in COLUMN_CONDITIONS}
    return levels


def _class(kind: str) -> str:
    return next((level for level in _CODES if level in kind.split()), "")


def table_levels(output: str) -> dict[str, set[str]]:
    """The levels in the row of each queue, by its name, from a coloured terminal of enough width."""
    levels: dict[str, set[str]] = {}
    for line in output.splitlines():
        words = re.sub(r"\x1b\[[0-9;]*m", "", line).split()
        codes = {code for group in re.findall(r"\x1b\[([0-9;]*)m", line) for code in group.split(";")}
        if words:
            levels.setdefault(words[0], {level for level, code in _CODES.items() if code in codes})
    return levels
