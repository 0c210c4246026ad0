"""Checks of the settings: what is watched, and variables that have no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Final

from exporter.config.environment import EXPORTER_VARIABLES
from exporter.config.watched import source_of, watched
from exporter.doctor.examination import Examination
from exporter.doctor.model import Diagnosis, Fix
from service.config.variables import Notice
from service.i18n import Message

_ADDRESS: Final = '$(case "${0}" in *://*) echo "${0}";; *) echo "redis://${0}";; esac)'
_FIRST: Final = "${{{0}%%,*}}"  # any node leads to the others
_COPIES: Final[Mapping[str, str]] = {
    "REDIS_ADDR": _ADDRESS,
    "REDIS_ADDRESS": _ADDRESS,
    "REDIS_NODES": _FIRST,
    "REDIS_HOSTS": _FIRST,
    "REDIS_CLUSTER_NODES": _FIRST,
    "REDIS_CLUSTER_HOSTS": _FIRST,
    "REDIS_CLUSTER_URLS": "$(echo \"${0}\" | sed 's/,.*//; s|.*[/@]||')",
    "EXPORTER_PORT": ":${0}",
    "EXPORTER_HOST": "${0}:9877",
    "MONITORING_INTERVAL_SECONDS": '$(awk "BEGIN {{ print ${0} / 60 }}")',
}
"""How a shell makes the value of our variable from that of another program, where it is written otherwise;
the value itself may be secret, and is not looked at."""


def check_watched(examination: Examination) -> Iterator[Diagnosis]:
    """Which Redis and which queues, and which settings say so."""
    loaded = examination.loaded
    rows = {row.name: row for row in watched(loaded)}
    default = Message("watched.default")
    yield Diagnosis(
        "watched",
        "good",
        Message(
            "doctor.watched.good",
            redis=rows["redis"].value,
            redis_source=rows["redis"].source or default,
            prefixes=rows["prefixes"].value,
            prefixes_source=rows["prefixes"].source or default,
            queues=rows["queues"].value,
            queues_source=rows["queues"].source or default,
        ),
    )
    if not loaded.model.monitoring.enabled:
        setting = source_of(loaded, "monitoring.enabled") or "monitoring.enabled"
        yield Diagnosis(
            "watched",
            "wrong",
            Message("doctor.watched.off", setting=setting),
            Message("doctor.watched.off_effect"),
            (set_variable("ENABLE_SYSTEM_MONITORING", "true"),),
        )


def check_variables(examination: Examination) -> Iterator[Diagnosis]:
    """Near misses of our own names, and settings that others override. Other unknown variables are not named:
    an environment is shared."""
    named = [notice for notice in examination.notices if notice.meant or notice.reason]
    for notice in named:
        yield _of_notice(notice, examination)
    if not named:
        yield Diagnosis("variables", "good", Message("doctor.variables.good"))


def _of_notice(notice: Notice, examination: Examination) -> Diagnosis:
    fix = _without(notice.variable, examination)
    if notice.reason:
        seen = Message("doctor.variables.ignored", variable=notice.variable, reason=notice.reason)
        return Diagnosis("variables", "warning", seen, Message("doctor.variables.ignored_effect"), (fix,))
    seen = Message("doctor.variables.misspelt", variable=notice.variable, meant=notice.meant)
    path = EXPORTER_VARIABLES.get(notice.meant, "")
    if notice.meant in examination.variables or (path and examination.loaded.is_set(path)):
        effect = Message("doctor.variables.misspelt_other", meant=notice.meant)
        return Diagnosis("variables", "warning", seen, effect, (fix,))
    effect = Message("doctor.variables.misspelt_effect", meant=notice.meant)
    copied = _COPIES.get(notice.variable, "${0}").format(notice.variable)
    lines = (f'export {notice.meant}="{copied}"', f"unset {notice.variable}")
    return Diagnosis("variables", "warning", seen, effect, (Fix("environment", lines),))


def _without(name: str, examination: Examination) -> Fix:
    """Without the setting: a variable, or a key of the file."""
    if "." not in name:
        return Fix("environment", (f"unset {name}",))
    return Fix("settings", (f"# {name}: {examination.loaded.source(name)}",))


def set_variable(name: str, value: str) -> Fix:
    """The line that sets a variable of the exporter."""
    return Fix("environment", (f"export {name}={quote(value)}",))
