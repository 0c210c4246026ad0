"""Lines and figures on jobs, for page and commands. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from service.i18n import Translator
from service.units import duration, printable

_Data: TypeAlias = Mapping[str, Any]
"""A view, or a part of it."""

_MOST_FAILING: Final = 5
_LATELY: Final = 86_400.0  # seconds


def largest_names(queues: Sequence[_Data], most: int) -> list[tuple[_Data, _Data]]:
    """The names that took most time, each with its queue, of queues whose jobs have several names."""
    named = [
        (queue, name)
        for queue in queues
        if len(queue.get("job_names") or ()) > 1
        for name in queue["job_names"]
    ]
    return sorted(named, key=lambda each: (-each[1]["processing_seconds"], -each[1]["added"]))[:most]


def failed_reason_lines(view: _Data, translator: Translator, *, prefixed: bool) -> list[str]:
    """Why most jobs failed, of the reasons that came within a day; a line each. `prefixed`: queues are named
    with their prefix."""
    now = view.get("taken_at") or 0.0
    lately = [
        (reason, queue)
        for queue in view["queues"]["queues"]
        for reason in queue.get("failed_reasons") or ()
        if now - reason["last"] < _LATELY
    ]
    lately.sort(key=lambda each: (-each[0]["jobs"], each[0]["reason"]))
    return [
        translator.translate(
            "reasons.line",
            queue=printable(f"{queue['prefix']}:{queue['name']}" if prefixed else queue["name"]),
            count=reason["jobs"],
            reason=printable(reason["reason"]),
            ago=duration(now - reason["last"]),
            job=printable(reason["job"]),
        )
        for reason, queue in lately[:_MOST_FAILING]
    ]
