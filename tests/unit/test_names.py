from __future__ import annotations

import socket

import pytest

from tests.support.names import LocalNames, needs_no_resolver


@pytest.mark.parametrize(
    "name", ["", "localhost", "a.localhost", "LOCALHOST.", "127.0.0.2", "::1", "fe80::1%lo"]
)
def test_what_needs_no_resolver(name: str) -> None:
    assert needs_no_resolver(name)


@pytest.mark.parametrize("name", ["example.com", "redis", "localhost.example.com", "127.0.0.1.example.com"])
def test_a_name_that_a_resolver_would_be_asked_for_is_kept(name: str) -> None:
    names = LocalNames()
    with pytest.raises(socket.gaierror):
        names.resolve(socket.getaddrinfo, name, 80)
    assert names.take_refused() == [name]
    assert names.take_refused() == []


def test_an_invalid_name_fails_as_it_does_on_a_resolver() -> None:
    with pytest.raises(socket.gaierror, match="Name or service not known") as error:
        socket.getaddrinfo("nowhere.invalid", 80)
    assert error.value.errno == socket.EAI_NONAME


def test_a_server_does_without_its_name() -> None:
    assert socket.getfqdn("127.0.0.1") == "127.0.0.1"
    assert socket.getfqdn() == socket.gethostname()


def test_loopback_resolves() -> None:
    assert socket.gethostbyname("127.0.0.2") == "127.0.0.2"
    assert socket.getaddrinfo(None, 80)
