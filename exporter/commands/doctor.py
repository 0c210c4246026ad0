"""`monitor doctor`, and what `monitor start --check-config` says will be watched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from exporter.commands.tables import environment_translator
from exporter.config.settings import ExporterSettings
from exporter.config.watched import watched
from exporter.configuration import all_secrets
from exporter.doctor.checks.table import diagnose
from exporter.doctor.look import examine
from exporter.doctor.model import worst_code
from exporter.doctor.report import report_lines, watched_lines
from service.catalogs import ENGLISH
from service.clock import Deadline
from service.commands.console import make_console
from service.config.load import HIDDEN, Loaded
from service.json_text import json_text
from service.logs import configure
from service.units import printable_lines

_SHORTEST: Final = 4  # characters of a secret that is looked for in the texts: "db" is a word of them


def run_doctor(
    loaded: Loaded[ExporterSettings], environ: Mapping[str, str], *, seconds: float, as_json: bool
) -> int:
    """Look, print, and return the exit code."""
    secrets = all_secrets(loaded.model)
    configure("error", "logfmt", secrets=secrets)  # the output reports problems
    diagnoses = diagnose(examine(loaded, environ, Deadline.after(seconds)))
    code = worst_code(diagnoses)
    if as_json:
        findings = [diagnosis.to_json(ENGLISH) for diagnosis in diagnoses]
        text = json_text({"code": code, "findings": findings})
    else:
        text = "\n".join(report_lines(diagnoses, environment_translator(), width=make_console().width))
    for secret in (
        secret for secret in secrets if len(secret) >= _SHORTEST
    ):  # no text has one; the last look
        text = text.replace(secret, HIDDEN)
    click.echo(printable_lines(text))
    return code


def show_watched(loaded: Loaded[ExporterSettings]) -> None:
    """What the exporter will watch with these settings, and from which of them."""
    for line in watched_lines(watched(loaded), environment_translator()):
        click.echo(printable_lines(line))
