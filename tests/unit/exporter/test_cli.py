from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.commands import query
from exporter.commands.view_source import ViewSource
from exporter.config.environment import EXPORTER_VARIABLES
from exporter.views import About, View, status_view
from service.web.status_client import StatusError
from tests.support.assessments import assessment, healthy_assessment


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*EXPORTER_VARIABLES, "EXPORTER_URL", "EXPORTER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(query, "configure", lambda *_, **__: None)  # the root logger is pytest's here


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=dict(environ))


class ViewSequence(ViewSource):
    """Returns the views one after the other; raises the exceptions."""

    def __init__(self, *views: View | BaseException) -> None:
        self._views = iter(views)

    def view(self) -> View:
        view = next(self._views)
        if isinstance(view, BaseException):
            raise view
        return view


@pytest.fixture
def views_to_show(monkeypatch: pytest.MonkeyPatch) -> list[View | BaseException]:
    """The views that the next queries return."""
    views: list[View | BaseException] = []
    monkeypatch.setattr(query, "choose_source", lambda *_, **__: ViewSequence(*views))
    return views


def view(score: float) -> View:
    return status_view(assessment(score=score), About("1", monitoring=True))


def test_help_and_version_import_little() -> None:
    code = "import sys, exporter.cli; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    for module in ("fastapi", "kubernetes", "uvicorn", "pydantic", "redis", "rich"):
        assert f"'{module}'" not in loaded


@pytest.mark.parametrize("command", ["", "start", "status", "health", "redis", "queues"])
def test_help(command: str) -> None:
    for flag in ("--help", "-h"):
        result = run(*filter(None, [command, flag]))
        assert result.exit_code == 0
        assert result.output.startswith("Usage: ")


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.output.split()[0]) == (0, "oxherd")


def test_an_unknown_command() -> None:
    assert run("stop").exit_code == 2


@pytest.mark.parametrize(("score", "code"), [(95, 0), (80, 1), (10, 2)])
def test_exit_codes(views_to_show: list[View | BaseException], score: float, code: int) -> None:
    views_to_show += [view(score)] * 2
    assert run("status").exit_code == code
    assert run("health").exit_code == code


def test_areas_exit_by_their_own_issues(views_to_show: list[View | BaseException]) -> None:
    views_to_show += [view(10)] * 2
    assert run("redis").exit_code == 1
    assert run("queues").exit_code == 0


def test_json(views_to_show: list[View | BaseException]) -> None:
    views_to_show += [view(80)] * 4
    assert json.loads(run("status", "--json").stdout) == view(80)
    assert json.loads(run("health", "--json").stdout) == view(80)["health"]
    assert json.loads(run("redis", "--json").stdout)["mode"] == "cluster"
    assert json.loads(run("queues", "--json").stdout)["up"] is False


def test_watch(views_to_show: list[View | BaseException]) -> None:
    views_to_show += [view(95), StatusError("gone"), view(80), KeyboardInterrupt()]
    result = run("status", "--watch", "0.1", "--json")
    assert [json.loads(line)["health"]["score"] for line in result.stdout.splitlines()] == [95, 80]
    assert (result.stderr, result.exit_code) == ("monitor: gone\n", 130)


def test_the_first_view_must_succeed(views_to_show: list[View | BaseException]) -> None:
    views_to_show.append(StatusError("gone"))
    result = run("status", "--watch")
    assert (result.stderr, result.exit_code) == ("monitor: gone\n", 2)


@pytest.mark.parametrize("often", ["0", "-1", "often", "nan"])
@pytest.mark.usefixtures("views_to_show")
def test_an_invalid_number_of_seconds(often: str) -> None:
    assert run("status", "--watch", often).exit_code == 2


def test_switched_off(views_to_show: list[View | BaseException]) -> None:
    off = status_view(None, About("1", monitoring=False))
    views_to_show += [off, off]
    result = run("status")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "monitoring is switched off (ENABLE_SYSTEM_MONITORING=false, or" in result.stderr
    assert run("redis", "--json").stdout == "null\n"


def test_an_exporter_of_another_version(views_to_show: list[View | BaseException]) -> None:
    views_to_show.append({"name": "oxherd", "version": "9.9", "health": {"score": 1}})
    result = run("status")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "its version is 9.9" in result.stderr


def test_all_healthy(views_to_show: list[View | BaseException]) -> None:
    views_to_show.append(status_view(healthy_assessment(), About("1", monitoring=True)))
    result = run("health")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "100 healthy  no issues\n", "")


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--url", "localhost:9877"], {}, "the exporter's URL should be http://host:port"),
        (["--url", "file:///etc/passwd"], {}, "the exporter's URL should be http://host:port"),
        (["--url", "http://u:hunter2@h"], {}, "the exporter's URL should be http://host:port"),
        ([], {"EXPORTER_URL": "http://"}, "the exporter's URL should be http://host:port"),
        ([], {"REDIS_TLS": "maybe"}, "REDIS_TLS=maybe (environment): should be true or false"),
        (["--local"], {"ENABLE_SYSTEM_MONITORING": "0"}, "monitoring is switched off"),
        (["--config", "/nowhere"], {}, "--config=/nowhere (command line): cannot be read"),
        (["--local", "--url", "http://h"], {}, "--local and --url exclude each other"),
    ],
)
def test_options_that_are_refused(arguments: list[str], environ: dict[str, str], message: str) -> None:
    result = run("status", *arguments, **environ)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "hunter2" not in result.stderr


def test_check_config() -> None:
    result = run("start", "--check-config", REDIS_URL="redis://h:1")
    first, *watched = result.output.splitlines()
    assert (result.exit_code, first) == (0, "the settings are valid")
    assert watched[0].split() == ["Redis", "at", "h:1", "(REDIS_URL,", "environment)"]
    assert len(watched) == 9
    result = run("start", "--check-config", "--listen", "here")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "monitor: --listen=here (command line): should be host:port, like 0.0.0.0:9877, or :9877\n"
    )


def test_print_config_hides_secrets() -> None:
    result = run("start", "--print-config", REDIS_URL="redis://:hunter2@h:1", REDIS_PASSWORD="hunter3")
    assert result.exit_code == 0
    assert "hunter" not in result.output
    assert "url: (hidden)" in result.output
    assert "interval_minutes: 5.0" in result.output
