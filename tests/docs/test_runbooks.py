"""Every alert has a runbook, and the commands and queries of the runbooks are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster
from lab.prometheus import Prometheus, start_prometheus

pytestmark = pytest.mark.timeout(120)  # 8 s on an idle machine

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUNBOOKS = DOCS / "runbooks"
RULES = ROOT / "deploy" / "prometheus" / "rules"
RULE_FILES = ("oxherd.yml", "oxherd-extra.yml", "oxherd-scaler.yml")
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
BLOCK = re.compile(r"^```([a-z]+)(?: ([a-z]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUEUE = "mail of 'today'"
"""A name that a shell splits unless it is quoted."""
EXIT_CODES = (0, 1, 2)  # of `monitor`: healthy, warning, critical


def alerts() -> dict[str, dict[str, str]]:
    """The annotations and the severity of each alert."""
    alerts = {}
    for file in RULE_FILES:
        for group in yaml.safe_load((RULES / file).read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    alerts[rule["alert"]] = {**rule["annotations"], "severity": rule["labels"]["severity"]}
    return alerts


ALERTS = alerts()
PAGES = sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")
ALL_PAGES = sorted(DOCS.glob("**/*.md"))


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.stem}: {self.text.splitlines()[0][:60]}"


def blocks(*languages: str) -> list[Block]:
    pages = [*PAGES, DOCS / "troubleshooting.md"]
    return [
        Block(page, language, kind, text.strip())
        for page in pages
        for language, kind, text in BLOCK.findall(page.read_text())
        if language in languages
    ]


COMMANDS = [block for block in blocks("sh") if block.kind != "kubectl"]
QUERIES = blocks("promql")
KUBECTL = [block for block in blocks("sh") if block.kind == "kubectl"]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in PAGES} == set(ALERTS)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_the_annotation_links_to_the_page(alert: str) -> None:
    assert ALERTS[alert]["runbook_url"].endswith(f"/{alert}.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_sections_in_order_and_a_first_command(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    diagnosis = text.split("## Diagnosis")[1].split("## Mitigation")[0]
    assert BLOCK.search(diagnosis)
    assert len(text.splitlines()) <= 75


def test_the_index_names_every_page_with_its_severity() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| (.+) \|$", (RUNBOOKS / "README.md").read_text(), re.MULTILINE
    )
    assert {name: (link, severity, summary) for name, link, severity, summary in rows} == {
        name: (name, alert["severity"], alert["summary"]) for name, alert in ALERTS.items()
    }


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_to_headings_resolve(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            assert anchor in anchors(page.parent / target if target else page), f"{target}#{anchor}"


def test_commands_for_kubernetes_are_marked_as_such() -> None:
    """They cannot be run here: only their beginning is checked."""
    assert KUBECTL
    for block in KUBECTL:
        assert all(line.startswith("kubectl ") for line in block.text.splitlines()), block
    assert not [block for block in COMMANDS if "kubectl" in block.text]


# --- commands and queries ----------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    environ: dict[str, str]
    prometheus: Prometheus


@pytest.fixture(scope="module")
def world(redis_cluster: LocalCluster) -> Iterator[World]:
    """A cluster with a queue of jobs in each state, its exporter, a Prometheus with all rules."""
    with ExitStack() as undo:
        bullmq = undo.enter_context(BullMQ(6, cluster=redis_cluster.addresses, prefix="{bull}"))
        worker = bullmq.start_worker(QUEUE, behaviour={"fail": True})
        failed = bullmq.add(QUEUE)
        bullmq.wait_for_counts(QUEUE, {"failed": 1})
        bullmq.stop_worker(worker)
        bullmq.upsert_scheduler(QUEUE, "nightly", pattern="0 0 1 1 *")
        bullmq.start_worker(QUEUE, behaviour={"hold": True})
        bullmq.add_bulk(QUEUE, 4)
        bullmq.wait_for_counts(QUEUE, {"active": 1, "waiting": 3, "delayed": 1})
        redis = {"cluster": redis_cluster.addresses}
        queues = {"prefixes": ["{bull}"], "queues": [QUEUE]}
        settings = {"listen": "127.0.0.1:0", "redis": redis, "bullmq": queues}
        exporter = Exporter(ExporterSettings.model_validate(settings))
        exporter.start()
        undo.callback(exporter.stop)
        rules = [str(RULES / name) for name in RULE_FILES]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": rules,
            "scrape_configs": [{"job_name": "oxherd", "static_configs": [{"targets": [exporter.address]}]}],
        }
        prometheus = undo.enter_context(start_prometheus(yaml.safe_dump(config)))
        prometheus.wait_for(f'bullmq_job_count{{queue="{QUEUE}",state="failed"}} == 1')
        host, port = redis_cluster.owner_of("{bull}").address.split(":")
        first = ",".join(redis_cluster.addresses)
        yield World(
            {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": os.environ.get("HOME", "/"),
                "REDIS_HOST": host,
                "REDIS_PORT": port,
                "PREFIX": "{bull}",
                "QUEUE": QUEUE,
                "JOB": failed,
                "PROMETHEUS_URL": prometheus.url,
                "EXPORTER_URL": f"http://{exporter.address}",
                "REDIS_URL": f"redis://{first.split(',')[0]}",
            },
            prometheus,
        )


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_a_command_works(world: World, block: Block) -> None:
    ran = subprocess.run(
        ["/bin/bash", "-euc", block.text],
        env=world.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = f"{ran.returncode}: {ran.stdout}{ran.stderr}"
    if "monitor" in block.text:
        assert ran.returncode in EXIT_CODES, output
        assert "Usage:" not in ran.stderr, output
        assert ran.stdout, output
    else:
        assert ran.returncode == 0, output
        assert ran.stdout.strip() or "slowlog" in block.text, output  # the slow log is empty
        assert not re.match(r"(ERR|WRONG|NOAUTH|NOPERM|MOVED|\(error\))", ran.stdout), output


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_a_colon_follows_no_name_without_braces(block: Block) -> None:
    """zsh, the shell of macOS, reads $QUEUE:active as the absolute path of $QUEUE and `ctive`."""
    assert not re.search(r"\$\w+:", block.text)


@pytest.mark.parametrize("block", QUERIES, ids=str)
def test_a_query_runs_and_names_existing_series(world: World, block: Block) -> None:
    world.prometheus.query(block.text)
    names = set(re.findall(r"\b((?:redis|bullmq|host|oxherd|queue)[a-z0-9_:]*_[a-z0-9_]+)\b", block.text))
    pages = [DOCS / "metrics.md", DOCS / "scaler-metrics.md", RULES / "oxherd-extra.yml"]
    declared = "".join(page.read_text() for page in pages)
    for name in names - {"queue"}:
        base = re.sub(r"(_seconds)_(sum|count|bucket)$", r"\1", name)
        assert re.search(rf"\b{re.escape(base)}\b", declared), name
