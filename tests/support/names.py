"""Names of hosts in tests: those of loopback resolve, `.invalid` fails as it does on every resolver."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Final, NoReturn

RESOLVERS: Final = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
"""The functions of `socket` that may query a resolver."""


class LocalNames:
    """Wraps the functions of RESOLVERS and records names that are neither local nor `.invalid`."""

    def __init__(self) -> None:
        self._refused: list[str] = []

    def resolve(
        self, real: Callable[..., object], host: str | bytes | None, *rest: object, **more: object
    ) -> object:
        """As `real`, for a name that needs no resolver. Raises gaierror for any other name."""
        name = host.decode() if isinstance(host, bytes) else host
        if name is None or needs_no_resolver(name):
            return real(host, *rest, **more)
        if not name.rstrip(".").endswith(".invalid"):
            self._refused.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def take_refused(self) -> list[str]:
        """The names that needed a resolver since the last call."""
        refused, self._refused = self._refused, []
        return refused


def no_name_of(address: str) -> NoReturn:
    """Replaces gethostbyaddr, which every `http.server` calls for its own name but does not need."""
    raise socket.herror(1, "Unknown host")


def needs_no_resolver(name: str) -> bool:
    """Whether it is an address, or a name of loopback, which RFC 6761 excludes from resolvers."""
    if name == "" or name.rstrip(".").lower().rpartition(".")[2] == "localhost":
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
