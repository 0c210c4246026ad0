from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from scaler.config.settings import ProcessSettings
from scaler.model import NotApplied
from scaler.targets.command import environment, find_problem, shim_command

US = pwd.getpwuid(os.geteuid())


def settings(*command: str, **more: object) -> ProcessSettings:
    return ProcessSettings.model_validate({"command": command, **more})


def test_a_command_that_can_run(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    assert find_problem(settings("sh")) is None
    assert find_problem(settings(str(script))) is None
    assert find_problem(settings("./script", directory=str(tmp_path))) is None
    assert find_problem(settings("script", environment={"PATH": str(tmp_path)})) is None
    assert find_problem(settings("sh", user=US.pw_name)) is None


def test_the_path_that_counts_is_the_workers() -> None:
    problem = find_problem(settings("sh", environment={"PATH": "/no/such/directory"}))
    assert problem == NotApplied("not_found", "command sh is not in PATH")


def test_a_directory_is_not_a_command(tmp_path: Path) -> None:
    problem = find_problem(settings(str(tmp_path)))
    assert problem == NotApplied("forbidden", f"command {tmp_path} is not executable")


def test_somebody_else_only_where_we_are_root(monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(user.pw_name for user in pwd.getpwall() if user.pw_uid not in (0, 4242))
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    problem = find_problem(settings("sh", user=other))
    assert problem == NotApplied("forbidden", f"user {other}: only root may run workers as another user")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_problem(settings("sh", user=other)) is None


def test_a_directory_without_permission_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", closed)
    problem = find_problem(settings("/closed/worker"))
    assert problem == NotApplied("forbidden", "/closed/worker: Permission denied")


def test_the_shim_gets_the_grace_period_directory_user_and_command() -> None:
    assert shim_command(settings("a", "b c", grace_seconds=0.00001))[4:] == ["0.000010", "", "", "a", "b c"]
    assert shim_command(settings("a", user=US.pw_name, directory="/d"))[5:] == ["/d", "", "a"]


def test_an_environment_is_inherited_then_the_users_then_the_settings_then_the_name() -> None:
    inherited = {
        "HOME": "/inherited",
        "PATH": "/bin",
        "OXHERD_WORKER": "outer",
        "CRON_API_KEY": "k",
        "N": "0",
    }
    environ = environment(
        settings("a", user=US.pw_name, environment={"USER": "x", "N": "1"}), "mail-2", inherited
    )
    assert environ == {
        "HOME": US.pw_dir,
        "PATH": "/bin",
        "USER": "x",
        "LOGNAME": US.pw_name,
        "N": "1",
        "OXHERD_WORKER": "mail-2",
    }
