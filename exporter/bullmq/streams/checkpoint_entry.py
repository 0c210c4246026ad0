"""One line of the checkpoint: every number is looked at before any is used, as people edit files. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from exporter.bullmq.keys import base
from exporter.bullmq.names.folding import LONGEST_JOB_NAME, OTHER_NAMES, UNKNOWN_NAME
from exporter.bullmq.names.tally import COUNTED
from exporter.bullmq.reasons.masking import LONGEST_REASON, OTHER_REASONS
from exporter.bullmq.reasons.tally import LONGEST_JOB
from exporter.bullmq.streams.events import COUNTS, OUTCOMES
from exporter.snapshot.queues import QueueId

_MOST: Final = 1 << 62
"""Of a count: what is added to it later fits into 63 bits."""
_LAST_PART: Final = (1 << 64) - 1
"""Of a stream id's two numbers."""
_LAST_TIME: Final = 253_402_300_799
"""Unix seconds, of the year 9999."""
_ID: Final = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?", re.ASCII)


class CheckpointEntryError(ValueError):
    """The line cannot be used; the text names what of it, and what it should be."""


def read_entry(line: bytes) -> tuple[QueueId, dict[str, Any]]:
    """The queue of a line and its data, of which nothing else is checked. Raises CheckpointEntryError."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise CheckpointEntryError("not JSON") from None
    if not isinstance(entry, dict):
        raise CheckpointEntryError("should be an object")  # it is data
    queue = QueueId(_text(entry, "prefix"), _text(entry, "name"))
    try:
        base(queue).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise CheckpointEntryError("name: no text that Redis can have") from None
    return queue, entry


def check_entry(entry: Mapping[str, Any]) -> None:
    """Raises CheckpointEntryError unless every number in it is one that can have been counted."""
    _check_id(_text(entry, "last"))
    for name in ("read", "lost", "undone"):
        _whole(entry, name)
    if entry.get("added_before") is not None:
        _whole(entry, "added_before", least=-_MOST)
    since: Any = entry.get("since")
    if type(since) not in (int, float) or not 0 <= since <= _LAST_TIME:
        raise CheckpointEntryError("since: should be unix seconds")
    busy = _list(entry, "busy") if "busy" in entry else [0, 0]
    if len(busy) != 2:
        raise CheckpointEntryError("busy: should be two numbers")
    _each(busy[:1], "busy", _MOST)
    _each(busy[1:], "busy", _LAST_PART)
    _check_jobs(_object(entry, "jobs"))


def _check_jobs(jobs: Mapping[str, Any]) -> None:
    counts = _list(jobs, "counts")
    if len(counts) < len(COUNTS):
        raise CheckpointEntryError(f"counts: should be {len(COUNTS)} numbers")
    _each(counts, "counts")
    _list(jobs, "bounds")
    _each(_list(jobs, "wait"), "wait")
    processing = _object(jobs, "processing")
    for outcome in OUTCOMES:
        _each(_list(processing, outcome), outcome)
    if jobs.get("native") is not None:
        for name, numbers in _object(jobs, "native").items():
            _check_native(numbers, f"native.{name}")
    if "reasons" in jobs:
        _check_reasons(_object(jobs, "reasons"))
    if "names" in jobs:
        _check_names(_object(jobs, "names"))
    for name in ("waits", "active", "returned"):
        for pair in _list(jobs, name):
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                raise CheckpointEntryError(f"{name}: should be pairs of a job and a time")
            _each(pair[1:], name, _LAST_PART)


def _check_reasons(reasons: Mapping[str, Any]) -> None:
    _whole(reasons, "other")
    for entry in _list(reasons, "known"):
        match entry:
            case [str(text), *numbers, str(job), labelled] if len(numbers) == 3:
                _each(numbers, "known")
                _each([] if labelled is None else [labelled], "known")
                if not 0 < len(text) <= LONGEST_REASON or len(job) > LONGEST_JOB:
                    raise CheckpointEntryError("known: should have texts of their length")
                if text == OTHER_REASONS:  # a second series of the same labels
                    raise CheckpointEntryError(f"known: should have no reason {text}")
                if not (text + job).isprintable():  # nor half a sign, which no exposition can have
                    raise CheckpointEntryError("known: should be a text on one line")
            case _:
                raise CheckpointEntryError("known: should be reasons with their counts and times")


def _check_names(names: Mapping[str, Any]) -> None:
    for entry in _list(names, "names"):
        match entry:
            case [str(text), last, jobs, ms, counts]:
                _each([last], "names", _LAST_PART)
                _each([jobs, ms], "names")
                if not 0 < len(text) <= LONGEST_JOB_NAME or not text.isprintable():
                    raise CheckpointEntryError("names: should have a text on one line")
                if text in (OTHER_NAMES, UNKNOWN_NAME):  # a second series of the same labels
                    raise CheckpointEntryError(f"names: should have no name {text}")
                if counts is not None:
                    _check_counts(counts)
            case _:
                raise CheckpointEntryError("names: should be names with their time, sizes and counts")
    for name in ("other", "unknown"):
        _check_counts(names.get(name))
    for pair in _list(names, "jobs"):
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise CheckpointEntryError("names: should have pairs of a job and a number")
        _each(pair[1:], "names")


def _check_counts(counts: Any) -> None:
    """Of one name."""
    match counts:
        case [list(numbers), [list(wait), wait_native], [list(processing), processing_native]]:
            _each(numbers + wait + processing, "names")
            if len(numbers) != len(COUNTED):
                raise CheckpointEntryError(f"names: should have {len(COUNTED)} counts")
            for native in (wait_native, processing_native):
                if native is not None:
                    _check_native(native, "names")
        case _:
            raise CheckpointEntryError("names: should have counts and durations")


def _check_native(numbers: Any, name: str) -> None:
    if not isinstance(numbers, list):
        raise CheckpointEntryError(f"{name}: should be a list")
    _each(numbers[:2] + numbers[3:], name)
    _each(numbers[2:3], name, _MOST, least=-_MOST)


def _check_id(text: str) -> None:
    found = _ID.fullmatch(text)
    if found is None or any(int(part or 0) > _LAST_PART for part in found.groups()):
        raise CheckpointEntryError("last: should be the id of an entry")


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise CheckpointEntryError(f"{name}: should be a text")
    return value


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    if not isinstance(value, list):
        raise CheckpointEntryError(f"{name}: should be a list")
    return value


def _object(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    if not isinstance(value, dict):
        raise CheckpointEntryError(f"{name}: should be an object")
    return value


def _whole(data: Mapping[str, Any], name: str, least: int = 0) -> None:
    _each([data.get(name)], name, least=least)


def _each(numbers: list[Any], name: str, most: int = _MOST, least: int = 0) -> None:
    """A bool is none, and neither is a float: what is counted is whole."""
    for number in numbers:
        if type(number) is not int or not least <= number <= most:
            raise CheckpointEntryError(f"{name}: should be a whole number from {least} to {most}")
