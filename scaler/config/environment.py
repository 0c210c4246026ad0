"""The scaler's settings in environment variables. Pure: the caller passes the variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scaler.config.settings import ScalerSettings
from service.config.load import ConfigError, Given, from_environment, secret_names, to_bool
from service.config.variables import Known, Notice, unknown_variables

SCALER_VARIABLES: Final[dict[str, str]] = {
    "SCALER_LISTEN": "listen",
    "SCALER_WEB_CONFIG": "web_config_file",
    "SCALER_STATE_FILE": "state_file",
    "SCALER_DRY_RUN": "dry_run",
    "SCALER_KEDA_LISTEN": "keda.listen",
    "SCALER_EXTERNAL_METRICS_LISTEN": "external_metrics.listen",
    "SCALER_EXTERNAL_METRICS_CERT_FILE": "external_metrics.tls.cert_file",
    "SCALER_EXTERNAL_METRICS_KEY_FILE": "external_metrics.tls.key_file",
    "ENABLE_AUTO_SCALING": "enabled",
    "CRON_API_KEY": "api.key",
    "CRON_API_KEY_FILE": "api.key_file",
    "CRON_API_READ_KEY": "api.read_key",
    "CRON_API_READ_KEY_FILE": "api.read_key_file",
    "PROMETHEUS_URL": "prometheus.urls",
    "PROMETHEUS_USERNAME": "prometheus.username",
    "PROMETHEUS_PASSWORD": "prometheus.password",
    "PROMETHEUS_BEARER_TOKEN": "prometheus.bearer_token",
    "LOG_LEVEL": "log.level",
    "LOG_FORMAT": "log.format",
    "LOG_FILE": "log.file",
}
"""Each variable and its setting. A secret can also be given as NAME_FILE, a file with its value."""

MINUTES: Final = "SCALING_INTERVAL_MINUTES"


def scaler_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The settings of the environment, by dotted path; files of secrets are read too. Raises ConfigError."""
    given = from_environment(ScalerSettings, environ, SCALER_VARIABLES)
    for name in ("ENABLE_AUTO_SCALING", "SCALER_DRY_RUN"):
        if environ.get(name, "").strip():
            to_bool(name, environ[name])
    raw = environ.get(MINUTES, "").strip()
    if raw:
        try:
            seconds = float(raw) * 60
        except ValueError:
            raise ConfigError(MINUTES, raw, "environment", "should be a number of minutes") from None
        if not 1 <= seconds <= 3600:
            why = "should be from one second (0.0167) to 60 minutes"
            raise ConfigError(MINUTES, raw, "environment", why)
        given["interval_seconds"] = Given(MINUTES, seconds)
    return given


def scaler_notices(environ: Mapping[str, str]) -> list[Notice]:
    """The variables that look like settings and are not."""
    files = [f"{name}_FILE" for name in secret_names(ScalerSettings, SCALER_VARIABLES)]
    known = Known(
        (*SCALER_VARIABLES, *files, MINUTES, "SCALER_CONFIG", "SCALER_URL", "ENABLE_SYSTEM_MONITORING"),
        prefixes=("SCALER_", "SCALING_", "ENABLE_"),
        shared=("PROMETHEUS_", "CRON_API_", "LOG_"),
        aliases=_OTHER_NAMES,
    )
    return unknown_variables(environ, known)


_OTHER_NAMES: Final[dict[str, str]] = {
    "SCALER_PORT": "SCALER_LISTEN",
    "SCALER_HOST": "SCALER_LISTEN",
    "SCALING_INTERVAL_SECONDS": MINUTES,
    "SCALING_DRY_RUN": "SCALER_DRY_RUN",
    "SCALING_CONFIG": "SCALER_CONFIG",
    "PROMETHEUS_TOKEN": "PROMETHEUS_BEARER_TOKEN",
    "PROMETHEUS_USER": "PROMETHEUS_USERNAME",
}
"""What others call our settings: suggested in a notice, never read."""
