"""What is recommended for each error, on page and in commands, helps when it is pasted into a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from typing import Any, Final

import pytest

from lab.deadline import wait_until
from tests.support.judgement.cause import Servers
from tests.support.judgement.errors import TROUBLES, Situation, Trouble
from tests.support.judgement.views import Views
from tests.support.judgement.walk import running

pytestmark = pytest.mark.timeout(90)  # 1 to 8 s alone

_PROGRAMS: Final = ("redis-cli ", "openssl ", "ss ", "getent ", "timeout ")


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_the_command_helps(trouble: Trouble) -> None:
    with ExitStack() as undo:
        situation = trouble.make(undo)
        settings = {"bullmq": situation.bullmq}
        servers = Servers(undo, [], situation.redis)
        with running(settings, servers, "127.0.0.1:0") as views:
            situation.begin()
            wait_until(lambda: views.issue(trouble.condition), what="the issue is there", seconds=20)
            issue: dict[str, Any] = views.issue(trouble.condition) or {}
            assert trouble.says in issue["recommendation"]
            assert views.shown(issue["recommendation"]) == ["monitor health", "page"]
            outputs = [_run(command, situation) for command in _commands(issue)]
            assert outputs
            assert re.search(trouble.shows, "\n".join(outputs).strip(), re.MULTILINE), outputs
            if trouble.mends:
                _wait_until_mended(views, trouble)


def _commands(issue: dict[str, Any]) -> list[str]:
    """Those of the recommendation, in their order; all are in its text."""
    message = issue["messages"]["recommendation"]
    commands = [value for value in message["parameters"].values() if str(value).startswith(_PROGRAMS)]
    assert all(command in issue["recommendation"] for command in commands)
    return commands


def _run(command: str, situation: Situation) -> str:
    """What a shell prints for it. A person types the password; nobody does here."""
    assert shutil.which(command.split(maxsplit=1)[0])
    environ = dict(os.environ)
    if "--askpass" in command:
        command = command.replace(" --askpass", "")
        environ["REDISCLI_AUTH"] = situation.password or ""
    shell = ["bash", "-c", command]
    done = subprocess.run(
        shell, env=environ, check=False, capture_output=True, text=True, timeout=30, input="yes\n"
    )
    return done.stdout


def _wait_until_mended(views: Views, trouble: Trouble) -> None:
    wait_until(lambda: views.issue(trouble.condition) is None, what="the issue has ended", seconds=20)
