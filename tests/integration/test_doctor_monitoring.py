"""`monitor doctor` with a real Prometheus, Alertmanager and scaler: what is missing is named, and gone once
the printed lines are in their files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.alertmanager import start_alertmanager
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.ports import free_port
from lab.process import ChildProcess
from lab.prometheus import Prometheus, start_prometheus
from lab.redis import start_redis
from tests.support.doctor import Found, doctor, own_environment

pytestmark = pytest.mark.timeout(120)  # servers and commands as processes on a busy machine

DEPLOY = Path(__file__).parents[2] / "deploy"
SCALING = Path(sys.executable).with_name("scaling")
GLOBAL = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"


@dataclass(frozen=True)
class Running:
    """An exporter of a Redis as it should be, and a directory with the shipped rules."""

    environ: dict[str, str]
    home: Path

    def look(self, *prometheus: Prometheus, **environ: str) -> Found:
        urls = [("PROMETHEUS_URL", server.url) for server in prometheus]
        return doctor(self.environ | dict(urls) | environ)

    @property
    def scraped(self) -> str:
        """A job that scrapes the exporter, for prometheus.yml."""
        targets = f"[{{targets: ['{self.environ['EXPORTER_LISTEN']}']}}]"
        return f"scrape_configs: [{{job_name: oxherd, static_configs: {targets}}}]\n"

    @property
    def config(self) -> Path:
        return self.home / "prometheus.yml"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    listen = f"127.0.0.1:{free_port()}"
    shutil.copytree(DEPLOY / "prometheus" / "rules", tmp_path / "rules")
    with start_redis(config=("appendonly yes",)) as server:
        with BullMQ(6, url=server.url) as bullmq:
            bullmq.add("mail")
        exporter = Exporter(ExporterSettings.model_validate({"listen": listen, "redis": {"url": server.url}}))
        exporter.start()
        try:
            yield Running({"REDIS_URL": server.url, "EXPORTER_LISTEN": listen}, tmp_path)
        finally:
            assert exporter.stop()


def wait_for(look: Callable[[], Found], condition: Callable[[Found], bool]) -> Found:
    """Look until the condition holds: Prometheus and the scaler need a moment."""

    def looked() -> Found | None:
        found = look()
        return found if condition(found) else None

    found = wait_until(looked, what="what the doctor should say", seconds=30)
    assert found is not None
    return found


def append(file: Path, *parts: list[str]) -> None:
    """Paste these lines at the end."""
    file.write_text(file.read_text() + "\n".join(line for lines in parts for line in lines) + "\n")


def test_prometheus_without_scrapes_rules_and_alertmanager(running: Running) -> None:
    running.config.write_text(GLOBAL)
    with (
        start_prometheus(running.config) as prometheus,
        start_alertmanager(DEPLOY / "alertmanager" / "alertmanager.yml") as alertmanager,
    ):
        found = running.look(prometheus)
        assert found.code == 2
        assert found.bad == {"scrape", "rules", "alertmanager"}
        alerting = [
            line.replace("localhost:9093", alertmanager.address)
            for line in found.lines("alertmanager", "prometheus")
        ]
        append(
            running.config, found.lines("scrape", "prometheus"), found.lines("rules", "prometheus"), alerting
        )
        prometheus.restart()
        prometheus.wait()
        prometheus.wait_for("oxherd_redis_deployment_info")
        again = wait_for(lambda: running.look(prometheus), lambda found: found.code == 0)
        assert again.bad == set()
        assert "is scraped each 1 s, last" in again.of("scrape")["seen"]
        assert alertmanager.url in again.of("alertmanager")["seen"]
        assert again.status("scaler") == "unchecked", "not called good"

        alertmanager.process.stop()
        found = running.look(prometheus)
        assert (found.code, found.status("alertmanager")) == (2, "wrong")


def test_no_prometheus(running: Running) -> None:
    found = running.look()
    assert (found.code, found.status("scrape")) == (1, "warning")
    assert [found.status(check) for check in ("rules", "alertmanager")] == ["unchecked"] * 2
    running.config.write_text(GLOBAL + running.scraped)
    with start_prometheus(running.config) as prometheus:
        prometheus.wait_for("oxherd_redis_deployment_info")
        [line] = found.lines("scrape", "environment")
        line = line.replace("http://localhost:9090", prometheus.url)
        wait_for(
            lambda: doctor(running.environ, before=[line]), lambda found: found.status("scrape") == "good"
        )
        prometheus.process.suspend()
        hung = running.look(prometheus)
        assert (hung.code, hung.status("scrape"), hung.status("rules")) == (2, "wrong", "unchecked")
        prometheus.process.resume()
    found = doctor(running.environ, before=[line])
    assert (found.code, found.status("scrape"), found.status("rules")) == (2, "wrong", "unchecked")


def test_the_job_has_another_name_than_in_the_rules(running: Running) -> None:
    target = running.environ["EXPORTER_LISTEN"]
    job = f"    static_configs: [{{targets: ['{target}']}}]\nrule_files: [rules/oxherd.yml]\n"
    running.config.write_text(f"{GLOBAL}scrape_configs:\n  - job_name: redis\n{job}")
    with start_prometheus(running.config) as prometheus:
        prometheus.wait_for("oxherd_redis_deployment_info")
        found = running.look(prometheus)
        assert found.status("rules") == "wrong"
        running.config.write_text(GLOBAL + "\n".join(found.lines("rules", "prometheus")) + f"\n{job}")
        prometheus.restart()
        prometheus.wait()
        prometheus.wait_for('oxherd_redis_deployment_info{job="oxherd"}')
        assert running.look(prometheus).status("rules") == "good"


def test_a_scrape_that_fails_says_why(running: Running) -> None:
    gone = f"127.0.0.1:{free_port()}"
    running.config.write_text(
        f"{GLOBAL}scrape_configs: [{{job_name: oxherd, static_configs: [{{targets: ['{gone}']}}]}}]\n"
    )
    with start_prometheus(running.config) as prometheus:
        prometheus.wait_for("up == 0")
        found = running.look(prometheus)
        assert found.status("scrape") == "wrong"
        assert gone in found.of("scrape")["seen"]
        assert "refused" in found.of("scrape")["seen"]


def test_an_exporter_of_another_redis_is_not_this_one(running: Running) -> None:
    running.config.write_text(GLOBAL + running.scraped)
    with start_prometheus(running.config) as prometheus, start_redis() as other:
        prometheus.wait_for("oxherd_redis_deployment_info")
        wait_for(lambda: running.look(prometheus), lambda found: found.status("scrape") == "good")
        elsewhere = doctor({"REDIS_URL": other.url, "PROMETHEUS_URL": prometheus.url})
        assert elsewhere.status("scrape") == "wrong"


def test_a_server_that_is_not_prometheus(running: Running) -> None:
    url = f"http://{running.environ['EXPORTER_LISTEN']}"
    found = doctor(running.environ | {"PROMETHEUS_URL": url, "SCALER_URL": url})
    assert (found.status("scrape"), found.status("scaler")) == ("wrong", "wrong")
    assert found.code == 2


def test_a_target_of_the_scaler_that_names_another_queue(running: Running) -> None:
    running.config.write_text(GLOBAL + running.scraped)
    with start_prometheus(running.config) as prometheus:
        prometheus.wait_for("oxherd_redis_deployment_info")
        file, listen = running.home / "scaler.yml", f"127.0.0.1:{free_port()}"
        text = (
            f"prometheus:\n  urls: [{prometheus.url}]\ntargets:\n  - name: mail\n    min_workers: 0\n"
            '    processes: {command: ["true"]}\n'
        )
        command = [str(SCALING), "start", "--dry-run", "--listen", listen, "--config", str(file)]
        url = {"SCALER_URL": f"http://{listen}"}

        def started(lines: list[str]) -> ChildProcess:
            file.write_text(text + "\n".join(lines) + "\n")
            scaler = ChildProcess(command, name="scaler", log=running.home / "log", environ=own_environment())
            scaler.wait_for(lambda: _targets(listen), seconds=30)
            return scaler

        scaler = started(["    queues: [mial]"])
        try:
            found = running.look(prometheus, **url)
            assert found.status("scaler") == "wrong"
            assert "mial" in found.of("scaler")["seen"]
        finally:
            scaler.stop()
        scaler = started(found.lines("scaler", "scaler"))
        try:
            again = wait_for(
                lambda: running.look(prometheus, **url), lambda found: found.status("scaler") == "good"
            )
            assert again.of("scaler")["seen"] == "the queues of 1 target are there"
        finally:
            scaler.stop()
    found = running.look(**url)
    assert found.status("scaler") == "wrong"


def _targets(listen: str) -> bool:
    try:
        view = httpx.get(f"http://{listen}/status.json", timeout=1, trust_env=False).json()
    except (httpx.TransportError, ValueError):
        return False
    return bool(view["targets"])
