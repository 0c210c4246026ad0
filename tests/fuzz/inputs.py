"""The forms that inputs have, and how they are kept in files: the corpus, and what made a target fail."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import hiredis

from exporter.redis.protocol import Reply, ReplyError
from tests.fuzz.mutation import Mutator, Tree


class NotAnInputError(Exception):
    """A file that is none of this form."""


@dataclass(frozen=True)
class Form:
    """Bytes as they are."""

    name: str

    def decoded(self, raw: bytes) -> Any:
        """From a file. Raises NotAnInputError."""
        return raw

    def encoded(self, value: Any) -> bytes:
        """As a file that `decoded` reads."""
        assert isinstance(value, bytes)
        return value

    def changed(self, mutator: Mutator, value: Any, other: Any) -> Any:
        return mutator.changed_bytes(value, other)


class _Json(Form):
    """Data of JSON."""

    def decoded(self, raw: bytes) -> Tree:
        try:
            return json.loads(raw)
        except ValueError as error:
            raise NotAnInputError(str(error)) from None

    def encoded(self, value: Tree) -> bytes:
        return json.dumps(value, indent=1).encode() + b"\n"

    def changed(self, mutator: Mutator, value: Tree, other: Tree) -> Tree:
        return mutator.changed_data(value, other)


class _Lines(Form):
    """A JSON document in each line; as data a list."""

    def decoded(self, raw: bytes) -> Tree:
        try:
            return [json.loads(line) for line in raw.splitlines()]
        except ValueError as error:
            raise NotAnInputError(str(error)) from None

    def encoded(self, value: Tree) -> bytes:
        return b"".join(json.dumps(line).encode() + b"\n" for line in value)

    def changed(self, mutator: Mutator, value: Tree, other: Tree) -> Tree:
        changed = mutator.changed_data(value, other)
        return changed if isinstance(changed, list) else [changed]


class _Replies(Form):
    """Replies of Redis, one after the other as RESP."""

    def decoded(self, raw: bytes) -> Tree:
        reader = hiredis.Reader(replyError=ReplyError, notEnoughData=_END, errors="replace")
        reader.feed(raw)
        replies: list[Any] = []
        try:
            while (reply := reader.gets()) is not _END:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            raise NotAnInputError(str(error)) from None
        return replies

    def encoded(self, value: Tree) -> bytes:
        return b"".join(map(_resp, value))

    def changed(self, mutator: Mutator, value: Tree, other: Tree) -> Tree:
        return mutator.changed_replies(value, other)


def compact(data: Tree) -> bytes:
    """JSON without spaces: what is indented takes five times as long to write."""
    return json.dumps(data, separators=(",", ":")).encode()


_END: Final = object()
TEXT: Final = Form("text")
JSON: Final = _Json("json")
LINES: Final = _Lines("lines")
REPLIES: Final = _Replies("replies")


def _resp(reply: Reply) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case int():
            return b":%d\r\n" % reply
        case ReplyError():
            return b"-%b\r\n" % str(reply).encode("utf-8", "replace")
    return b"*%d\r\n%b" % (len(reply), b"".join(map(_resp, reply)))
