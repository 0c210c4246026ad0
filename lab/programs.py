"""The programs that the lab runs, and the Debian package of each."""

from __future__ import annotations

import shutil
from typing import Final

PACKAGES: Final = {
    "redis-server": "redis-server",
    "redis-cli": "redis-server",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "node": "nodejs",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "systemd-analyze": "systemd",
    "chromium": "chromium",
}


class MissingProgramError(RuntimeError):
    """A required program is missing; the message names the package that installs it."""


def find_program(name: str) -> str:
    """The path of a program by its name or path; raises MissingProgramError."""
    path = shutil.which(name)
    if path is None:
        package = PACKAGES.get(name)
        remedy = f"make setup, or apt-get install {package}" if package else "no such file, or not executable"
        raise MissingProgramError(f"{name} not found: {remedy}")
    return path
