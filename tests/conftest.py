"""Real servers for tests. A missing program is an error that names its package, never a skip."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

from lab.cluster import LocalCluster, start_cluster
from lab.redis import RedisServer, server_version, start_redis
from lab.sentinel import SentinelSet, start_sentinel_set
from lab.tls import Certificates, make_certificates
from service.logs import Formatter
from tests.support.hangs import raise_timed_out
from tests.support.names import RESOLVERS, LocalNames, no_name_of

SETTINGS = (
    "REDIS_",
    "BULLMQ_",
    "EXPORTER_",
    "MONITORING_",
    "ENABLE_",
    "SCALER_",
    "SCALING_",
    "OTLP_",
    "CRON_API_KEY",
)

# How long an example or its generation takes says more about the machine than about the code.
settings.register_profile(
    "oxherd",
    parent=settings.get_profile("default"),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("oxherd")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that a test runs in this process configures the log: the tests after it would see nothing."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in handlers and isinstance(handler.formatter, Formatter):
            root.removeHandler(handler)


_TIMER = pytest.StashKey[Any]()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, object, object]:
    """Fail with an error that hypothesis does not treat as a failed example, which it would repeat."""
    done = yield
    item.stash[_TIMER] = settings
    fail = signal.getsignal(signal.SIGALRM)
    if callable(fail):
        signal.signal(signal.SIGALRM, partial(raise_timed_out, fail))
    return done


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Bound the teardown too: pytest-timeout ends its timer when a test fails."""
    if _TIMER in item.stash:
        item.config.hook.pytest_timeout_cancel_timer(item=item)
        item.config.hook.pytest_timeout_set_timer(item=item, settings=item.stash[_TIMER])


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Settings in the environment do not apply to the tests, nor to their processes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SETTINGS):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _local_names() -> Iterator[LocalNames]:
    """Names are resolved locally or fail; no resolver is queried."""
    local = LocalNames()
    with pytest.MonkeyPatch.context() as patch:
        for name in RESOLVERS:
            real: Callable[..., object] = getattr(socket, name)
            patch.setattr(socket, name, partial(local.resolve, real))
        patch.setattr(socket, "gethostbyaddr", no_name_of)
        yield local


@pytest.fixture(autouse=True)
def _no_name_from_outside(_local_names: LocalNames) -> Iterator[None]:
    """A test that resolves an external name fails, even if its code catches the error."""
    yield
    names = _local_names.take_refused()
    if names:
        pytest.fail(f"would have queried a resolver for {names}")


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    """Every process that a test or a fixture started has ended when the session does."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [process for process in psutil.Process().children(recursive=True) if process not in before]
    if left:
        pytest.fail(f"left running: {[(process.pid, process.cmdline()) for process in left]}")


@pytest.fixture
def redis_from_7(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that the test starts are the usual ones, where OXHERD_REDIS_SERVER is before Redis 7:
    it announces no names and counts no entries of a stream. Fails where the usual one is as old."""
    if server_version() < (7, 0):
        monkeypatch.delenv("OXHERD_REDIS_SERVER")
        assert server_version() >= (7, 0)


@pytest.fixture(scope="session")
def _lasting_redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


@pytest.fixture(scope="module")
def redis_server(_lasting_redis: RedisServer) -> RedisServer:
    """One server, empty at each file's start, for tests that leave it running and use separate keys."""
    _lasting_redis.cli("flushall")
    return _lasting_redis


@pytest.fixture
def fresh_redis() -> Iterator[RedisServer]:
    """A server that the test may stop, suspend or fill."""
    with start_redis() as server:
        yield server


@pytest.fixture(scope="session")
def _lasting_cluster() -> Iterator[LocalCluster]:
    with start_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_cluster(_lasting_cluster: LocalCluster) -> LocalCluster:
    """Three masters, three replicas, empty at each file's start, for tests that leave them as they are."""
    for master in _lasting_cluster.masters():
        master.cli("flushall")  # jobs that another file left waiting become a critical issue with time
    return _lasting_cluster


@pytest.fixture
def fresh_cluster() -> Iterator[LocalCluster]:
    """Three masters, three replicas, which the test may break."""
    with start_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _lasting_sentinel_set() -> Iterator[SentinelSet]:
    with start_sentinel_set() as servers:
        yield servers


@pytest.fixture(scope="module")
def sentinel_set(_lasting_sentinel_set: SentinelSet) -> SentinelSet:
    """A master, two replicas, three Sentinels, empty at each file's start; tests leave them as they are."""
    _lasting_sentinel_set.master().cli("flushall")
    return _lasting_sentinel_set


@pytest.fixture
def fresh_sentinel_set() -> Iterator[SentinelSet]:
    """A master, two replicas, three Sentinels, which the test may break."""
    with start_sentinel_set() as servers:
        yield servers


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, a server's and a client's certificate."""
    directory: Path = tmp_path_factory.mktemp("tls")
    return make_certificates(directory)


@pytest.fixture(scope="session")
def tls_redis(certificates: Certificates) -> Iterator[RedisServer]:
    """A server that speaks only TLS, and only with clients that show a certificate of the same authority."""
    with start_redis(tls=certificates) as server:
        yield server
