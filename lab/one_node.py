"""A server that calls itself a cluster of one node, as Dragonfly does: a proxy before a single Redis."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any, Final, Self

import hiredis

from lab.redis import HOST, RedisServer

_NODES: Final = "{id} {address}@{port} myself,master - 0 0 1 connected 0-16383\n"
_NODE_ID: Final = "a" * 40


class OneNodeCluster:
    """Answers CLUSTER itself and INFO with `redis_mode:cluster`; passes all else on to the server."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._listener = socket.create_server((HOST, 0))
        self.address: Final = f"{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        reader = hiredis.Reader()
        with client, socket.create_connection((HOST, self._server.port)) as upstream:
            replies = hiredis.Reader()
            while data := client.recv(1 << 16):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    client.sendall(self._answer(command, upstream, replies))

    def _answer(self, command: list[bytes], upstream: socket.socket, replies: Any) -> bytes:
        name = command[0].upper()
        if name == b"CLUSTER":
            port = self.address.rpartition(":")[2]
            text = _NODES.format(id=_NODE_ID, address=self.address, port=port)
            return _bulk((text if command[1].upper() == b"NODES" else "cluster_state:ok\r\n").encode())
        if name == b"INFO":
            text = self._server.cli("info", *(part.decode() for part in command[1:]))
            return _bulk(text.replace("redis_mode:standalone", "redis_mode:cluster").encode())
        upstream.sendall(b"*%d\r\n" % len(command) + b"".join(map(_bulk, command)))
        raw = b""
        while True:
            data = upstream.recv(1 << 16)
            raw += data
            replies.feed(data)
            if not data or replies.gets() is not False:
                return raw


def _bulk(raw: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(raw), raw)
