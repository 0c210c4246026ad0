"""Every cell of the table of figures, read from a real exporter and a real scaler over a Redis Cluster with
BullMQ, scraped by Prometheus."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lab.bullmq import BullMQ
from lab.cluster import start_cluster
from lab.deadline import wait_until
from lab.ports import free_port
from lab.prometheus import start_prometheus
from tests.support.coverage import FIGURES, Row
from tests.support.system import Program, running

pytestmark = pytest.mark.timeout(240)  # 40 s alone: rates need ten seconds, Prometheus its scrapes

BIN = Path(sys.executable).parent
KEYS = {"CRON_API_KEY": "the-full-key-of-these-tests"}
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: oxherd
    static_configs: [{{targets: ['{address}']}}]
"""


@dataclass
class World:
    exporter: Program
    scaler: Program
    library: BullMQ
    page: str = ""
    outputs: dict[str, str] | None = None
    answers: dict[str, Any] | None = None
    series: set[str] | None = None

    def look(self) -> None:
        """Read every interface once, while jobs come and go: a wait is only known of a job that was seen to
        be added."""
        self.library.add_bulk("news", 5)
        html = self.exporter.client.get("/").text
        self.page = html
        self.outputs = {
            **{
                f"monitor {name}": self._run("monitor", name)
                for name in ("status", "health", "redis", "queues")
            },
            "scaling status": self._run("scaling", "status"),
        }
        actions = sorted({entry.split()[0] for row in FIGURES for entry in row.api})
        self.answers = {action: self.exporter.ask(action) for action in actions}
        self.series = set(self.exporter.samples()) | set(self.scaler.samples())

    def missing(self) -> list[str]:
        """The cells that show nothing now."""
        self.look()
        return [
            f"{row.id} {row.figure}: {interface} {entry}"
            for row in FIGURES
            for interface in ("series", "api", "page", "command")
            for entry in getattr(row, interface)
            if not getattr(self, f"_has_{interface}")(entry)
        ]

    def _run(self, program: str, command: str) -> str:
        url = self.exporter.url if program == "monitor" else self.scaler.url
        return subprocess.run(
            [str(BIN / program), command, "--url", url],
            env=os.environ | KEYS | {"LC_ALL": "C"},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def _has_series(self, entry: str) -> bool:
        name, _, labels = entry.partition("{")
        wanted = labels.rstrip("}")
        return any(
            series == name or (series.startswith(f"{name}{{") and wanted in series)
            for series in self.series or ()
        )

    def _has_api(self, entry: str) -> bool:
        action, path = entry.split(" ", 1)
        return any(value is not None for value in at((self.answers or {})[action], path))

    def _has_page(self, entry: str) -> bool:
        if entry.startswith("part "):
            part, words = entry.removeprefix("part ").split(": ", 1)
            return words in section_text(self.page, part)
        table, title = entry.split(": ", 1)
        return cell_of_page(self.page, table, title)

    def _has_command(self, entry: str) -> bool:
        command, title = entry.split(": ", 1)
        output = (self.outputs or {})[command]
        return cell_of_output(output, title) if title in titles(output) else title in output


def at(data: Any, path: str) -> list[Any]:
    """The values at a path; `name[]` is each item of a list, `*` each value of a mapping."""
    found = [data]
    for part in path.split("."):
        name = part.removesuffix("[]")
        step: list[Any] = []
        for value in found:
            if not isinstance(value, dict):
                continue
            inner = list(value.values()) if name == "*" else [value.get(name)]
            step += [item for one in inner for item in (one or [])] if part.endswith("[]") else inner
        found = step
    return found


def section_text(page: str, part: str) -> str:
    content = re.findall(rf'<section id="{part}".*?</section>', page, re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", " ", content[0])) if content else ""


def cell_of_page(page: str, table: str, title: str) -> bool:
    """Whether a column of this title has a text, or a row that begins with it."""
    content = re.findall(rf'id="{table}-table".*?</table>', page, re.DOTALL)
    if not content:
        return False
    rows = [
        [
            unescape(re.sub(r"<[^>]*>", "", cell)).strip()
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", content[0], re.DOTALL)
    ]
    head, *body = rows
    if title in head:
        return any(len(row) == len(head) and row[head.index(title)] for row in body)
    return any(row[0].startswith(title) and row[1] for row in body)


def titles(output: str) -> dict[str, tuple[int, int]]:
    """The titles of all tables of an output, and where each ends."""
    lines = output.splitlines()
    found: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(lines[1:], 1):
        if line and set(line.strip()) == {"─"}:
            for title in re.finditer(r"\S+(?: \S+)*", lines[number - 1]):
                found.setdefault(title[0], (number, title.end()))
    for number, line in enumerate(lines):
        name = re.match(r"(\S+(?: \S+)?)  +\S", line)
        if name:
            found.setdefault(name[1], (number, 0))
    return found


def cell_of_output(output: str, title: str) -> bool:
    """Whether a number that is aligned with the title, or the row of that name, has a text."""
    lines = output.splitlines()
    number, end = titles(output)[title]
    if not end:
        return bool(lines[number].removeprefix(title).strip())
    begin = end - len(title)
    for line in lines[number + 1 :]:
        if not line.strip():
            break
        if line[begin:end].strip(" ?"):
            return True
    return False


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("coverage")
    with ExitStack() as undo:
        cluster = undo.enter_context(start_cluster(masters=3, config=["maxmemory 64mb"]))
        mail = undo.enter_context(BullMQ(6, cluster=cluster.addresses, prefix="{bull}"))
        mail.add_bulk("mail", 12_000)
        mail.add("mail", delay=3_600_000)
        mail.add("mail", priority=3)
        mail.add_bulk("reports", 40)
        mail.add_bulk("paused", 2)
        mail.pause("paused")
        mail.start_worker("mail", behaviour={"ms": 50}, concurrency=2)
        mail.start_worker("news", behaviour={"ms": 5}, concurrency=1)
        mail.start_worker("reports", behaviour={"ms": 400, "fail": True}, concurrency=1)
        port = free_port()
        prometheus = start_prometheus(SCRAPE.format(address=f"127.0.0.1:{port}"))
        undo.callback(prometheus.close)
        scaler = undo.enter_context(
            running(
                folder,
                "scaling",
                KEYS,
                {
                    "interval_seconds": 1,
                    "prometheus": {"urls": [prometheus.url]},
                    "state_file": str(folder / "state.json"),
                    "targets": [
                        {
                            "name": "mail",
                            "prefix": "{bull}",
                            "queues": ["mail"],
                            "processes": {"command": ["sleep", "1000"], "ready_seconds": 0},
                            "cooldown_seconds": 1,
                            "min_workers": 1,
                            "max_workers": 4,
                        }
                    ],
                },
            )
        )
        exporter = undo.enter_context(
            running(
                folder,
                "monitor",
                KEYS,
                {
                    "listen": f"127.0.0.1:{port}",
                    "redis": {"cluster": cluster.addresses},
                    "bullmq": {"prefixes": ["{bull}"], "discovery_interval_seconds": 5},
                    "probes": [{"name": "shop", "url": f"{prometheus.url}/-/healthy", "interval_seconds": 1}],
                    "health": {  # warning by one issue, whatever else runs on this machine
                        "thresholds": {"failed_jobs": 0, "host_load_per_core": 1000},
                        "penalties": {
                            "failed_jobs_high": 11,
                            "cluster_node_unhealthy": 1,
                            "probe_failing": 1,
                        },
                    },
                    "api": {"scaler_url": scaler.url},
                },
                port=port,
            )
        )
        exporter.command("manual_scale", queueName="mail", targetWorkers=3, reason="a launch")
        signed_in = exporter.client.post("/sign-in", data={"key": KEYS["CRON_API_KEY"]})
        assert signed_in.status_code == 303
        yield World(exporter, scaler, mail)


def test_every_figure_is_shown_by_every_interface(world: World) -> None:
    missing: list[str] = []

    def nothing_is_missing() -> bool:
        missing[:] = world.missing()
        return not missing

    try:
        wait_until(nothing_is_missing, what="every cell", seconds=90, every=2)
    except TimeoutError:
        raise AssertionError("\n".join(missing)) from None


def test_a_cell_that_is_empty_is_found() -> None:
    """The readers themselves: a title without a figure below it is no figure."""
    assert not cell_of_page(
        '<div id="a-table"><table><tr><th>X</th></tr><tr><td></td></tr></table>', "a", "X"
    )
    assert cell_of_page('<div id="a-table"><table><tr><th>X</th></tr><tr><td>0</td></tr></table>', "a", "X")
    assert not cell_of_page("<p>X</p>", "a", "X")
    table = "node   clients  peak\n────────────────────\na:1         12      \n"
    assert cell_of_output(table, "clients")
    assert not cell_of_output(table, "peak")
    assert at({"nodes": [{"a": None}, {"a": 0}]}, "nodes[].a") == [None, 0]
    assert at({"by": {"x": 1, "y": None}}, "by.*") == [1, None]
    assert at({"host": None}, "host.load[]") == []
    assert Row("M1", "x").series == ()
