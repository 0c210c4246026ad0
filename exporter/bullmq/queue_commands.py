"""The same commands for many queues, packed by a template: that is a tenth of the time. Pure."""

from __future__ import annotations

from typing import Final

from exporter.bullmq.keys import base
from exporter.redis.protocol import Argument, Request, pack
from exporter.snapshot.queues import QueueId

_BASE: Final = b"\xff\xfebase\xfe\xff"  # no key of a command has it: these bytes are not UTF-8


class Key(str):
    """A key of the queue, without the part that all of its keys share."""

    __slots__ = ()


class QueueCommands:
    """Commands of which some arguments are a `Key`; `request` has them for one queue."""

    def __init__(self, *commands: tuple[Argument, ...]) -> None:
        self._commands = commands
        self._templates: dict[int, bytes] = {}

    def request(self, queue: QueueId) -> Request:
        return Request(self.packed(base(queue).encode("utf-8", "surrogateescape")), len(self._commands))

    def packed(self, raw: bytes) -> bytes:
        """The same for keys that begin with these bytes."""
        template = self._templates.get(len(raw))
        if template is None:
            template = self._templates[len(raw)] = self._template(len(raw))
        return template.replace(_BASE, raw)

    def _template(self, length: int) -> bytes:
        """As packed for a queue whose keys begin with so many bytes."""
        stand_in = b"\xff" * length
        packed = b"".join(
            pack(*(stand_in + part.encode() if isinstance(part, Key) else part for part in command))
            for command in self._commands
        )
        return packed.replace(stand_in, _BASE)
