"""The worker command: checks before anything is started, and how it is run."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scaler.config.inherited import inherited
from scaler.config.settings import ProcessSettings
from scaler.model import NotApplied

_SHIM: Final = Path(__file__).with_name("shim.py")
WORKER_NAME: Final = "OXHERD_WORKER"


def find_problem(settings: ProcessSettings) -> NotApplied | None:
    """Why no worker could start, as far as can be checked before; None if nothing is wrong."""
    try:
        return (
            _invalid_text(settings) or _no_user(settings) or _no_directory(settings) or _no_program(settings)
        )
    except PermissionError as error:
        return NotApplied("forbidden", f"{error.filename}: {error.strerror}")
    except OSError as error:
        return NotApplied("invalid", f"{error.filename}: {error.strerror}")


def shim_command(settings: ProcessSettings) -> list[str]:
    """Program and arguments of a shim that runs the worker."""
    user = settings.user if settings.user is not None and not _is_own_user(settings.user) else ""
    head = [sys.executable, "-I", "-S", str(_SHIM), f"{settings.grace_seconds:f}", settings.directory or ""]
    return [*head, user, *settings.command]


def environment(settings: ProcessSettings, name: str, scaler: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker, and of its shim: what it inherits of the scaler's, HOME and names of its
    user, what the settings say, its own name."""
    named: dict[str, str] = {}
    if settings.user is not None:
        home = pwd.getpwnam(settings.user).pw_dir
        named = {"HOME": home, "USER": settings.user, "LOGNAME": settings.user}
    return {**inherited(settings, scaler), **named, **settings.environment, WORKER_NAME: name}


def _invalid_text(settings: ProcessSettings) -> NotApplied | None:
    texts = [*settings.command, settings.directory or "", settings.user or ""]
    texts += [text for pair in settings.environment.items() for text in pair]
    if any("\0" in text for text in texts):
        return NotApplied("invalid", "command, directory, user and environment cannot hold a NUL character")
    invalid = next((name for name in settings.environment if not name or "=" in name), None)
    if invalid is None:
        return None
    return NotApplied("invalid", f"environment: {invalid!r} is not a valid name of a variable")


def _no_user(settings: ProcessSettings) -> NotApplied | None:
    if settings.user is None:
        return None
    try:
        pwd.getpwnam(settings.user)
    except KeyError:
        return NotApplied("not_found", f"user {settings.user} does not exist")
    if os.geteuid() != 0 and not _is_own_user(settings.user):
        return NotApplied("forbidden", f"user {settings.user}: only root may run workers as another user")
    return None


def _no_directory(settings: ProcessSettings) -> NotApplied | None:
    if settings.directory is None:
        return None
    path = Path(settings.directory)
    if not path.exists():
        return NotApplied("not_found", f"directory {path} does not exist")
    if not path.is_dir():
        return NotApplied("invalid", f"{path} is not a directory")
    if not os.access(path, os.X_OK):
        return NotApplied("forbidden", f"directory {path}: permission denied")
    return None


def _no_program(settings: ProcessSettings) -> NotApplied | None:
    program = settings.command[0]
    if "/" not in program:
        search = settings.environment.get("PATH", os.environ.get("PATH", os.defpath))
        executable = shutil.which(program, path=search)
        return None if executable else NotApplied("not_found", f"command {program} is not in PATH")
    path = Path(settings.directory or "", program)
    if not path.exists():
        return NotApplied("not_found", f"command {path} does not exist")
    if not path.is_file() or not os.access(path, os.X_OK):
        return NotApplied("forbidden", f"command {path} is not executable")
    return None


def _is_own_user(user: str) -> bool:
    return pwd.getpwnam(user).pw_uid == os.geteuid()
