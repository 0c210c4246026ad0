"""Which variables of the scaler its workers inherit: an allow-list, as the rest may be secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from scaler.config.environment import SCALER_VARIABLES
from scaler.config.settings import ProcessSettings, ScalerSettings, is_glob
from service.config.load import secret_names

INHERITED: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("NODE_ENV", "NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS"),
    *("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
)
"""Names and patterns of what every worker gets: where programs, languages and time zones are found."""

_SECRETS: Final = tuple(secret_names(ScalerSettings, SCALER_VARIABLES))
SCALER_SECRETS: Final = frozenset((*_SECRETS, *(f"{name}_FILE" for name in _SECRETS)))
"""Variables that no worker inherits, whatever is asked for: with the key it could give orders."""


def inherited(settings: ProcessSettings, scaler: Mapping[str, str]) -> dict[str, str]:
    """Those of the scaler's variables that a worker gets."""
    patterns = (*INHERITED, *settings.environment_from)
    return {
        name: value
        for name, value in scaler.items()
        if name not in SCALER_SECRETS and any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def variable_problem(name: str) -> str | None:
    """Why a name or pattern cannot be in environment_from; None if it can."""
    if name in SCALER_SECRETS:
        return "is a secret of the scaler, which no worker inherits; give workers a key of their own"
    if not name or "=" in name or "\0" in name:
        return "is not a name of a variable"
    return None


def absent_variables(settings: ScalerSettings, scaler: Mapping[str, str]) -> list[str]:
    """A line for each name in environment_from that the scaler does not have itself."""
    return [
        f"{target.name}: its workers should get {name} (environment_from), which the scaler does not have"
        for target in settings.targets
        if target.processes is not None
        for name in target.processes.environment_from
        if not is_glob(name) and name not in scaler and name not in target.processes.environment
    ]
