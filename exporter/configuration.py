"""The settings of a running process: its environment, the settings file, and the files that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Final

from exporter.address import parse_url
from exporter.config.environment import EXPORTER_VARIABLES, exporter_environment, variable_name
from exporter.config.otlp import otlp_files, otlp_secret, secret_parts
from exporter.config.settings import ExporterSettings
from exporter.config.validation import load_exporter_settings
from service.api.settings import key_files
from service.config.exposure import Exposure, key_name, named_secret_files, sent_elsewhere
from service.config.files import check_readable
from service.config.load import ConfigError, Loaded, secret_names, secrets_of
from service.config.sources import (
    API_KEY_SETTINGS,
    check_files,
    from_command_line,
    read_sources,
    secrets_in_files,
)
from service.outcome import UnreadableError
from service.web.web_config import check_web_config, exposures

_IN_FILES: Final = (
    *("redis.url", "redis.password", "redis.sentinel_password", "otlp.authorization"),
    *API_KEY_SETTINGS,
)
_PASSWORD: Final = {False: "redis.password", True: "redis.sentinel_password"}


def read_exporter_settings(
    environ: Mapping[str, str],
    *,
    config: str | None = None,
    listen: str | None = None,
    shard: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> Loaded[ExporterSettings]:
    """The settings from all sources; `config`, `listen` and `shard` are command-line options.

    Raises ConfigError; a command passes `notify`, which gets a line about an API key that only the server
    could not start with.
    """
    secrets = secret_names(ExporterSettings, EXPORTER_VARIABLES)
    sources = read_sources(environ, config=config, variable="EXPORTER_CONFIG", secrets=secrets, notify=notify)
    given = exporter_environment(sources.environ)
    if listen:
        given["listen"] = from_command_line("--listen", listen)
    if shard is not None:
        given["shard"] = from_command_line("--shard", shard)
    loaded = load_exporter_settings(sources.text, given, file=sources.file, notify=notify)
    from_files = secrets_in_files(loaded, _IN_FILES, notify)
    if from_files:
        loaded = load_exporter_settings(sources.text, given | from_files, file=sources.file, notify=notify)
    _check_tls_files(loaded)
    _check_probe_files(loaded)
    _check_otlp(loaded)
    check_web_config(loaded, loaded.model.web_config_file)
    return loaded


def _check_probe_files(loaded: Loaded[ExporterSettings]) -> None:
    for index, probe in enumerate(loaded.model.probes):
        path = f"probes[{index}]"
        for file in probe.header_files.values():
            check_readable(file, f"{path}.header_files", loaded.source(f"{path}.header_files"))
        if probe.ca_file:
            check_readable(probe.ca_file, f"{path}.ca_file", loaded.source(f"{path}.ca_file"))


def _check_otlp(loaded: Loaded[ExporterSettings]) -> None:
    """Raises ConfigError: nothing can be pushed by these settings, or not by this installation."""
    settings = loaded.model.otlp
    for file in otlp_files(settings):
        check_readable(file.path, loaded.name(file.setting), loaded.source(file.setting))
    if settings.endpoint is None:
        return
    if not _installed("opentelemetry.proto.metrics"):
        why = "module opentelemetry.proto is missing: install oxherd[otlp]"
        raise loaded.error("otlp.endpoint", why, settings.endpoint)
    from exporter.otlp.sender import otlp_tls

    try:
        otlp_tls(settings.tls)
    except UnreadableError as error:
        path = "otlp.tls.cert_file" if "cert_file" in str(error) else "otlp.tls.ca_file"
        raise loaded.error(path, str(error).rpartition(": ")[2], getattr(settings.tls, path[9:])) from None


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False


def _check_tls_files(loaded: Loaded[ExporterSettings]) -> None:
    """Raises ConfigError unless the files are readable and of the expected kind."""
    tls = loaded.model.redis.tls
    files = {
        "redis.tls.ca_file": tls.ca_file,
        "redis.tls.cert_file": tls.cert_file,
        "redis.tls.key_file": tls.key_file,
    }
    check_files(loaded, files)
    if any(files.values()):
        from exporter.redis.connect import tls_context

        for path, part in (
            ("redis.tls.ca_file", tls.model_copy(update={"cert_file": None})),
            ("redis.tls.cert_file", tls.model_copy(update={"ca_file": None})),
        ):
            try:
                tls_context(part)
            except UnreadableError as error:
                raise loaded.error(path, str(error).rpartition(": ")[2], files[path]) from None


def exporter_exposures(loaded: Loaded[ExporterSettings], environ: Mapping[str, str]) -> list[Exposure]:
    """The secrets that others may get to know."""
    redis = loaded.model.redis
    files = {
        **named_secret_files(loaded, environ, EXPORTER_VARIABLES),
        "redis.url_file": redis.url_file,
        "redis.password_file": redis.password_file,
        "redis.sentinel_password_file": redis.sentinel_password_file,
        **key_files(loaded.model.api),
        loaded.name("redis.tls.key_file"): redis.tls.key_file,
    }
    for index, probe in enumerate(loaded.model.probes):
        for header, file in probe.header_files.items():
            files[f"probes[{index}].header_files.{header}"] = file
    otlp = loaded.model.otlp
    files |= {loaded.name(file.setting): file.path for file in otlp_files(otlp) if file.secret}
    api = loaded.model.api
    urls: list[tuple[str, str | None, str | None]] = [
        (loaded.name("api.scaler_url"), api.scaler_url, key_name(loaded)),
        (
            loaded.name("otlp.endpoint"),
            otlp.endpoint,
            loaded.name(sent) if (sent := otlp_secret(otlp)) else None,
        ),
    ]
    for index, probe in enumerate(loaded.model.probes):
        secret = next((f"header_files.{name}" for name in probe.header_files), None)
        urls.append((f"probes[{index}].url", probe.url, secret))
    return [*exposures(loaded, files), *sent_elsewhere(urls)]


def all_secrets(settings: ExporterSettings) -> set[str]:
    """Every secret, as it is written in the settings and as it is sent."""
    secrets = set(secrets_of(settings))
    if settings.redis.url is not None:
        secrets.add(parse_url(settings.redis.url.get_secret_value()).password or "")
    if settings.otlp.authorization is not None:
        secrets.update(secret_parts(settings.otlp.authorization.get_secret_value()))
    return secrets - {""}


def preflight_error(loaded: Loaded[ExporterSettings], address: str, kind: str, message: str) -> ConfigError:
    """The refusal by Redis, as an error of the setting that must be changed."""
    redis = loaded.model.redis
    by_url = redis.url is not None and parse_url(redis.url.get_secret_value()).password is not None
    match kind:
        case "auth":
            path = "redis.url" if by_url else _PASSWORD[address in redis.sentinels]
        case "tls" if redis.tls.ca_file and "certificate" in message:
            path = "redis.tls.ca_file"
        case "tls" if redis.tls.enabled:
            path = "redis.tls.enabled"
        case _:
            ways = ("redis.cluster", "redis.sentinels", "redis.url", "redis.host", "redis.port")
            path = next((way for way in ways if loaded.is_set(way)), "redis.url")
    name = loaded.name(path) if loaded.is_set(path) else variable_name(path)
    return ConfigError(name, None, loaded.source(path), f"{address}: {message}")
