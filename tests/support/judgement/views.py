"""What each way to see the exporter says about one condition, at one moment."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any, Final

import httpx
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.condition_table import CONDITION_TABLE
from tests.support.judgement.colours import expected_levels, page_levels, table_levels
from tests.support.scrapes import get, scrape

KEY: Final = "the-full-key-of-these-tests"
_COMMANDS: Final = {"redis": "redis", "bullmq": "queues"}
"""The command of each source that has one."""
_CODES: Final = {"healthy": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Views:
    """An exporter at `url`, and what it has logged. `browser` has signed in to the page."""

    url: str
    log: list[logging.LogRecord]
    browser: httpx.Client

    @classmethod
    @contextmanager
    def of(cls, url: str, log: list[logging.LogRecord]) -> Iterator[Views]:
        headers = {"x-api-key": KEY, "accept-language": "en"}
        with httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False) as browser:
            assert browser.post("/sign-in", data={"key": KEY}).status_code == 303
            yield cls(url, log, browser)

    def in_series(self, condition: str) -> bool | None:
        """Whether `oxherd_issue` says that it is there; None while it is not known."""
        row = CONDITION_TABLE[condition]
        values = scrape(self.url)
        told = [
            value
            for source in row.sources
            if (value := get(values, "oxherd_issue", issue=condition, source=source, severity=row.severity))
            is not None
        ]
        return max(told) == 1 if told else None

    def issue(self, condition: str) -> dict[str, Any] | None:
        """The issue as /status.json has it."""
        issues: list[dict[str, Any]] = self._status()["health"]["issues"]
        return next((issue for issue in issues if issue["name"] == condition), None)

    def not_known_yet(self) -> set[str]:
        """The conditions of which /status.json and the API say that they may be there."""
        listed = {one["name"] for one in self._status()["health"]["not_known_yet"]}
        answer = self._get("/api/monitoring?action=health_check").json()["data"]
        assert {one["name"] for one in answer["notKnownYet"]} == listed
        return listed

    def queues_with_rates(self) -> set[str]:
        """The queues whose figures of the last minutes are known."""
        queues = (self._status()["queues"] or {}).get("queues", ())
        return {queue["name"] for queue in queues if queue["rates"]}

    def logged(self, condition: str) -> list[str]:
        """The events of the log about it."""
        return [record.getMessage() for record in self.log if record.__dict__.get("issue") == condition]

    def shown(self, text: str) -> list[str]:
        """Which of the command and the page show a text."""
        seen = {"monitor health": self._monitor("health").stdout, "page": self._page()}
        return [view for view, content in seen.items() if text in re.sub(r"\s+", " ", content)]

    def disagreements(self, condition: str, title: str, *, present: bool) -> list[str]:
        """The views that say otherwise. `title` is that of the issue in English."""
        return [view for view, told in self._all(condition, title) if told is not present]

    def wrong_codes(self) -> list[str]:
        """The commands whose exit code does not follow from the issues in /status.json."""
        health = self._status()["health"]
        sources = {issue["source"] for issue in health["issues"]}
        codes = {"health": self._monitor("health").exit_code == _CODES[health["status"]]}
        codes |= {
            command: (self._monitor(command).exit_code != 0) == (source in sources)
            for source, command in _COMMANDS.items()
        }
        return [f"monitor {command}" for command, right in codes.items() if not right]

    def wrong_colours(self) -> list[str]:
        """The queues whose figures have other colours on the page, or in the row of `monitor queues`, than
        follows from the severities of the issues in /status.json."""
        status = self._status()
        expected = expected_levels(status)
        odd = {queue["name"] for queue in (status["queues"] or {}).get("queues", ()) if queue["odd"]}
        on_page = page_levels(self._get("/").text)
        in_table = table_levels(self._monitor("queues", FORCE_COLOR="1", COLUMNS="400").stdout)
        wrong = []
        for queue, levels in expected.items():
            shown = on_page.get(queue)
            if shown is None or any(levels[column] != level for column, level in shown.items()):
                wrong.append(f"page: {queue} is {shown}, not {levels}")
            marked = set(levels.values()) - {""} | ({"warning"} if queue.rpartition(":")[2] in odd else set())
            if in_table.get(queue) != marked:
                wrong.append(f"monitor queues: {queue} is {in_table.get(queue)}, not {marked}")
        return wrong

    def _all(self, condition: str, title: str) -> Iterator[tuple[str, bool | None]]:
        yield "oxherd_issue", self.in_series(condition)
        yield "/status.json", self.issue(condition) is not None
        answer = self._get("/api/monitoring?action=health_check").json()["data"]
        yield "health_check", condition in {issue["name"] for issue in answer["issues"]}
        health = json.loads(self._monitor("health", "--json").stdout)
        yield "monitor health --json", condition in {issue["name"] for issue in health["issues"]}
        yield "monitor health", title in self._monitor("health").stdout
        yield "page", title in self._page()
        for source in CONDITION_TABLE[condition].sources:
            if command := _COMMANDS.get(source):
                yield f"monitor {command}", title in " ".join(self._monitor(command).stdout.split())
        yield "log", self.logged(condition)[-1:] == ["issue appeared"]

    def _page(self) -> str:
        return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", self._get("/").text)))

    def _status(self) -> Any:
        return self._get("/status.json").json()

    def _get(self, path: str) -> httpx.Response:
        response = self.browser.get(path)
        assert response.status_code == 200, response.text
        return response

    def _monitor(self, *arguments: str, **environment: str) -> Result:
        own = {"CRON_API_KEY": KEY, "LC_ALL": "C", **environment}
        return CliRunner().invoke(main, [*arguments, "--url", self.url], env=own)
