"""Settings of a real process: from the environment and files, and reloaded while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from scaler.config.conflicts import conflicting_settings
from scaler.config.environment import SCALER_VARIABLES, scaler_environment
from scaler.config.inherited import absent_variables
from scaler.config.policy_keys import ignored_settings
from scaler.config.prometheus import PrometheusSettings
from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.engines.certificates import CertificateError, certificates_of
from service.api.settings import key_files
from service.config.exposure import Exposure, key_name, named_secret_files, sent_elsewhere
from service.config.load import ConfigError, Loaded, secret_names
from service.config.reload import ContentWatch
from service.config.sources import (
    API_KEY_SETTINGS,
    check_files,
    from_command_line,
    read_sources,
    secrets_in_files,
)
from service.web.web_config import check_web_config, exposures

log = logging.getLogger(__name__)

FIXED: Final = (
    "listen",
    "web",
    "web_config_file",
    "state_file",
    "exporter_url",
    "kubernetes",
    "keda",
    "external_metrics",
    "dry_run",
    "api",
    "log",
)
"""Settings that a running scaler cannot take over from a changed file."""


_REFUSED: Final = "changed settings refused, previous settings stay"
_NO_TARGETS: Final = "targets is empty now; the former ones go on, until the scaler is stopped"


def read_scaler_settings(
    environ: Mapping[str, str],
    *,
    config: str | None = None,
    listen: str | None = None,
    dry_run: bool = False,
    notify: Callable[[str], None] | None = None,
) -> Loaded[ScalerSettings]:
    """The settings of all sources; the options are those of the command line. Raises ConfigError; a command
    passes `notify`, which gets a line about an API key that only the server could not start with."""
    secrets = secret_names(ScalerSettings, SCALER_VARIABLES)
    sources = read_sources(environ, config=config, variable="SCALER_CONFIG", secrets=secrets, notify=notify)
    given = scaler_environment(sources.environ)
    if listen:
        given["listen"] = from_command_line("--listen", listen)
    if dry_run:
        given["dry_run"] = from_command_line("--dry-run", value=True)
    loaded = load_scaler_settings(sources.text, given, file=sources.file, notify=notify)
    if from_files := secrets_in_files(loaded, API_KEY_SETTINGS, notify):
        loaded = load_scaler_settings(sources.text, given | from_files, file=sources.file, notify=notify)
    prometheus = loaded.model.prometheus
    check_files(
        loaded,
        {
            "prometheus.password_file": prometheus.password_file,
            "prometheus.bearer_token_file": prometheus.bearer_token_file,
            "prometheus.tls.ca_file": prometheus.tls.ca_file,
            "prometheus.tls.cert_file": prometheus.tls.cert_file,
            "prometheus.tls.key_file": prometheus.tls.key_file,
        },
    )
    check_web_config(loaded, loaded.model.web_config_file)
    _check_engines(loaded)
    return loaded


def _check_engines(loaded: Loaded[ScalerSettings]) -> None:
    """Raises ConfigError: an engine cannot be answered by these settings, or not by this installation."""
    settings = loaded.model
    if settings.keda.listen is not None and find_spec("grpc") is None:
        why = "module grpc is missing: install oxherd[keda]"
        raise loaded.error("keda.listen", why, settings.keda.listen)
    for name in ("keda", "external_metrics"):
        engine = getattr(settings, name)
        if engine.listen is None:
            continue
        try:
            certificates_of(engine.tls)
        except CertificateError as error:
            path = f"{name}.tls.{error.setting}"
            raise loaded.error(path, str(error), getattr(engine.tls, error.setting)) from None


class Reloader:
    """The current settings. A changed file is taken over; an invalid one is refused and logged once, and the
    previous settings stay. So does one without targets: a file that is being written, or was lost, is empty
    too, and would end all workers."""

    def __init__(self, loaded: Loaded[ScalerSettings], environ: Mapping[str, str], **options: object) -> None:
        self._loaded = loaded
        self._environ = dict(environ)
        self._options = options
        self._watch = ContentWatch(self._files())
        self.refused = False
        """Whether the file is another one than that in force, as it cannot be used."""

    @property
    def current(self) -> ScalerSettings:
        """The settings in force."""
        return self._loaded.model

    def reload(self) -> bool:
        """Read the file again if it has changed; whether the settings have. Never raises."""
        if not self._watch.changed(self._files()):
            return False
        self.refused = True
        try:
            loaded = read_scaler_settings(self._environ, **self._options)  # type: ignore[arg-type]
        except ConfigError as error:
            log.warning(_REFUSED, extra={"error": str(error)})
            return False
        if self._loaded.model.targets and not loaded.model.targets:
            log.warning(_REFUSED, extra={"error": f"settings: {_NO_TARGETS}"})
            return False
        self.refused = False
        changes = differences(self._loaded.model, loaded.model)
        self._loaded = loaded
        fixed = [name for name in FIXED if any(change.split(".")[0] == name for change in changes)]
        if fixed:
            log.warning("these settings need a restart", extra={"settings": ", ".join(fixed)})
        for notice in ignored_settings(loaded) if changes else ():
            log.warning("setting ignored", extra={"variable": notice.variable, "reason": notice.reason})
        for line in settings_conflicts(loaded.model, self._environ) if changes else ():
            log.warning("settings conflict", extra={"reason": line})
        if changes:
            log.info("settings changed", extra={"changed": ", ".join(changes)})
        return bool(changes)

    def _files(self) -> list[Path]:
        return [Path(self._loaded.file)] if self._loaded.file else []


def scaler_exposures(loaded: Loaded[ScalerSettings], environ: Mapping[str, str]) -> list[Exposure]:
    """The secrets that others may get to know."""
    prometheus = loaded.model.prometheus
    files = {
        **named_secret_files(loaded, environ, SCALER_VARIABLES),
        "prometheus.password_file": prometheus.password_file,
        "prometheus.bearer_token_file": prometheus.bearer_token_file,
        "prometheus.tls.key_file": prometheus.tls.key_file,
        **key_files(loaded.model.api),
        "kubernetes.kubeconfig": loaded.model.kubernetes.kubeconfig,
        "keda.tls.key_file": loaded.model.keda.tls.key_file,
        "external_metrics.tls.key_file": loaded.model.external_metrics.tls.key_file,
        **{f"prometheus.header_files.{header}": file for header, file in prometheus.header_files.items()},
    }
    kubernetes, key = loaded.model.kubernetes, key_name(loaded)
    urls = [
        (loaded.name("exporter_url"), loaded.model.exporter_url, key),
        ("kubernetes.exporter_url", kubernetes.exporter_url, key),
        *((loaded.name("prometheus.urls"), url, _secret_of(prometheus)) for url in prometheus.urls),
    ]
    return [*exposures(loaded, files), *sent_elsewhere(urls)]


def _secret_of(prometheus: PrometheusSettings) -> str | None:
    """The setting of a secret that each Prometheus gets; a header such as a tenant's name is none."""
    secret = {
        "password": prometheus.password or prometheus.password_file,
        "bearer_token": prometheus.bearer_token or prometheus.bearer_token_file,
        "header_files": prometheus.header_files,
    }
    return next((f"prometheus.{name}" for name, given in secret.items() if given), None)


def settings_conflicts(settings: ScalerSettings, environ: Mapping[str, str]) -> list[str]:
    """A line for each promise that the settings cannot keep, by themselves or with this environment."""
    return [*conflicting_settings(settings), *absent_variables(settings, environ)]


def _compared(settings: ScalerSettings, name: str) -> object:
    return settings.api.without_rotating_keys() if name == "api" else getattr(settings, name)


def differences(old: ScalerSettings, new: ScalerSettings) -> list[str]:
    """The names of the settings that differ, `targets.NAME` for a target. No values: some are secret."""
    changed = [
        name
        for name in ScalerSettings.model_fields
        if name != "targets" and _compared(old, name) != _compared(new, name)
    ]
    before = {target.name: target for target in old.targets}
    after = {target.name: target for target in new.targets}
    return changed + [
        f"targets.{name}" for name in sorted(before | after) if before.get(name) != after.get(name)
    ]
