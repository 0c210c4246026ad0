"""Commands that met a slot that is half moved, and what to send instead. Without I/O.

While a slot moves (CLUSTER SETSLOT ... MIGRATING), its owner refuses keys that it does not have any more: ASK
names the node that has them, which answers after ASKING. A command with several keys is refused by both nodes
while its keys are on both (TRYAGAIN), so EXISTS is sent with one key at a time
(redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec, "ASK redirection").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from exporter.redis.protocol import Reply, ReplyError, Request, pack, pack_request

_HALF_MOVED: Final = frozenset({"ASK", "TRYAGAIN"})
_ASKING: Final = pack("ASKING")


def met_half_moved_slot(replies: Sequence[Reply]) -> bool:
    """Whether any command was refused because its slot is half moved; cheap for thousands of replies."""
    return ReplyError in set(map(type, replies)) and any(map(_half_moved, replies))


class Redirects:
    """The commands of one request that are sent again: first singly to the same node, then to the other one.

    `replies` is the result; a command that was not sent again, or in vain, keeps its error.
    """

    def __init__(self, request: Request, replies: Sequence[Reply]) -> None:
        commands = split_request(request)
        self._replies = list(replies)
        self._keys: dict[int, list[bytes]] = {}
        self._counts: dict[int, list[Reply]] = {}
        self._asked: list[tuple[int, int | None, bytes, str]] = []  # reply, key of EXISTS, command, endpoint
        for index in (number for number, reply in enumerate(replies) if _half_moved(reply)):
            command = commands[index]
            verb, *keys = command
            if verb.upper() == b"EXISTS" and len(keys) > 1:
                self._keys[index] = keys
            else:
                self._ask(index, None, pack(*command), replies[index])

    def single_keys(self) -> Request | None:
        """EXISTS for one key at a time, for the node that refused them together; None if there is none."""
        keys = [key for keys in self._keys.values() for key in keys]
        return pack_request([("EXISTS", key) for key in keys]) if keys else None

    def apply_single_keys(self, replies: Sequence[Reply]) -> None:
        """The replies to `single_keys`."""
        remaining = iter(replies)
        for index, keys in self._keys.items():
            counts = self._counts[index] = [next(remaining) for _ in keys]
            for position, (key, reply) in enumerate(zip(keys, counts, strict=True)):
                self._ask(index, position, pack("EXISTS", key), reply)

    def asking(self, node_of: Callable[[str], str | None]) -> dict[str, Request]:
        """The request to each node that has moved keys; `node_of` gives the known node at an endpoint.

        An endpoint that is not a known node gets nothing: whoever can name a node would get the password.
        """
        packed: dict[str, list[bytes]] = {}
        self._sent: dict[str, list[tuple[int, int | None]]] = {}
        for index, position, command, endpoint in self._asked:
            node = node_of(endpoint)
            if node is not None:
                packed.setdefault(node, []).extend((_ASKING, command))
                self._sent.setdefault(node, []).append((index, position))
        return {node: Request(b"".join(parts), len(parts)) for node, parts in packed.items()}

    def apply_asked(self, replies: Mapping[str, Sequence[Reply]]) -> None:
        """The replies to `asking`, without the nodes that did not answer."""
        for node, answers in replies.items():
            pairs = zip(answers[::2], answers[1::2], strict=True)
            for (index, position), (asking, reply) in zip(self._sent[node], pairs, strict=True):
                # A server that refuses ASKING answers the command with MOVED, which would be misleading.
                answer = asking if isinstance(asking, ReplyError) else reply
                if position is None:
                    self._replies[index] = answer
                else:
                    self._counts[index][position] = answer

    @property
    def replies(self) -> list[Reply]:
        for index, counts in self._counts.items():
            errors = [count for count in counts if not isinstance(count, int)]
            self._replies[index] = errors[0] if errors else sum(c for c in counts if isinstance(c, int))
        return self._replies

    def _ask(self, index: int, position: int | None, command: bytes, reply: Reply) -> None:
        if isinstance(reply, ReplyError) and reply.code == "ASK":
            self._asked.append((index, position, command, str(reply).rpartition(" ")[2]))


def split_request(request: Request) -> list[list[bytes]]:
    """The commands of a request, each as its arguments. Reads only what `pack` writes."""
    commands: list[list[bytes]] = []
    raw, at = request.packed, 0
    while at < len(raw):
        end = raw.index(b"\r\n", at)
        arguments = []
        for _ in range(int(raw[at + 1 : end])):
            start = raw.index(b"\r\n", end + 2) + 2
            size = int(raw[end + 3 : start - 2])
            arguments.append(raw[start : start + size])
            end = start + size
        commands.append(arguments)
        at = end + 2
    return commands


def _half_moved(reply: Reply) -> bool:
    return isinstance(reply, ReplyError) and reply.code in _HALF_MOVED
