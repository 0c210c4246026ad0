"""The commands against processes that require a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.deadline import wait_until
from tests.support.system import FULL, READ, System

pytestmark = pytest.mark.timeout(120)  # 2 s alone, 20 s on a busy machine: commands as processes


def run(*words: str, **environ: str) -> tuple[int, str, str]:
    """`monitor` or `scaling`, by its module: exit code, output and errors."""
    module = {"monitor": "exporter", "scaling": "scaler"}[words[0]]
    completed = subprocess.run(
        [sys.executable, "-m", module, *words[1:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "LANG": "C.UTF-8", **environ},
    )
    assert FULL not in completed.stdout + completed.stderr
    return completed.returncode, completed.stdout, completed.stderr


def test_a_key_by_the_environment_or_a_file(system: System, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(READ + "\n")
    for command, url in (("monitor", system.exporter.url), ("scaling", system.scaler.url)):
        for given in ({"CRON_API_KEY": FULL}, {"CRON_API_READ_KEY": READ}, {"CRON_API_KEY_FILE": str(file)}):
            code, out, error = run(command, "status", "--url", url, "--json", **given)
            assert code in (0, 1), error
            assert json.loads(out)["name"].startswith("oxherd")
        assert run(command, "status", "--url", url)[::2] == (
            2,
            f"{command}: {url} requires a key: set CRON_API_KEY or CRON_API_KEY_FILE\n",
        )
        code, _, error = run(command, "status", "--url", url, CRON_API_KEY="not-the-right-key")
        assert code == 2
        assert "does not accept this key" in error


@pytest.mark.parametrize("through", ["scaler", "exporter"])
def test_commands_over_http(system: System, through: str) -> None:
    url = {"scaler": system.scaler.url, "exporter": system.exporter.url}[through]

    def scaling(*words: str) -> tuple[int, str, str]:
        return run("scaling", *words, "--url", url, CRON_API_KEY=FULL)

    code, out, error = scaling("manual", "notifications", "4", "--reason", "a launch", "--for", "1h")
    assert (code, error) == (0, "")
    assert out.startswith("mail: 4 workers for 1 h, until ")
    wait_until(lambda: system.scaler.ask("scaling_status")["targets"][0]["current"] == 4, what="four")
    assert scaling("pause", "mail")[1] == "mail: workers stay as they are until `scaling auto mail`\n"
    assert scaling("auto", "mail")[1] == "mail: scaled by its metrics again\n"
    assert scaling("auto", "mail")[1] == "mail: was scaled by its metrics already\n"
    code, _, error = scaling("manual", "mail", "99", "--reason", "x")
    assert (code, error) == (2, "scaling: 99 is not within the bounds of mail: 1 to 12 workers\n")
    code, _, error = run("scaling", "auto", "mail", "--url", url, CRON_API_READ_KEY=READ)
    assert (code, error) == (2, "scaling: this key may read only\n")


def test_in_indonesian(system: System) -> None:
    _, out, _ = run("monitor", "queues", "--url", system.exporter.url, CRON_API_KEY=FULL, LANG="id_ID.UTF-8")
    assert "antrean" in out
    assert "menunggu" in out
    assert "dijeda" in out
    _, out, _ = run("scaling", "status", "--url", system.scaler.url, CRON_API_KEY=FULL, LC_ALL="id_ID.UTF-8")
    assert "keputusan terakhir" in out


@pytest.mark.parametrize(("command", "word"), [("monitor", "queues"), ("scaling", "manual")])
def test_a_shell_completes_it(command: str, word: str) -> None:
    script = (
        f'eval "$({command} completion bash)"\n'
        f"COMP_WORDS=({command} {word[:3]}) COMP_CWORD=1\n_{command}_completion {command}\n"
        'echo "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    completed = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PATH": path},
    )
    assert completed.stdout.split() == [word], completed.stderr
