"""A TCP relay in front of Redis that records the traffic, so that the floor sends the exporter's bytes."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

import hiredis


@dataclass
class Conversation:
    """The bytes of one connection in order: the client's requests and Redis' replies."""

    requested: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)

    def replies(self) -> int:
        """The number of replies."""
        reader = hiredis.Reader()
        reader.feed(bytes(self.answered))
        count = 0
        while reader.gets() is not False:
            count += 1
        return count


class Recorder:
    """Relays 127.0.0.1:`port` to a Redis on loopback while it is open."""

    def __init__(self, redis_port: int) -> None:
        self._redis_port = redis_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._conversations: list[Conversation] = []
        threading.Thread(target=self._accept, name="recorder", daemon=True).start()

    def clear(self) -> None:
        """Discard the recorded bytes; connections stay open."""
        for conversation in self._conversations:
            conversation.requested.clear()
            conversation.answered.clear()

    def conversations(self) -> list[Conversation]:
        """The connections with requests since then."""
        return [conversation for conversation in self._conversations if conversation.requested]

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._redis_port))
            conversation = Conversation()
            self._conversations.append(conversation)
            for source, target, record in (
                (client, server, conversation.requested),
                (server, client, conversation.answered),
            ):
                threading.Thread(target=_relay, args=(source, target, record), daemon=True).start()


def _relay(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    try:
        while chunk := source.recv(1 << 20):
            record.extend(chunk)
            target.sendall(chunk)
    except OSError:
        pass
    finally:
        for connection in (source, target):
            connection.close()
