"""An OTLP receiver on loopback: takes metrics over HTTP in protobuf, checks them against the data model, and
names their series as Prometheus' receiver does (underscores, suffixes of units and `_total`)."""

from __future__ import annotations

import gzip
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate, pairwise
from math import inf
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
)

from lab.tls import Certificates

Key: TypeAlias = tuple[str, frozenset[tuple[str, str]]]
"""The name of a series and its labels, without those of the resource."""

_SUFFIXES: Final = {"s": "seconds", "By": "bytes"}
_YEAR_NS: Final = 366 * 86_400 * 10**9


class InvalidOtlpError(ValueError):
    """A request that breaks the data model; the text says where."""


@dataclass(frozen=True)
class NativeSeries:
    """An exponential histogram as Prometheus' native one: the count of each bucket by its index."""

    schema: int
    zero_count: int
    zero_threshold: float
    buckets: Mapping[int, int]
    count: int
    total: float


class ReceivedPush(NamedTuple):
    """One request: `at` is time.monotonic(), `headers` have names in lower case, `size` is that of the body
    before it was unpacked."""

    at: float
    path: str
    headers: Mapping[str, str]
    size: int
    message: ExportMetricsServiceRequest

    @property
    def resource(self) -> dict[str, str]:
        """The attributes of the resource."""
        return _texts(self.message.resource_metrics[0].resource.attributes)

    @property
    def metrics(self) -> list[Metric]:
        return [
            metric
            for resource in self.message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]


class CollectorAnswer(NamedTuple):
    """What the receiver answers: after `delay` seconds; a status of 200 takes the points."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""
    delay: float = 0.0


def partial_success(rejected: int, message: str) -> CollectorAnswer:
    """The request was taken but for so many points."""
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = rejected
    response.partial_success.error_message = message
    return CollectorAnswer(
        headers={"Content-Type": "application/x-protobuf"}, body=response.SerializeToString()
    )


class _Server(ThreadingHTTPServer):
    """Closes the connections too that are kept alive."""

    daemon_threads = True

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._open: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Collector:
    """Listens until close() or the end of a `with`. Each of `answers` is given once, then all is taken;
    `always` is given instead of that. `problems` are what breaks OTLP."""

    def __init__(self, *, port: int = 0, certificates: Certificates | None = None) -> None:
        self.received: list[ReceivedPush] = []
        self.problems: list[str] = []
        self.answers: deque[CollectorAnswer] = deque()
        self.always: CollectorAnswer | None = None
        self._series: dict[Key, float | NativeSeries] = {}
        self._lock = Lock()
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                given = answer(self.path, {name.lower(): text for name, text in self.headers.items()}, body)
                time.sleep(given.delay)
                self.send_response(given.status)
                for name, value in given.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(given.body)))
                self.end_headers()
                self.wfile.write(given.body)

            def log_message(self, *_: object) -> None:
                """No log on standard error."""

        self._server = _Server(port, Handler)
        scheme = "http"
        if certificates is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
            context.load_cert_chain(certificates.server_certificate, certificates.server_key)
            context.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="collector")
        self._thread.start()

    @property
    def series(self) -> dict[Key, float | NativeSeries]:
        """The last value of each series of all requests that were taken."""
        with self._lock:
            return dict(self._series)

    def forget(self) -> None:
        """Begin again with no series and no requests."""
        with self._lock:
            self._series.clear()
            self.received.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, path: str, headers: Mapping[str, str], body: bytes) -> CollectorAnswer:
        try:
            _check_type(headers)
            plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            message = ExportMetricsServiceRequest.FromString(plain)
            push = ReceivedPush(time.monotonic(), path, headers, len(body), message)
            series = dict(series_of(push.metrics))
        except Exception as error:  # noqa: BLE001  # whatever it is, the test is told
            self.problems.append(f"{type(error).__name__}: {error}")
            return CollectorAnswer(400)
        with self._lock:
            self.received.append(push)
            answer = self.answers.popleft() if self.answers else self.always or CollectorAnswer()
            if answer.status == 200:
                self._series.update(series)
        return answer


def _check_type(headers: Mapping[str, str]) -> None:
    if headers.get("content-type") != "application/x-protobuf":
        raise InvalidOtlpError(f"content type {headers.get('content-type')}")


def series_of(metrics: Iterable[Metric]) -> Iterator[tuple[Key, float | NativeSeries]]:
    """The series of these metrics. Raises InvalidOtlpError."""
    before: set[Key] = set()
    for metric in metrics:
        for key, value in _series_of(metric):
            if key in before:
                raise InvalidOtlpError(f"{key} is there twice")
            before.add(key)
            yield key, value


def prometheus_name(name: str, unit: str, *, counter: bool) -> str:
    """As Prometheus' receiver names a metric: the suffix of the unit and `_total` each once, at the end."""
    words = [word for word in re.split(r"[^a-zA-Z0-9:]+", name) if word]
    suffix = _SUFFIXES.get(unit, unit)
    if suffix and suffix not in words:
        words.append(suffix)
    if counter:
        words = [*(word for word in words if word != "total"), "total"]
    return "_".join(words)


def _series_of(metric: Metric) -> Iterator[tuple[Key, float | NativeSeries]]:
    form = metric.WhichOneof("data")
    if not metric.name or form is None or not metric.description:
        raise InvalidOtlpError(f"{metric.name!r} has no name, no data or no description")
    data: Any = getattr(metric, form)
    if form != "gauge" and data.aggregation_temporality != AGGREGATION_TEMPORALITY_CUMULATIVE:
        raise InvalidOtlpError(f"{metric.name} is not cumulative")
    counter = form == "sum" and data.is_monotonic
    name = prometheus_name(metric.name, metric.unit, counter=counter)
    if not data.data_points:
        raise InvalidOtlpError(f"{metric.name} has no points")
    for point in data.data_points:
        now = time.time_ns()
        if abs(now - point.time_unix_nano) > _YEAR_NS or point.start_time_unix_nano > point.time_unix_nano:
            raise InvalidOtlpError(
                f"{metric.name}: times {point.start_time_unix_nano} {point.time_unix_nano}"
            )
        labels = _texts(point.attributes)
        if form == "histogram":
            yield from _classic(name, labels, point)
        elif form == "exponential_histogram":
            yield (name, frozenset(labels.items())), _native(metric.name, point)
        else:
            if point.WhichOneof("value") != "as_double" or (counter and not point.as_double >= 0):
                raise InvalidOtlpError(f"{metric.name}: no number")
            yield (name, frozenset(labels.items())), point.as_double


def _classic(name: str, labels: Mapping[str, str], point: HistogramDataPoint) -> Iterator[tuple[Key, float]]:
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    if len(counts) != len(bounds) + 1 or sum(counts) != point.count:
        raise InvalidOtlpError(f"{name}: {len(bounds)} bounds, {len(counts)} counts, {point.count} in all")
    if any(first >= second for first, second in pairwise(bounds)):
        raise InvalidOtlpError(f"{name}: bounds do not ascend")
    own = frozenset(labels.items())
    for bound, count in zip([*bounds, inf], accumulate(counts), strict=True):
        le = "+Inf" if bound == inf else f"{bound:g}"
        yield (f"{name}_bucket", own | {("le", le)}), float(count)
    yield (f"{name}_count", own), float(point.count)
    yield (f"{name}_sum", own), point.sum


def _native(name: str, point: ExponentialHistogramDataPoint) -> NativeSeries:
    """OTLP's bucket `index` is (base^index, base^(index + 1)], Prometheus' ends at base^index."""
    counts = list(point.positive.bucket_counts)
    if sum(counts) + point.zero_count + sum(point.negative.bucket_counts) != point.count:
        raise InvalidOtlpError(f"{name}: {sum(counts)} and {point.zero_count}, {point.count} in all")
    buckets = {index: count for index, count in enumerate(counts, point.positive.offset + 1) if count}
    return NativeSeries(point.scale, point.zero_count, point.zero_threshold, buckets, point.count, point.sum)


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Raises InvalidOtlpError for a key that is there twice, and for an empty value."""
    texts: dict[str, str] = {}
    for attribute in attributes:
        if attribute.key in texts or attribute.value.WhichOneof("value") != "string_value":
            raise InvalidOtlpError(f"attribute {attribute.key!r}")
        if not attribute.value.string_value:
            raise InvalidOtlpError(f"attribute {attribute.key!r} is empty")
        texts[attribute.key] = attribute.value.string_value
    return texts
