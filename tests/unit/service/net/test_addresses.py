"""Look-ups of names while the resolver hangs, fails or works again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from exporter.redis.connect import ConnectionOptions, open_connection
from lab.deadline import wait_until
from service.clock import Deadline
from service.net import addresses
from service.net.addresses import addresses_of
from service.outcome import UnreadableError
from service.threads import NoThreadError

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]
pytestmark = pytest.mark.fault


class Resolver:
    """Hangs until `works` is set."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.asked = 0

    def getaddrinfo(self, host: str, *_: Any, **__: Any) -> Any:
        self.asked += 1
        self.works.wait(10)
        if host == "nowhere.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return FOUND


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.works.set()
    wait_until(lambda: not threads(), what="no look-up is left")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("resolve ")]


def test_however_often_a_name_is_asked_for_few_threads_hang(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(50):
        with pytest.raises(TimeoutError):
            addresses_of("slow.test", 80, Deadline.after(0.001))
    assert threads() == ["resolve slow.test"]
    monkeypatch.setattr(addresses, "_PATIENCE", 0.0)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            addresses_of("slow.test", 80, Deadline.after(0.001))
    assert len(threads()) == addresses._MOST


def test_all_who_wait_get_the_answer(resolver: Resolver) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(addresses_of, "a.test", 80, Deadline.after(10)) for _ in range(8)]
        wait_until(lambda: resolver.asked, what="it is asked")
        time.sleep(0.05)
        resolver.works.set()
        assert [one.result() for one in asked] == [FOUND] * 8
    assert resolver.asked == 1


def test_all_who_wait_get_an_error_of_their_own(resolver: Resolver) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(addresses_of, "nowhere.test", 80, Deadline.after(10)) for _ in range(8)]
        wait_until(lambda: resolver.asked, what="it is asked")
        resolver.works.set()
        errors = [one.exception() for one in asked]
    assert all(isinstance(error, socket.gaierror) and error.strerror == "no such name" for error in errors)
    assert len(set(map(id, errors))) == 8


def test_without_room_for_a_thread_it_is_asked_in_this_one(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise NoThreadError

    monkeypatch.setattr(addresses, "start_thread", no_room)
    resolver.works.set()
    assert addresses_of("a.test", 80, Deadline.after(1)) == FOUND


def test_an_address_needs_no_thread_and_a_name_is_not_kept(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.works.set()
    for _ in range(2):
        assert addresses_of("a.test", 80, Deadline.after(5)) == FOUND
    assert resolver.asked == 2
    monkeypatch.setattr(addresses, "start_thread", None)
    assert addresses_of("fe80::1%eth0", 80, Deadline.after(5)) == FOUND


@pytest.mark.usefixtures("resolver")
def test_redis_by_a_name_that_is_not_found_in_time_is_a_timeout() -> None:
    begun = time.monotonic()
    with pytest.raises(UnreadableError) as caught:
        open_connection("slow.test", 6379, ConnectionOptions(), Deadline.after(0.2))
    assert caught.value.kind == "timeout"
    assert time.monotonic() - begun < 2
