"""One server: password, ACL, what is no Redis, and what hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from exporter.redis.deployment import Deployment
from exporter.redis.protocol import ReplyError, pack_request
from exporter.snapshot.redis import NodeReading, RedisState
from lab.redis import RedisServer, start_redis
from service.clock import Deadline
from service.outcome import Failed, Ok
from tests.support.deployments import Connect, collect

PASSWORD = "s3kret/with#signs@and:colons"
HIDDEN = "an error that is not shown, as it may repeat the password"
READ_ONLY = ["-@all", "+info", "+client|setname", "+slowlog|len"]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with start_redis(password=PASSWORD, config=["maxmemory 64mb"]) as started:
        started.cli("acl", "setuser", "reader", "on", f">{PASSWORD}", *READ_ONLY)
        started.cli("acl", "setuser", "nobody", "on", f">{PASSWORD}", "-@all")
        started.cli("acl", "setuser", "open", "on", "nopass", *READ_ONLY)
        yield started


def reading(state: RedisState) -> NodeReading:
    (outcome,) = state.nodes.values()
    assert isinstance(outcome, Ok), outcome
    return outcome.value


def failure(state: RedisState) -> Failed:
    (outcome,) = state.nodes.values()
    assert isinstance(outcome, Failed)
    assert PASSWORD not in outcome.message
    assert "s3kret" not in repr(state)
    return outcome


def test_a_url_with_its_password_encoded(server: RedisServer, connect: Connect) -> None:
    server.cli("set", "key", "value")
    state = collect(connect(url=server.url))
    assert state.topology.mode == "standalone"
    assert [(node.address, node.role, node.healthy) for node in state.topology.nodes] == [
        (server.address, "master", True)
    ]
    read = reading(state)
    assert read.info.text("run_id") == server.facts("info", "server")["run_id"]
    assert read.info.number("maxmemory") == 64 << 20
    assert read.keyspace["db0"].keys == 1
    assert read.commands["set"].calls >= 1
    assert read.maxclients is not None
    assert read.slowlog_length == int(server.cli("slowlog", "len"))


def test_a_password_of_its_own_and_a_user_that_may_only_read(server: RedisServer, connect: Connect) -> None:
    server.cli("acl", "log", "reset")
    deployment = connect(url=f"redis://{server.address}", username="reader", password=PASSWORD)
    assert reading(collect(deployment)).slowlog_length is not None
    assert "name=oxherd" in server.cli("client", "list")
    # The first look at a server asks whether it is a cluster; after that, nothing is asked that is refused.
    server.cli("acl", "log", "reset")
    collect(deployment)
    assert server.cli("acl", "log") == ""


def test_a_user_without_a_password(server: RedisServer, connect: Connect) -> None:
    assert collect(connect(url=f"redis://open@{server.address}")).reachable


def test_a_user_that_may_nothing_is_told_what_is_missing(server: RedisServer, connect: Connect) -> None:
    failed = failure(collect(connect(url=f"redis://{server.address}", username="nobody", password=PASSWORD)))
    assert failed.kind == "refused"
    assert failed.message.startswith("INFO: NOPERM")


def test_what_a_user_may_not_is_left_out(server: RedisServer, connect: Connect) -> None:
    server.cli("acl", "setuser", "half", "on", f">{PASSWORD}", "-@all", "+info")
    read = reading(collect(connect(url=f"redis://{server.address}", username="half", password=PASSWORD)))
    assert read.slowlog_length is None
    assert read.commands["set"].calls >= 1


@pytest.mark.parametrize(
    ("username", "password", "says"),
    [(None, "wrong", "WRONGPASS"), ("reader", "wrong", "WRONGPASS"), (None, None, "NOAUTH")],
)
def test_a_wrong_password_is_said_and_not_shown(
    server: RedisServer, connect: Connect, username: str | None, password: str | None, says: str
) -> None:
    failed = failure(collect(connect(url=f"redis://{server.address}", username=username, password=password)))
    assert failed.kind == "auth"
    assert says in failed.message
    assert "wrong" not in failed.message.replace("WRONGPASS", "")


def test_a_password_for_a_server_that_has_none(connect: Connect) -> None:
    with start_redis() as bare:
        failed = failure(collect(connect(url=f"redis://:{'x' * 9}@{bare.address}")))
    assert failed.kind == "auth"
    assert "without any password configured" in failed.message
    assert "xxx" not in failed.message


def test_another_database(server: RedisServer, connect: Connect) -> None:
    server.cli("-n", 3, "set", "there", "value")
    deployment = connect(url=server.url, database=3)
    request = pack_request([("GET", "there"), ("SELECT", 99)])
    outcome = deployment.execute({server.address: request}, Deadline.after(20), pool="test")[server.address]
    assert isinstance(outcome, Ok)
    there, refused = outcome.value
    assert there == b"value"
    assert isinstance(refused, ReplyError)
    assert refused.code == "ERR"


def test_a_database_that_there_is_not(server: RedisServer, connect: Connect) -> None:
    assert failure(collect(connect(url=f"{server.url}/99"))).message.startswith("database refused: ERR")


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_no_more_clients(connect: Connect, password: str | None) -> None:
    with (
        start_redis(config=["maxclients 1"]) as full,
        socket.create_connection((full.host, full.port)) as taken,
    ):
        taken.sendall(b"PING\r\n")
        assert taken.recv(99) == b"+PONG\r\n"
        failed = failure(collect(connect(url=full.url, password=password)))
    assert (failed.kind, failed.message) == ("refused", "ERR max number of clients reached")


def test_a_restart_between_two_collections_goes_unnoticed(connect: Connect) -> None:
    with start_redis() as restarted:
        deployment = connect(url=restarted.url)
        first = reading(collect(deployment)).info.text("run_id")
        restarted.restart()
        assert reading(collect(deployment)).info.text("run_id") != first


@pytest.mark.fault
def test_down_and_up_again(connect: Connect) -> None:
    with start_redis() as server:
        deployment = connect(url=server.url)
        assert collect(deployment).reachable
        server.stop()
        assert failure(collect(deployment)).message == "connection refused"
        server.restart()
        assert collect(deployment).reachable


@pytest.mark.fault
def test_a_server_that_hangs_and_comes_back(connect: Connect) -> None:
    with start_redis() as server:
        deployment = connect(url=server.url, timeout_seconds=0.3)
        assert collect(deployment).reachable
        server.suspend()
        assert failure(collect(deployment)).kind == "timeout"
        fresh = connect(url=server.url, timeout_seconds=0.3)
        assert failure(collect(fresh)).kind == "timeout"
        server.resume()
        assert collect(deployment).reachable
        assert collect(fresh).reachable


def test_a_slow_pool_does_not_hold_up_another(server: RedisServer, connect: Connect) -> None:
    deployment = connect(url=server.url, timeout_seconds=30)
    blocking = pack_request([("BLPOP", "nothing", 0)])
    slow = threading.Thread(
        target=deployment.execute,
        args=({server.address: blocking}, Deadline.after(30)),
        kwargs={"pool": "slow"},
    )
    slow.start()
    assert collect(deployment).reachable
    assert slow.is_alive()
    server.cli("rpush", "nothing", "something")
    slow.join(20)
    assert not slow.is_alive()


class _Web(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does `serve` with each connection, at the yielded host:port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        host, port = listener.getsockname()
        yield f"{host}:{port}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(20)


def failed_at(connect: Connect, address: str, **settings: object) -> Failed:
    return failure(collect(connect(url=f"redis://{address}", timeout_seconds=0.3, **settings)))


def test_a_web_server_is_no_redis(connect: Connect) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Web) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        failed = failed_at(connect, f"127.0.0.1:{web.server_port}")
        web.shutdown()
        thread.join(20)
    assert (failed.kind, failed.message) == (
        "protocol",
        "the reply is not Redis protocol: another server, or TLS",
    )


def test_a_server_that_repeats_the_password_in_its_error_is_not_repeated(connect: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(f"-ERR unknown command 'AUTH', with args: '{PASSWORD}'\r\n+OK\r\n".encode())
        connection.recv(4096)

    with listening(serve) as address:
        failed = failed_at(connect, address, password=PASSWORD)
    assert (failed.kind, failed.message) == ("auth", f"user name or password refused: {HIDDEN}")


def test_not_even_if_it_then_hangs_up(connect: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(f"-ERR unknown command 'AUTH', with args: '{PASSWORD}'\r\n".encode())

    with listening(serve) as address:
        failed = failed_at(connect, address, password=PASSWORD)
    assert (failed.kind, failed.message) == ("refused", HIDDEN)


@pytest.mark.fault
def test_a_server_that_answers_more_than_it_was_asked(connect: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"+OK\r\n+OK\r\n")

    with listening(serve) as address:
        failed = failed_at(connect, address)
    assert (failed.kind, failed.message) == ("protocol", "more replies than commands")


def test_a_server_that_says_nothing(connect: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with listening(serve) as address:
        failed = failed_at(connect, address)
    assert (failed.kind, failed.message) == ("timeout", "no answer in time")


@pytest.mark.fault
def test_a_server_that_trickles_gains_no_time(connect: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.settimeout(0.05)
        try:
            while True:
                connection.sendall(b"+")
                try:
                    connection.recv(1)
                except TimeoutError:
                    continue
        except OSError:
            return

    with listening(serve) as address:
        failed = failed_at(connect, address)
    assert failed.kind == "timeout"


def test_a_server_that_hangs_up(connect: Connect) -> None:
    with listening(lambda connection: connection.close()) as address:
        failed = failed_at(connect, address)
    assert failed.kind == "unreachable"


def test_a_name_that_nobody_knows(connect: Connect) -> None:
    failed = failed_at(connect, "no-such-host.invalid:6379")
    assert failed.kind in ("unreachable", "timeout")


def test_a_sentinel_behind_a_url_says_which_settings_to_use(connect: Connect, sentinel_address: str) -> None:
    assert "REDIS_SENTINELS" in failed_at(connect, sentinel_address).message


@pytest.fixture
def sentinel_address() -> Iterator[str]:
    from lab.redis import launch_redis

    with launch_redis(sentinel=True) as sentinel:
        sentinel.wait()
        yield sentinel.address


def test_nothing_is_left_behind(server: RedisServer, connect: Connect) -> None:
    deployment: Deployment = connect(url=server.url)
    collect(deployment)
    threads = [thread for thread in threading.enumerate() if thread.name == f"redis redis {server.address}"]
    deployment.close()
    threads[-1].join(20)
    assert not threads[-1].is_alive()
