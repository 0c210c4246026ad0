"""Which targets serve the queue that a person means by a name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from scaler.config.settings import is_glob, matching
from service.queue_names import queues_meant, without_tag


class Serving(Protocol):
    """A target: its name, the key prefix of its queues, their names and patterns as they are set."""

    @property
    def name(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def queues(self) -> Sequence[str]: ...


T = TypeVar("T", bound=Serving)


def targets_meant(targets: Sequence[T], name: str) -> list[T]:
    """The target of this name, else all that serve the queue that the name means."""
    meant_by_name = [target for target in targets if target.name == name]
    return meant_by_name[:1] or targets_serving(targets, name)


def targets_serving(targets: Sequence[T], name: str) -> list[T]:
    """All that serve the queue that the name means; patterns count where no target names a queue so."""
    queues = {(target.prefix, queue) for target in targets for queue in target.queues}
    meant = queues_meant(name, sorted(queue for queue in queues if not is_glob(queue[1])))
    if meant:
        return [
            target for target in targets if any((target.prefix, queue) in meant for queue in target.queues)
        ]
    for text in (name, f"{{{without_tag(name)}}}"):
        serving = [
            target
            for target in targets
            if any(is_glob(queue) for queue in target.queues) and text in matching(target.queues, [text])
        ]
        if serving:
            return serving
    return []
