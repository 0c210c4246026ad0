"""Which queue a person means by a name: API and commands of both processes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

PrefixedName: TypeAlias = tuple[str, str]
"""A queue's key prefix and its name."""


def queues_meant(name: str, queues: Iterable[PrefixedName]) -> list[PrefixedName]:
    """The queues that the name means: one if it is unambiguous, none if there is no such queue.

    The name itself counts first, then `prefix:name`, then the name without a {hash tag}: in a cluster the
    queue `{mail}` is called mail.
    """
    known = sorted(set(queues))
    for is_meant in _READINGS:
        meant = [queue for queue in known if is_meant(name, queue)]
        if meant:
            return meant
    return []


def without_tag(name: str) -> str:
    """The name without the braces of its hash tag."""
    before, opened, rest = name.partition("{")
    inside, closed, after = rest.partition("}")
    return before + inside + after if opened and closed and inside else name


def shown_names(queues: Iterable[PrefixedName]) -> str:
    """The queues as `prefix:name`, which names each of them unambiguously."""
    return ", ".join(":".join(queue) for queue in queues)


_READINGS: Final[tuple[Callable[[str, PrefixedName], bool], ...]] = (
    lambda name, queue: name == queue[1],
    lambda name, queue: name == ":".join(queue),
    lambda name, queue: without_tag(name) == without_tag(queue[1]),
    lambda name, queue: without_tag(name) == without_tag(":".join(queue)),
)
