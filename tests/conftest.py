"""Real servers for tests. One that is missing is an error that names its package, never a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.cluster import RedisCluster, start_cluster
from lab.redis import RedisServer, start_redis
from lab.sentinel import SentinelSet, start_sentinel_set
from lab.tls import Certificates, make_certificates

SETTINGS = ("REDIS_", "BULLMQ_", "EXPORTER_", "MONITORING_", "ENABLE_", "SCALER_", "SCALING_", "CRON_API_KEY")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The environment of whoever runs the tests says nothing to them or to what they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(SETTINGS):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    """Every process that a test or a fixture started has ended when the session does."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [process for process in psutil.Process().children(recursive=True) if process not in before]
    if left:
        pytest.fail(f"left running: {[(process.pid, process.cmdline()) for process in left]}")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for tests that leave it running and keep to keys of their own."""
    with start_redis() as server:
        yield server


@pytest.fixture
def fresh_redis() -> Iterator[RedisServer]:
    """A server that the test may stop, suspend or fill."""
    with start_redis() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Three masters, three replicas, for tests that leave them as they are."""
    with start_cluster() as cluster:
        yield cluster


@pytest.fixture
def fresh_cluster() -> Iterator[RedisCluster]:
    """Three masters, three replicas, which the test may break."""
    with start_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sentinel_set() -> Iterator[SentinelSet]:
    """A master, two replicas, three Sentinels, for tests that leave them as they are."""
    with start_sentinel_set() as servers:
        yield servers


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
