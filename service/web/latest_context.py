"""A TLS context that may be replaced while a socket listens with it."""

from __future__ import annotations

import ssl
from typing import Self


class LatestContext(ssl.SSLContext):
    """Each connection gets the context of now: a listening socket keeps the one that it was given."""

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, latest: ssl.SSLContext) -> None:
        self.latest = latest

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  # as the standard library has it
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.latest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
