"""Settings of a real process: its environment, the file it names, the files those name; read again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from scaler.settings import ENV, Settings, given_by, load_settings
from service.config.files import check_readable, read_text, with_secret_files
from service.config.load import ConfigError, Given, Loaded, secret_names
from service.web.web_config import check_web_config

log = logging.getLogger(__name__)

FIXED: Final = ("listen", "web_config_file", "state_file", "kubernetes", "dry_run", "api", "log")
"""What a running scaler cannot take over from a changed file."""


def read_settings(
    environ: Mapping[str, str], *, config: str | None = None, listen: str | None = None, dry_run: bool = False
) -> Loaded[Settings]:
    """All sources as one: the rest is the command line's. Raises ConfigError."""
    path = config or environ.get("SCALER_CONFIG", "").strip()
    text = ""
    if path:
        setting, source = ("--config", "command line") if config else ("SCALER_CONFIG", "environment")
        text = read_text(path, setting, source)
    given = given_by(with_secret_files(environ, secret_names(Settings, ENV)))
    if listen:
        given["listen"] = Given("--listen", listen, "command line")
    if dry_run:
        given["dry_run"] = Given("--dry-run", True, "command line")
    loaded = load_settings(text, given, file=path)
    _check_files(loaded)
    check_web_config(loaded, loaded.model.web_config_file)
    return loaded


def _check_files(loaded: Loaded[Settings]) -> None:
    prometheus = loaded.model.prometheus
    files = {
        "prometheus.password_file": prometheus.password_file,
        "prometheus.bearer_token_file": prometheus.bearer_token_file,
        "prometheus.tls.ca_file": prometheus.tls.ca_file,
        "prometheus.tls.cert_file": prometheus.tls.cert_file,
        "prometheus.tls.key_file": prometheus.tls.key_file,
    }
    for path, file in files.items():
        if file:
            check_readable(file, loaded.name(path), loaded.source(path))


class Reloader:
    """The settings of now. A file that changed is taken over; one that cannot be used is refused, once told,
    and the old settings stay."""

    def __init__(self, loaded: Loaded[Settings], environ: Mapping[str, str], **options: object) -> None:
        self._loaded = loaded
        self._environ = dict(environ)
        self._options = options
        self._seen = self._digest()

    @property
    def current(self) -> Settings:
        """As they were last taken over."""
        return self._loaded.model

    def look(self) -> bool:
        """Read the file again if it has changed; whether other settings are in force now. Never raises."""
        digest = self._digest()
        if digest == self._seen:
            return False
        self._seen = digest
        try:
            loaded = read_settings(self._environ, **self._options)  # type: ignore[arg-type]
        except ConfigError as error:
            log.warning("changed settings are refused, the old ones stay", extra={"error": str(error)})
            return False
        changes = differences(self._loaded.model, loaded.model)
        self._loaded = loaded
        fixed = [name for name in FIXED if any(one.split(".")[0] == name for one in changes)]
        if fixed:
            log.warning("these settings need a restart", extra={"settings": ", ".join(fixed)})
        if changes:
            log.info("settings were changed", extra={"changed": ", ".join(changes)})
        return bool(changes)

    def _digest(self) -> str:
        """By content: a mounted ConfigMap changes by a link, and clocks are coarse."""
        if not self._loaded.file:
            return ""
        try:
            return sha256(Path(self._loaded.file).read_bytes()).hexdigest()
        except OSError as error:
            return f"unreadable: {error.strerror}"


def differences(old: Settings, new: Settings) -> list[str]:
    """The settings that differ, by name; of targets by the target's. No values: some are secret."""
    changed = [
        name
        for name in Settings.model_fields
        if name != "targets" and getattr(old, name) != getattr(new, name)
    ]
    before = {target.name: target for target in old.targets}
    after = {target.name: target for target in new.targets}
    return changed + [
        f"targets.{name}" for name in sorted(before | after) if before.get(name) != after.get(name)
    ]
