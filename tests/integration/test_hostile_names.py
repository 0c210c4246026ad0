"""Queues whose names are attacks, in a real Redis: what a real exporter writes of them in every form."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.redis.protocol import pack
from lab.deadline import wait_until
from lab.redis import start_redis
from tests.support.any_json import STEERING
from tests.support.system import Program, running

pytestmark = pytest.mark.timeout(120)  # 10 s alone

FORGED: Final = (
    'x\ntime=2026-01-01T00:00:00.000Z level=error event="all is lost" logger=exporter.run\n{"level": "error"}'
)
HOSTILE: Final = (
    *(f"sign-{ord(sign):04x}-{sign}-".encode() for sign in STEERING),
    FORGED.encode(),
    b'"} 1\nbullmq_up 0\n# TYPE x gauge\nx{a="',
    b"\\\\n\\n\\",
    b"}{",
    b"# HELP",
    b"# EOF\n",
    b"caf\xe9\xff\xfe",
    b"\xed\xa0\x80",
    b"<script>alert(1)</script>",
    b"' onmouseover='alert(1)",
    b"</title><img src=x onerror=alert(1)>",
    b"{{ .Status }} <!channel> %s %(name)s {0}",
    b"\x1b]0;owned\x07\x1b[2J\x9b31m",
    b"a:b:c",
    b"n" * 500,
    "👩\u200d🚀 ünï עברית 日本語".encode(),
    b"bull:bull:meta",
    b" ",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """An exporter that has found all of them; its log is JSON."""
    with start_redis() as server:
        commands = [
            pack(*command)
            for name in HOSTILE
            for command in (
                ("HSET", b"bull:%b:meta" % name, "opts.maxLenEvents", "10000"),
                ("ZADD", b"bull:%b:failed" % name, 1, "1"),
                ("SET", b"bull:%b:wait" % name, "of the wrong type"),
            )
        ]
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"".join(commands))
            replies = b""
            while replies.count(b"\r\n") < len(commands):
                replies += connection.recv(1 << 16)
            assert b"-" not in replies
        settings = {"redis": {"url": server.url}, "log": {"format": "json", "level": "debug"}}
        folder = tmp_path_factory.mktemp("hostile")
        with running(folder, "monitor", {}, settings, key=None) as program:
            found = f"bullmq_queues {len(HOSTILE)}"
            wait_until(lambda: "bullmq_" in program.client.get("/metrics").text, what=found, seconds=30)
            wait_until(lambda: len(names_in_status(program)) == len(HOSTILE), what=found, seconds=30)
            yield program


def names_in_status(program: Program) -> set[str]:
    queues = program.client.get("/status.json").json()["queues"]
    return {f"{queue['prefix']}:{queue['name']}" for queue in [*queues["queues"], *queues["unread"]]}


EXPECTED: Final = {f"bull:{name.decode('utf-8', 'backslashreplace')}" for name in HOSTILE}
"""Prefix and name, which a colon in a name may divide elsewhere."""


@pytest.mark.fault
def test_both_text_formats_have_each_name_as_one_label_and_nothing_of_it_as_a_line(program: Program) -> None:
    for accept, parse in (
        ("text/plain;version=0.0.4", parse_text),
        ("application/openmetrics-text", parse_openmetrics),
    ):
        text = program.client.get("/metrics", headers={"Accept": accept}).text
        families = list(parse(text))
        named = {
            f"{sample.labels['prefix']}:{sample.labels['queue']}"
            for family in families
            for sample in family.samples
            if "queue" in sample.labels and family.name.startswith("bullmq")
        }
        assert named == EXPECTED
        assert {
            sample.value for family in families if family.name == "bullmq_up" for sample in family.samples
        } == {1}
        assert "x" not in {family.name for family in families}


@pytest.mark.fault
def test_the_status_has_each_name(program: Program) -> None:
    assert names_in_status(program) == EXPECTED


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs if name.startswith("on")}
        if tag in ("script", "img", "iframe"):
            self.scripts.append(dict(attrs).get("src"))


@pytest.mark.fault
def test_the_page_has_no_element_and_no_direction_of_theirs(program: Program) -> None:
    for query in ("", "?page=2", "?page=3", "?q=sign", "?q=%3Cscript%3E", "?lang=id"):
        response = program.client.get(f"/{query}")
        assert response.status_code == 200
        elements = Elements(response.text)
        assert (elements.scripts, elements.attributes) == (["/page.js"], set())
        assert [sign for sign in STEERING if sign in response.text and sign != "\n"] == []


@pytest.mark.fault
@pytest.mark.parametrize("command", ["status", "health", "queues", "redis", "doctor"])
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
def test_no_command_prints_what_steers_a_terminal(
    program: Program, command: str, options: tuple[str, ...]
) -> None:
    config = program.log.with_name("exporter.yml")
    where = ("--config", str(config)) if command == "doctor" else ("--url", program.url)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("monitor")), command, *where, *options],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed, printed[-3000:]
    assert done.stdout
    assert [sign for sign in STEERING if sign in printed and sign != "\n"] == []


@pytest.mark.fault
def test_each_line_of_the_log_is_one_event_of_ours(program: Program) -> None:
    lines = program.log.read_text().split("\n")[:-1]
    assert lines
    for line in lines:
        assert line.isprintable()
        assert json.loads(line)["logger"].partition(".")[0] in ("exporter", "service", "asyncio")
