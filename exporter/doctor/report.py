"""What the doctor prints: the findings, the worst first, each with its fix; then what is good."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from exporter.config.watched import Watched
from exporter.doctor.model import Diagnosis, Place, count_statuses
from service.i18n import Message, Translator
from service.units import printable

_INDENT: Final = "  "
_WIDEST: Final = 110  # columns of a line that is read as prose


def report_lines(diagnoses: Sequence[Diagnosis], translator: Translator, *, width: int) -> Iterator[str]:
    """Lines for a terminal of this width. The lines of a fix are never wrapped: they are pasted."""
    width = min(width, _WIDEST)
    yield from _wrapped(_summary(diagnoses, translator), "", width)
    for diagnosis in diagnoses:
        if diagnosis.status in ("wrong", "warning"):
            yield ""
            yield from _finding(diagnosis, translator, width)
    for status in ("unchecked", "good"):
        those = [diagnosis for diagnosis in diagnoses if diagnosis.status == status]
        if those:
            yield ""
            yield translator.render(_heading(status))
        for diagnosis in those:
            yield from _item(diagnosis, translator, width)


def watched_lines(rows: Iterable[Watched], translator: Translator) -> list[str]:
    """What is watched, a line each: the part, its value, the setting that says so."""
    default = translator.render(Message("watched.default"))
    texts = [
        (translator.render(_part(row.name)), printable(translator.render(row.value)), row.source or default)
        for row in rows
    ]
    names = max(len(name) for name, _, _ in texts)
    return [f"{name:<{names}}  {value}  ({printable(source)})" for name, value, source in texts]


def _summary(diagnoses: Sequence[Diagnosis], translator: Translator) -> str:
    counts = count_statuses(diagnoses)
    if not counts["wrong"] and not counts["warning"]:
        return translator.render(
            Message("doctor.summary.good", good=counts["good"], unchecked=counts["unchecked"])
        )
    return translator.render(
        Message(
            "doctor.summary",
            wrong=counts["wrong"],
            warnings=counts["warning"],
            unchecked=counts["unchecked"],
            good=counts["good"],
        )
    )


def _finding(diagnosis: Diagnosis, translator: Translator, width: int) -> Iterator[str]:
    label = Message("doctor.wrong") if diagnosis.status == "wrong" else Message("doctor.warning")
    seen = f"{translator.render(label)}: {translator.render(diagnosis.seen)}"
    yield from _wrapped(seen, "", width)
    if diagnosis.effect is not None:
        yield from _wrapped(translator.render(diagnosis.effect), _INDENT, width)
    yield from _fix(diagnosis, translator)
    yield f"{_INDENT}{diagnosis.link}"


def _item(diagnosis: Diagnosis, translator: Translator, width: int) -> Iterator[str]:
    text = f"- {diagnosis.check}: {translator.render(diagnosis.seen)}"
    yield from _wrapped(text, "", width, hanging=_INDENT)
    yield from _fix(diagnosis, translator)


def _fix(diagnosis: Diagnosis, translator: Translator) -> Iterator[str]:
    for fix in diagnosis.fixes:
        place = Message("doctor.fix.shell_password") if fix.password else _place(fix.place)
        yield f"{_INDENT}{translator.render(place)}"
        yield from (f"{_INDENT * 2}{printable(line)}" for line in fix.lines)


def _wrapped(text: str, indent: str, width: int, *, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        printable(text),
        width,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _heading(status: str) -> Message:
    return Message("doctor.unchecked") if status == "unchecked" else Message("doctor.good")


def _place(place: Place) -> Message:
    match place:
        case "shell":
            return Message("doctor.fix.shell")
        case "environment":
            return Message("doctor.fix.environment")
        case "prometheus":
            return Message("doctor.fix.prometheus")
        case "scaler":
            return Message("doctor.fix.scaler")
        case "application":
            return Message("doctor.fix.application")
        case "settings":
            return Message("doctor.fix.settings")


def _part(name: str) -> Message:
    match name:
        case "redis":
            return Message("watched.redis")
        case "login":
            return Message("watched.login_name")
        case "prefixes":
            return Message("watched.prefixes")
        case "queues":
            return Message("watched.queues")
        case "events":
            return Message("watched.events")
        case "shard":
            return Message("watched.shard")
        case "host":
            return Message("watched.host")
        case "probes":
            return Message("watched.probes")
        case "listen":
            return Message("watched.listen")
        case "prometheus":
            return Message("watched.prometheus")
        case "scaler":
            return Message("watched.scaler")
        case _:
            return Message("watched.monitoring")
