"""What host names and addresses lead to in this process, without the system's resolver."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Resolver:
    """`hosts` maps a host to the IP that it leads to, or to None if it cannot be resolved; other hosts are
    looked up as usual. `asked` has every host that was looked up."""

    hosts: dict[str, str | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch) -> Resolver:
        resolver, usual = cls(), socket.getaddrinfo

        def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
            resolver.asked.append(host)
            leads_to = resolver.hosts.get(host, host)
            if leads_to is None:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return usual(leads_to, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return resolver
