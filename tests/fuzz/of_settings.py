"""Settings: the file and the environment of both programs."""

from __future__ import annotations

import json
from io import BytesIO, TextIOWrapper
from typing import Any, Final

from exporter.config.environment import exporter_environment
from exporter.config.notices import exporter_notices
from exporter.config.validation import load_exporter_settings
from exporter.configuration import all_secrets
from scaler.config.environment import scaler_environment
from scaler.config.policy_keys import ignored_settings
from scaler.config.validation import load_scaler_settings
from scaler.configuration import differences
from service.config.load import ConfigError, Loaded, masked
from service.web.web_config import WebConfig, WebConfigError
from tests.fuzz.inputs import JSON, TEXT
from tests.fuzz.search import REFUSED, Target

_NOTHING_OF_EXPORTER: Final = exporter_environment({})
_NOTHING_OF_SCALER: Final = scaler_environment({})


def _exporter(text: str, environ: dict[str, str]) -> object:
    try:
        given = exporter_environment(environ) if environ else _NOTHING_OF_EXPORTER
        loaded = load_exporter_settings(text, given, file="exporter.yml")
    except ConfigError as error:
        _check_message(error)
        return REFUSED
    _check_shown(loaded)
    all_secrets(loaded.model)
    exporter_notices(loaded, environ)
    return None


def _scaler(text: str, environ: dict[str, str]) -> object:
    try:
        given = scaler_environment(environ) if environ else _NOTHING_OF_SCALER
        loaded = load_scaler_settings(text, given, file="scaler.yml")
    except ConfigError as error:
        _check_message(error)
        return REFUSED
    _check_shown(loaded)
    ignored_settings(loaded)
    differences(loaded.model, loaded.model)
    return None


def _check_message(error: ConfigError) -> None:
    """One line, for the exit code 2."""
    text = str(error)
    assert "\n" not in text, text
    assert error.why, text


def _check_shown(loaded: Loaded[Any]) -> None:
    json.dumps(masked(loaded.model), default=str)


def _exporter_file(raw: bytes) -> object:
    return _exporter(raw.decode("utf-8", "replace"), {})


def _scaler_file(raw: bytes) -> object:
    return _scaler(raw.decode("utf-8", "replace"), {})


def _environment(data: Any) -> object:
    """Names and values as texts, as those of a process are: without a NUL, an odd byte as a surrogate."""
    if not isinstance(data, dict):
        return REFUSED
    environ = {str(name).replace("\0", ""): str(value).replace("\0", "") for name, value in data.items()}
    results = (_exporter("", environ), _scaler("", environ))
    return REFUSED if results == (REFUSED, REFUSED) else None


class _File:
    """A file that has these bytes, without one."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def read_text(self, encoding: str) -> str:
        return TextIOWrapper(BytesIO(self._raw), encoding).read()


def _web_config(raw: bytes) -> None:
    """Without users: whether a password's hash can be used takes as long as whoever wrote it wanted."""
    config = WebConfig.__new__(WebConfig)
    config._path = _File(raw)  # type: ignore[assignment]
    config._read()


_YAML: Final = (
    *(b": ", b"- ", b"&a ", b"*a", b"!!int ", b"!!python/object:a ", b"? ", b"<<: ", b"|\n", b">-\n", b"{}"),
    *(b"2026-01-01", b"0o17", b"0b1", b"1:2:3", b".inf", b".nan", b"~", b"yes", b"---\n", b"\n  ", b"#"),
)
TARGETS_OF_SETTINGS: Final = (
    Target("exporter_settings", JSON, lambda data: _exporter(json.dumps(data), {})),
    Target("exporter_settings_text", TEXT, _exporter_file, words=_YAML),
    Target("scaler_settings", JSON, lambda data: _scaler(json.dumps(data), {})),
    Target("scaler_settings_text", TEXT, _scaler_file, words=_YAML),
    Target("web_config", TEXT, _web_config, (WebConfigError,), words=_YAML),
    Target(
        "environment",
        JSON,
        _environment,
        words=(b"REDIS_URL", b"REDIS_CLUSTER_HOST_1", b"tcp://10.0.0.1:6379", b"true", b"redis://a:b@c/1"),
    ),
)
