"""The external scaler over real gRPC, asked by a client that protoc generates of our .proto."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from lab.deadline import wait_until
from lab.tls import Certificates, issue_server_certificate, make_certificates
from scaler.config.keda import KedaTlsSettings
from scaler.engines.certificates import certificates_of
from scaler.engines.decisions import Decisions
from scaler.keda import server as keda_server
from scaler.keda.answers import METRIC
from scaler.keda.server import KedaServer
from scaler.model import QueueSample
from service.web.server import BindError, listening_socket
from tests.support.engine_steps import AT, decided, target, target_step
from tests.support.keda_client import metrics_request, ref, stub

IDLE = target_step(0, sample=QueueSample(AT - 1, 0.0, 0.0), idle=301.0)
SECONDS = 10.0


@contextmanager
def served(decisions: Decisions | None = None, **given: Any) -> Iterator[KedaServer]:
    server = KedaServer("127.0.0.1", 0, decisions or decided(target_step()), clock=lambda: AT, **given)
    server.start()
    try:
        yield server
    finally:
        assert server.stop()


@contextmanager
def client(server: KedaServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield stub(channel)


@pytest.fixture
def server() -> Iterator[KedaServer]:
    with served() as running:
        yield running


@pytest.fixture
def keda(server: KedaServer) -> Iterator[Any]:
    with client(server) as made:
        yield made


def error_of(call: Any) -> tuple[str, str]:
    """The code and the text of the error of a call."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code().name, error.details()


class Stream:
    """What a StreamIsActive is told, in the order in which it comes; at its end None."""

    def __init__(self, keda: Any, **metadata: str) -> None:
        self.call = keda.StreamIsActive(ref(**metadata))
        self.told: queue.Queue[bool | None] = queue.Queue()
        self.error = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for response in self.call:
                self.told.put(response.result)
        except grpc.RpcError as error:
            known: Any = error
            self.error = known.code().name
        self.told.put(None)

    def next(self, seconds: float = SECONDS) -> bool | None:
        return self.told.get(timeout=seconds)


def test_what_keda_makes_an_hpa_of(keda: Any) -> None:
    """An average of 1 for each replica: ceil(7 / 1) is 7."""
    (spec,) = keda.GetMetricSpec(ref(target="mail"), timeout=SECONDS).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == (METRIC, 1, 1.0)
    request = metrics_request(spec.metricName, queue="mail")
    (value,) = keda.GetMetrics(request, timeout=SECONDS).metricValues
    assert (value.metricName, value.metricValue, value.metricValueFloat) == (METRIC, 7, 7.0)
    assert keda.IsActive(ref(target="mail"), timeout=SECONDS).result is True


def test_each_publication_is_the_answer_from_then_on(server: KedaServer, keda: Any) -> None:
    for number in (12, 0, 3):
        server.publish(decided(target_step(number)))
        until_number(keda, number)
    server.publish(decided(IDLE))
    wait_until(
        lambda: keda.IsActive(ref(target="mail"), timeout=SECONDS).result is False,
        seconds=SECONDS,
        what="it is not active",
    )


def until_number(keda: Any, expected: int) -> None:
    wait_until(lambda: number_of(keda) == expected, seconds=SECONDS, what="it is answered")


def number_of(keda: Any) -> int:
    (value,) = keda.GetMetrics(metrics_request(METRIC, target="mail"), timeout=SECONDS).metricValues
    number: int = value.metricValue
    return number


def test_without_a_decision_each_answer_is_an_error_but_the_target_of_the_hpa() -> None:
    with served(Decisions([target()])) as server, client(server) as keda:
        refused = "UNAVAILABLE", "mail: the first step is not done yet"
        assert error_of(lambda: number_of(keda)) == refused
        assert error_of(lambda: keda.IsActive(ref(target="mail"), timeout=SECONDS)) == refused
        assert keda.GetMetricSpec(ref(target="mail"), timeout=SECONDS).metricSpecs


def test_what_is_asked_wrongly_is_told(keda: Any) -> None:
    unknown = "NOT_FOUND", "no target is called mial: the nearest: mail"
    for method in (keda.IsActive, keda.GetMetricSpec):
        assert error_of(lambda method=method: method(ref(target="mial"), timeout=SECONDS)) == unknown
        neither = "INVALID_ARGUMENT", "the trigger's metadata has neither: set target or queue"
        assert error_of(lambda method=method: method(ref(), timeout=SECONDS)) == neither
    other = metrics_request("s0-recommended-replicas", target="mail")
    assert error_of(lambda: keda.GetMetrics(other, timeout=SECONDS)) == (
        "NOT_FOUND",
        "there is no such metric, only recommended-replicas",
    )


@pytest.mark.fault
def test_bytes_that_are_no_message_and_too_many_of_them(server: KedaServer) -> None:
    with grpc.insecure_channel(server.address) as channel:
        for method in ("IsActive", "GetMetricSpec", "GetMetrics", "StreamIsActive"):
            call: Any = channel.unary_unary(f"/externalscaler.ExternalScaler/{method}")
            code, why = error_of(lambda call=call: call(b"\x0a\x05mail", timeout=SECONDS))
            assert code == "INVALID_ARGUMENT"
            assert why.startswith("not a message of externalscaler.ExternalScaler: ")
            code, _ = error_of(lambda call=call: call(b"\0" * (4 << 20), timeout=SECONDS))
            assert code == "RESOURCE_EXHAUSTED"
        for path in ("StreamMetricSpec", "Reflection"):
            unknown: Any = channel.unary_unary(f"/externalscaler.ExternalScaler/{path}")
            assert error_of(lambda call=unknown: call(b"", timeout=SECONDS))[0] == "UNIMPLEMENTED"
        listed: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert error_of(lambda: list(listed(iter([b""]), timeout=SECONDS)))[0] == "UNIMPLEMENTED"


def test_a_change_is_pushed_within_a_second_of_its_step(server: KedaServer, keda: Any) -> None:
    stream = Stream(keda, queue="mail")
    assert stream.next() is True
    for step, active in ((IDLE, False), (target_step(), True), (IDLE, False)):
        began = time.monotonic()
        server.publish(decided(step))
        assert stream.next() is active
        assert time.monotonic() - began < 1.0
    server.publish(decided(IDLE))
    with pytest.raises(queue.Empty):
        stream.next(0.3)


def test_a_stream_is_silent_while_nothing_is_known() -> None:
    """An error would make KEDA wait ever longer before it opens the next one; "inactive" would be untrue."""
    with served(Decisions([target()])) as server, client(server) as keda:
        stream = Stream(keda, target="mail")
        with pytest.raises(queue.Empty):
            stream.next(0.3)
        server.publish(decided(IDLE))
        assert stream.next() is False
        server.publish(decided(target_step(None)))
        server.publish(decided(target_step()))
        assert stream.next() is True


def test_a_stream_ends_when_its_target_is_removed_from_the_settings(server: KedaServer, keda: Any) -> None:
    stream = Stream(keda, target="mail")
    assert stream.next() is True
    server.publish(decided(target_step(name="video")))
    assert stream.next() is None
    assert stream.error == "NOT_FOUND"


def test_streams_end_in_order_when_the_scaler_stops() -> None:
    """The end of a stream, not an error: KEDA opens the next one after 2 s, at whoever is there then."""
    with served() as server, client(server) as keda:
        stream = Stream(keda, target="mail")
        assert stream.next() is True
        assert server.stop()
        assert stream.next() is None
        assert stream.error == ""
        assert not server.alive


@pytest.mark.fault
def test_a_thousand_streams_keep_nobody_from_an_answer(
    server: KedaServer, keda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keda_server, "MOST_STREAMS", 1000)
    calls = [keda.StreamIsActive(ref(target="mail")) for _ in range(1000)]
    assert all(next(call).result for call in calls)
    assert server.requests.streams == 1000
    threads = threading.active_count()
    took = []
    for _ in range(20):
        began = time.monotonic()
        assert number_of(keda) == 7
        took.append(time.monotonic() - began)
    assert sorted(took)[10] < 0.1
    refused = Stream(keda, target="mail")
    assert refused.next() is None
    assert refused.error == "RESOURCE_EXHAUSTED"
    began = time.process_time()
    server.publish(decided(IDLE))
    assert not any(next(call).result for call in calls)
    assert time.process_time() - began < 2.0, "the CPU of both sides, on whatever machine"
    assert threading.active_count() <= threads + 2
    for call in calls:
        call.cancel()
    wait_until(lambda: server.requests.streams == 0, seconds=SECONDS, what="all streams are closed")


def descriptors_in_use() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.fault
def test_connections_have_a_bound_and_leave_descriptors_for_others() -> None:
    """Those beyond it are closed at once; when some have ended, KEDA is answered again."""
    with served(most_connections=8) as server, ExitStack() as undo:
        host, _, port = server.address.rpartition(":")
        before = descriptors_in_use()
        clients = [socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(40)]
        for connection in clients:
            undo.enter_context(connection)
        answered = [connection for connection in clients if connection.recv(1)]  # its settings, or the end
        assert len(answered) == 8
        assert descriptors_in_use() <= before + len(clients) + 8
        undo.close()
        with client(server) as keda:
            assert number_of(keda) == 7


def test_requests_are_counted_by_method_and_code(server: KedaServer, keda: Any) -> None:
    number_of(keda)
    keda.IsActive(ref(target="mail"), timeout=SECONDS)
    error_of(lambda: keda.IsActive(ref(target="mial"), timeout=SECONDS))
    stream = Stream(keda, target="mail")
    stream.next()
    requests, streams = server.requests.collect()
    assert [(sample.labels, sample.value) for sample in requests.samples] == [
        ({"method": "GetMetrics", "code": "OK"}, 1.0),
        ({"method": "IsActive", "code": "NOT_FOUND"}, 1.0),
        ({"method": "IsActive", "code": "OK"}, 1.0),
    ]
    assert [sample.value for sample in streams.samples] == [1.0]
    stream.call.cancel()
    wait_until(
        lambda: any(
            s.labels["method"] == "StreamIsActive" for s in next(iter(server.requests.collect())).samples
        ),
        seconds=SECONDS,
        what="the stream is counted",
    )
    assert server.requests.streams == 0


def test_an_address_that_is_taken_is_told() -> None:
    taken = listening_socket("127.0.0.1", 0)
    try:
        server = KedaServer("127.0.0.1", taken.getsockname()[1], Decisions([]))
        with pytest.raises(BindError, match=r"^address already in use$") as caught:
            server.start()
        assert caught.value.setting == "keda.listen"
        assert not server.alive
        assert server.stop()
    finally:
        taken.close()


def test_two_servers_do_not_share_a_port(server: KedaServer) -> None:
    port = int(server.address.rpartition(":")[2])
    second = KedaServer("127.0.0.1", port, Decisions([]))
    try:
        with pytest.raises(BindError, match=r"^address already in use$"):
            second.start()
    finally:
        assert second.stop()


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def tls(files: Certificates, *, clients: bool = False) -> KedaTlsSettings:
    ca = str(files.ca) if clients else None
    return KedaTlsSettings(
        cert_file=str(files.server_certificate), key_file=str(files.server_key), client_ca_file=ca
    )


def ask(server: KedaServer, files: Certificates, *, certificate: bool = False) -> int:
    """Over a connection of its own."""
    pair = (
        (files.client_key.read_bytes(), files.client_certificate.read_bytes())
        if certificate
        else (None, None)
    )
    credentials = grpc.ssl_channel_credentials(files.ca.read_bytes(), *pair)
    with grpc.secure_channel(server.address, credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return number_of(stub(channel))


def test_tls_and_a_certificate_that_is_replaced(files: Certificates) -> None:
    with served(certificates=certificates_of(tls(files))) as server:
        assert ask(server, files) == 7
        with client(server) as plain:
            assert error_of(lambda: number_of(plain))[0] == "UNAVAILABLE"
        issue_server_certificate(files, names="DNS:elsewhere")
        assert error_of(lambda: ask(server, files))[0] == "UNAVAILABLE", "the client looks at the name"
        issue_server_certificate(files, names="IP:127.0.0.1")
        assert ask(server, files) == 7


@pytest.mark.fault
def test_a_certificate_that_cannot_be_used_leaves_the_last_one(files: Certificates) -> None:
    with served(certificates=certificates_of(tls(files))) as server:
        key = files.server_key.read_bytes()
        files.server_key.write_bytes(key[:40])
        assert ask(server, files) == 7
        files.server_key.unlink()
        assert ask(server, files) == 7


def test_with_a_client_ca_only_its_clients_are_answered(files: Certificates, tmp_path: Path) -> None:
    with served(certificates=certificates_of(tls(files, clients=True))) as server:
        assert ask(server, files, certificate=True) == 7
        assert error_of(lambda: ask(server, files))[0] == "UNAVAILABLE"
        other = tmp_path / "other"
        other.mkdir()
        stranger = replace(make_certificates(other), ca=files.ca)
        assert error_of(lambda: ask(server, stranger, certificate=True))[0] == "UNAVAILABLE"
