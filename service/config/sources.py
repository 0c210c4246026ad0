"""The sources of settings: command line, environment, the file that they name, the files of secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from service.config.files import check_readable, read_secret, read_text, with_secret_files
from service.config.load import ConfigError, Given, Loaded, M

API_KEYS: Final = ("CRON_API_KEY", "CRON_API_READ_KEY")
"""The variables of the API's keys, the full one first."""

API_KEY_SETTINGS: Final = ("api.key", "api.read_key")


class Sources(NamedTuple):
    """The text of the settings file ("" without one), its path, and the environment with secret files
    read."""

    text: str
    file: str
    environ: dict[str, str]


def read_sources(
    environ: Mapping[str, str],
    *,
    config: str | None,
    variable: str,
    secrets: Iterable[str],
    notify: Callable[[str], None] | None = None,
) -> Sources:
    """`config` is the command line's path, `variable` names it otherwise. Raises ConfigError; with `notify` a
    file of an API key that cannot be read is told and left out instead."""
    path = config or environ.get(variable, "").strip()
    text = ""
    if path:
        setting, source = ("--config", "command line") if config else (variable, "environment")
        text = read_text(path, setting, source)
    if notify is not None:
        environ = _without_unreadable_keys(environ, notify)
    return Sources(text, path, with_secret_files(environ, secrets))


def _without_unreadable_keys(environ: Mapping[str, str], notify: Callable[[str], None]) -> dict[str, str]:
    kept = dict(environ)
    for name in API_KEYS:
        try:
            with_secret_files(environ, [name])
        except ConfigError as error:
            notify(f"{error}; no key is sent")
            del kept[f"{name}_FILE"]
    return kept


def secrets_in_files(
    loaded: Loaded[Any], secrets: Iterable[str], notify: Callable[[str], None] | None = None
) -> dict[str, Given]:
    """The secrets, by setting, that only a settings file gives as a file, as SETTING_file; those of NAME_FILE
    variables are read already.

    Raises ConfigError if a file cannot be read, or if the secret itself is set as well; with `notify` an API
    key in such a file is told and left out instead.
    """
    read: dict[str, Given] = {}
    for path in secrets:
        setting = f"{path}_file"
        part, _, name = setting.rpartition(".")
        file = getattr(getattr(loaded.model, part), name)
        if not file or setting in loaded.given:
            continue
        if loaded.is_set(path):
            raise loaded.error(setting, f"{loaded.name(path)} is set too: keep one of them", file)
        source = loaded.source(setting)
        try:
            read[path] = Given(setting, read_secret(file, setting, source), source)
        except ConfigError as error:
            if notify is None or path not in API_KEY_SETTINGS:
                raise
            notify(f"{error}; no key is sent")
    return read


def from_command_line(option: str, value: object) -> Given:
    """What an option says for a setting."""
    return Given(option, value, "command line")


def check_files(loaded: Loaded[M], files: Mapping[str, str | None]) -> None:
    """Raises ConfigError for a file, by its setting, that cannot be read; None: it is not set."""
    for path, file in files.items():
        if file:
            check_readable(file, loaded.name(path), loaded.source(path))
