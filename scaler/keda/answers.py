"""What KEDA is told: which target a trigger means, and the metric's name. Pure.

The number is the value of a metric whose target is 1: the HPA's ceil(value / target) is this number. Where
there is none it is an error, so that KEDA keeps the replicas, and its `fallback` applies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from scaler.engines.decisions import NoAnswer
from scaler.serving import Serving, targets_serving

METRIC: Final = "recommended-replicas"
"""The name of the only metric. KEDA puts the number of the trigger before it."""

METRIC_TARGET: Final = 1
"""Its target for the HPA, as an average of all replicas."""

_LONGEST_NAME: Final = 100  # characters of a name that is repeated
_NEAR: Final = 3  # names that are suggested


def known_target(targets: Sequence[Serving], metadata: Mapping[str, str]) -> str | NoAnswer:
    """The name of the target that the metadata of a trigger mean by `target` or `queue`."""
    named, queue = metadata.get("target", ""), metadata.get("queue", "")
    if bool(named) == bool(queue):
        given = "has both" if named else "has neither"
        return NoAnswer("INVALID_ARGUMENT", f"the trigger's metadata {given}: set target or queue")
    names = [target.name for target in targets]
    if named:
        return (
            named if named in names else NoAnswer("NOT_FOUND", _unknown("no target is called", named, names))
        )
    meant = [target.name for target in targets_serving(targets, queue)]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        queues = {queue for target in targets for queue in target.queues}
        return NoAnswer("NOT_FOUND", _unknown("no target serves queue", queue, queues))
    which = ", ".join(sorted(meant)[:_NEAR])
    why = f"several targets serve queue {_shown(queue)}: set target to one of them ({which})"
    return NoAnswer("INVALID_ARGUMENT", why)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name[:_LONGEST_NAME], names, n=_NEAR) or names[:_NEAR]
    nearest = f"the nearest: {', '.join(near)}" if near else "the settings have no targets"
    return f"{what} {_shown(name)}: {nearest}"


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
