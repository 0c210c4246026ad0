"""The sources of settings: command line, environment, the file that they name, the files of secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from service.config.files import check_readable, read_text, with_secret_files
from service.config.load import Given, Loaded, M


class Sources(NamedTuple):
    """The text of the settings file ("" without one), its path, and the environment with secret files
    read."""

    text: str
    file: str
    environ: dict[str, str]


def read_sources(
    environ: Mapping[str, str], *, config: str | None, variable: str, secrets: Iterable[str]
) -> Sources:
    """`config` is the command line's path, `variable` names it otherwise. Raises ConfigError."""
    path = config or environ.get(variable, "").strip()
    text = ""
    if path:
        setting, source = ("--config", "command line") if config else (variable, "environment")
        text = read_text(path, setting, source)
    return Sources(text, path, with_secret_files(environ, secrets))


def from_command_line(option: str, value: object) -> Given:
    """What an option says for a setting."""
    return Given(option, value, "command line")


def check_files(loaded: Loaded[M], files: Mapping[str, str | None]) -> None:
    """Raises ConfigError for a file, by its setting, that cannot be read; None: it is not set."""
    for path, file in files.items():
        if file:
            check_readable(file, loaded.name(path), loaded.source(path))
