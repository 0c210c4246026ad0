"""The HTTP of the scaler's eyes, against servers that behave in ways a Prometheus does only on a bad day."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from urllib.parse import parse_qs

import pytest

from lab.deadline import wait_until
from lab.ports import free_port
from scaler.config.validation import load_scaler_settings
from scaler.model import QueueSample
from scaler.prometheus import client as prometheus
from scaler.prometheus import observer as observer_module
from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey
from scaler.prometheus.target_metrics import PrometheusMetrics
from service.clock import Deadline, monotonic, now
from tests.support.observers import ObserverOf, mail, missing, observe

SECRET = "hunter2"


def a_sample(instance: str = "a", scraped: float | None = None) -> bytes:
    time = now()
    labels: dict[str, str] = {"prefix": "bull", "queue": "mail", "instance": instance}
    figures = {"waiting": "3", "active": "2", "completed": "9", "timestamp": str(scraped or time - 2)}
    result = [
        {"metric": labels | {"oxherd_measure": measure}, "value": [time, value]}
        for measure, value in figures.items()
    ]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


class Handler(BaseHTTPRequestHandler):
    """Keeps connections alive, notes what is asked, and answers as its server's `respond` does."""

    protocol_version = "HTTP/1.1"
    server: Web

    def setup(self) -> None:
        self.server.connections.append(self.request)
        super().setup()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.requested.append((self.command, self.path, dict(self.headers), body))
        self.server.respond(self)

    def do_GET(self) -> None:
        self.server.requested.append((self.command, self.path, dict(self.headers), ""))
        self.server.respond(self)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Web(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, respond: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.connections: list[socket.socket] = []
        self.requested: list[tuple[str, str, dict[str, str], str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(respond: Callable[[Handler], None]) -> Iterator[Web]:
    with Web(respond) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def well(request: Handler) -> None:
    request.answer(200, a_sample())


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    return lambda request: request.answer(status, body, **headers)


def asking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prometheus"]


def waiting(instance: Observer) -> float | str:
    result = mail(instance)
    return result.waiting if isinstance(result, QueueSample) else f"{result.kind}: {result.message}"


def test_one_query_a_look_over_one_connection(observer: ObserverOf) -> None:
    with serving(well) as server:
        instance = observer(server.url)
        assert [waiting(instance) for _ in range(5)] == [3] * 5
    assert len(server.connections) == 1
    assert instance.requests == len(server.requested) == 5
    command, path, _, body = server.requested[0]
    assert (command, path) == ("POST", "/api/v1/query")
    assert list(parse_qs(body)) == ["query"]


def test_parameters_of_the_settings_are_in_every_request(observer: ObserverOf) -> None:
    with serving(well) as server:
        assert waiting(observer(server.url, parameters={"deny_partial_response": "1"})) == 3
    body = parse_qs(server.requested[0][3])
    assert body["deny_partial_response"] == ["1"]
    assert len(body["query"]) == 1


@pytest.mark.fault
def test_a_partial_answer_makes_way_for_another_server(observer: ObserverOf) -> None:
    partial = a_sample("a").replace(b'"status": "success"', b'"status": "success", "isPartial": true')
    with serving(answering(200, partial)) as first, serving(well) as second:
        alone = missing(observer(first.url))
        assert (alone.kind, "isPartial" in alone.message) == ("error", True)
        assert observe(observer(first.url, second.url)).url == second.url


def test_the_path_of_the_url_comes_before_the_apis(observer: ObserverOf) -> None:
    with serving(well) as server:
        assert waiting(observer(f"{server.url}/some/prometheus/")) == 3
    assert server.requested[0][1] == "/some/prometheus/api/v1/query"


def test_a_connection_that_was_closed_while_idle_is_opened_again(observer: ObserverOf) -> None:
    with serving(well) as server:
        instance = observer(server.url)
        assert waiting(instance) == 3
        server.connections[0].shutdown(socket.SHUT_RDWR)
        assert waiting(instance) == 3
        assert len(server.connections) == 2


def test_an_answer_that_ends_its_connection_is_read_whole(observer: ObserverOf) -> None:
    def respond(request: Handler) -> None:
        request.answer(200, a_sample(), Connection="close")
        request.close_connection = True

    with serving(respond) as server:
        instance = observer(server.url)
        assert [waiting(instance), waiting(instance)] == [3, 3]
        assert len(server.connections) == 2


def test_another_exporters_counters_do_not_continue_though_there_was_none_between() -> None:
    empty = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
    answers = iter([a_sample("a"), empty, a_sample("b"), a_sample("b")])
    with serving(lambda request: request.answer(200, next(answers))) as server:
        text = (
            f"prometheus: {{urls: ['{server.url}']}}\n"
            "targets: [{name: t, queues: [mail], processes: {command: [x]}}]"
        )
        metrics = PrometheusMetrics(load_scaler_settings(text, {}, file="s.yml").model)
        samples = [metrics.read(Deadline.after(5))["t"].sample for _ in range(4)]
        metrics.close()
    created = [sample.created if isinstance(sample, QueueSample) else None for sample in samples]
    assert created[1] is None
    assert created[0] != created[2] == created[3]


def test_a_scrape_has_the_same_time_when_the_server_takes_long(observer: ObserverOf) -> None:
    scraped, pauses = now() - 2, iter([0.0, 1.5, 0.0])

    def busy(request: Handler) -> None:
        sleep(next(pauses))
        request.answer(200, a_sample(scraped=scraped))

    with serving(busy) as server:
        instance = observer(server.url)
        samples = [mail(instance) for _ in range(3)]
    times = {sample.at for sample in samples if isinstance(sample, QueueSample)}
    assert times == {scraped}


def test_get_where_post_is_not_allowed(observer: ObserverOf) -> None:
    def respond(request: Handler) -> None:
        if request.command == "POST":
            request.answer(405, b"")
        else:
            well(request)

    with serving(respond) as server:
        instance = observer(server.url)
        assert [waiting(instance), waiting(instance)] == [3, 3]
    assert [command for command, *_ in server.requested] == ["POST", "GET", "GET"]
    assert "label_replace" in server.requested[1][1]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", "refused"),
        (403, b'{"status":"error","error":"x"}', "refused"),
        (404, b"<html>", "error"),
        (400, b'{"status":"error","errorType":"bad_data","error":"x"}', "error"),
        (422, b'{"status":"error","errorType":"execution","error":"x"}', "error"),
        (503, b'{"status":"error","errorType":"timeout","error":"x"}', "timeout"),
        (503, b"<html>", "unreachable"),
        (200, b"<html>", "invalid"),
        (200, b"[" * 100_000, "invalid"),
        (200, b'{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}', "invalid"),
        (
            200,
            b'{"status":"success","warnings":["partial"],"data":{"resultType":"vector","result":[]}}',
            "error",
        ),
        (200, b'{"status":"success","data":{"resultType":"vector","result":[]}}', "empty"),
    ],
)
def test_an_invalid_sample(observer: ObserverOf, status: int, body: bytes, kind: str) -> None:
    with serving(answering(status, body)) as server:
        assert missing(observer(server.url)).kind == kind


def test_a_redirect_is_not_followed(observer: ObserverOf) -> None:
    with serving(well) as other, serving(answering(302, Location=f"{other.url}/api/v1/query")) as server:
        result = missing(observer(server.url, bearer_token=SECRET))
    assert result.kind == "error"
    assert "a redirect" in result.message
    assert other.requested == []


@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_has_a_largest_size(
    observer: ObserverOf, monkeypatch: pytest.MonkeyPatch, *, chunked: bool
) -> None:
    monkeypatch.setattr(prometheus, "LIMIT", 1 << 20)

    def respond(request: Handler) -> None:
        request.send_response(200)
        request.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "9" * 12)))
        request.end_headers()
        piece = b" " * 65536
        request.close_connection = True
        try:
            while True:
                request.wfile.write(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
        except OSError:
            return

    with serving(respond) as server:
        result = missing(observer(server.url))
    assert result.kind == "invalid"
    assert "larger than 1 MiB" in result.message


@pytest.mark.fault
def test_an_answer_that_is_cut_short_is_none(observer: ObserverOf) -> None:
    def respond(request: Handler) -> None:
        body = a_sample()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body) + 10))
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = True

    with serving(respond) as server:
        assert missing(observer(server.url)).kind == "invalid"


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_slow_trickle_of_bytes_times_out(observer: ObserverOf, part: str) -> None:
    ended = threading.Event()

    def respond(request: Handler) -> None:
        if part == "body":
            request.send_response(200)
            request.send_header("Content-Length", "1000000")
            request.end_headers()
        request.close_connection = True
        try:
            while not ended.wait(0.05):
                request.wfile.write(b"H" if part == "head" else b" ")
        except OSError:
            return

    with serving(respond) as server:
        began = monotonic()
        try:
            result = missing(observer(server.url, timeout_seconds=0.5))
            wait_until(lambda: not asking(), what="nobody waits for its end any more")
        finally:
            ended.set()
    assert result.kind == "timeout"
    assert monotonic() - began < 5


def test_the_deadline_of_a_step_comes_before_the_time_out(observer: ObserverOf) -> None:
    ended = threading.Event()

    def respond(request: Handler) -> None:
        ended.wait(20)

    with serving(respond) as server:
        began = monotonic()
        result = missing(observer(server.url), seconds=0.3)
        ended.set()
    assert result.kind == "timeout"
    assert monotonic() - began < 4


@pytest.mark.fault
def test_a_server_that_hangs_costs_its_time_only_now_and_then(
    observer: ObserverOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer_module, "backoff", lambda failures: 60.0)
    ended = threading.Event()

    def respond(request: Handler) -> None:
        ended.wait(20)

    with serving(respond) as hung, serving(well) as second:
        instance = observer(hung.url, second.url, timeout_seconds=0.3)
        assert [observe(instance).url for _ in range(4)] == [second.url] * 4
        assert len(hung.requested) == 1
        second.respond = answering(500)
        assert missing(instance).kind == "unreachable"
        assert len(hung.requested) == 2  # when there is no better one
        ended.set()
        hung.respond = well
        assert observe(instance).url == hung.url


def test_nobody_listens(observer: ObserverOf) -> None:
    result = missing(observer(f"http://127.0.0.1:{free_port()}"))
    assert result.kind == "unreachable"
    assert "connection refused" in result.message


def test_an_unknown_host(observer: ObserverOf) -> None:
    assert missing(observer("http://prometheus.invalid:9090"), seconds=5).kind in ("unreachable", "timeout")


def test_tls_where_there_is_none(observer: ObserverOf) -> None:
    with serving(well) as server:
        result = missing(observer(server.url.replace("http:", "https:")))
    assert result.kind == "unreachable"
    assert "TLS" in result.message


# --- who asks -----------------------------------------------------------------------------------------------


def test_a_token_and_headers_are_sent_and_files_are_read_again(observer: ObserverOf, tmp_path: Path) -> None:
    token, tenant = tmp_path / "token", tmp_path / "tenant"
    token.write_text("one\n")
    tenant.write_text("eu\n")
    with serving(well) as server:
        instance = observer(
            server.url,
            bearer_token_file=str(token),
            header_files={"X-Scope-OrgID": str(tenant)},
            headers={"X-Other": "o"},
        )
        observe(instance)
        token.write_text("two\n")
        observe(instance)
    sent = [
        {name: headers.get(name) for name in ("Authorization", "X-Scope-OrgID", "X-Other")}
        for _, _, headers, _ in server.requested
    ]
    assert sent == [
        {"Authorization": f"Bearer {word}", "X-Scope-OrgID": "eu", "X-Other": "o"} for word in ("one", "two")
    ]


@pytest.mark.parametrize("text", [None, "", "a\nb", "caf\u20ac"])
def test_a_file_without_a_token_is_an_error_that_names_it(
    observer: ObserverOf, tmp_path: Path, text: str | None
) -> None:
    token = tmp_path / "token"
    if text is not None:
        token.write_text(text)
    with serving(well) as server:
        result = missing(observer(server.url, bearer_token_file=str(token)))
    assert result.kind == "error"
    assert server.requested == []
    assert "bearer_token_file" in result.message or "Authorization" in result.message
    assert text is None or not text or text not in result.message


def test_secrets_in_the_answer_of_a_server_are_hidden(
    observer: ObserverOf, caplog: pytest.LogCaptureFixture
) -> None:
    def respond(request: Handler) -> None:
        sent = " ".join([request.headers["Authorization"], request.headers["X-Key"], SECRET])
        error_body = {"status": "error", "errorType": "internal", "error": f"who are you: {sent}"}
        request.answer(500, json.dumps(error_body).encode())

    with serving(respond) as server:
        instance = observer(server.url, username="me", password=SECRET, headers={"X-Key": "topsecret"})
        result = missing(instance)
    sent = server.requested[0][2]["Authorization"].removeprefix("Basic ")
    for text in (result.message, caplog.text):
        assert not any(secret in text for secret in (SECRET, "topsecret", sent))
    assert "who are you" in result.message


# --- a long query -------------------------------------------------------------------------------------------

MANY = [QueueKey("bull", name) for name in ("mail", *(f"queue-with-a-long-name-{n}" for n in range(900)))]


def refusing(status: int, body: bytes, most: int = 16_384) -> Callable[[Handler], None]:
    """As VictoriaMetrics and proxies do with a text that is longer."""

    def respond(request: Handler) -> None:
        (text,) = parse_qs(request.server.requested[-1][3])["query"]
        short = len(text.encode()) <= most
        named = '"mail' in text or "|mail" in text
        request.answer(200 if short else status, (a_sample() if named else EMPTY) if short else body)

    return respond


EMPTY = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
TOO_LONG = b'{"status":"error","errorType":"422","error":"too long query; got 60000 bytes"}'


@pytest.mark.parametrize(("status", "body"), [(422, TOO_LONG), (413, b"<html>"), (400, TOO_LONG)])
def test_a_server_that_refuses_a_long_query_is_queried_in_pieces(
    observer: ObserverOf, status: int, body: bytes
) -> None:
    with serving(refusing(status, body)) as server:
        instance = observer(server.url, queues={DEFAULT_QUERIES: MANY})
        assert waiting(instance) == 3
        first = len(server.requested)
        assert waiting(instance) == 3
    assert len(server.requested) - first == first - 1 > 2  # whole only once
    assert len(server.connections) == 1


def test_the_pieces_are_evaluated_at_one_time(observer: ObserverOf) -> None:
    with serving(refusing(422, TOO_LONG)) as server:
        assert waiting(observer(server.url, queues={DEFAULT_QUERIES: MANY})) == 3
    whole, first, *others = (parse_qs(body).get("time") for *_, body in server.requested)
    assert whole is first is None
    assert len(others) > 1
    assert len({float(time[0]) for time in others if time}) == 1
    assert None not in others


def test_a_long_query_is_sent_whole_where_it_is_taken(observer: ObserverOf) -> None:
    with serving(well) as server:
        instance = observer(server.url, queues={DEFAULT_QUERIES: MANY})
        assert [waiting(instance), waiting(instance)] == [3, 3]
        assert len(server.requested) == 2
        server.respond = answering(500, b'{"status":"error","errorType":"internal","error":"x"}')
        assert str(waiting(instance)).startswith("error")
        assert len(server.requested) == 3


def test_where_the_pieces_fail_too_the_queue_is_missing(observer: ObserverOf) -> None:
    with serving(answering(422, TOO_LONG)) as server:
        assert missing(observer(server.url, queues={DEFAULT_QUERIES: MANY})).kind == "error"
    assert len(server.requested) == 2


# --- native histograms --------------------------------------------------------------------------------------


def a_sample_of(**figures: str) -> bytes:
    """A sample with these figures besides; `native_series` is of no queue, the others are of attempts."""
    document = json.loads(a_sample())
    time = document["data"]["result"][0]["value"][0]
    labels = {"prefix": "bull", "queue": "mail", "instance": "a", "outcome": "completed"}
    for name, value in figures.items():
        metric = {"oxherd_measure": name} | ({} if name == "native_series" else labels)
        document["data"]["result"].append({"metric": metric, "value": [time, value]})
    return json.dumps(document).encode()


def with_native(native: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """A server that has native histograms, and answers so when it is asked for their figures."""

    def respond(request: Handler) -> None:
        (text,) = parse_qs(request.server.requested[-1][3])["query"]
        if "histogram_sum" in text:
            native(request)
        else:
            request.answer(200, a_sample_of(native_series="3"))

    return respond


UNKNOWN = b'{"status":"error","errorType":"bad_data","error":"unknown function with name histogram_sum"}'


def test_the_first_step_knows_the_figures_of_native_histograms_and_the_next_ask_once(
    observer: ObserverOf,
) -> None:
    figures = a_sample_of(native_sum="6", native_count="4")
    with serving(with_native(answering(200, figures))) as server:
        instance = observer(server.url)
        for requests in (2, 3, 4):
            sample = mail(instance)
            assert isinstance(sample, QueueSample)
            assert (sample.duration_sum, sample.duration_count) == (6, 4)
            assert len(server.requested) == requests


def test_a_server_that_does_not_know_their_functions_is_asked_no_more(
    observer: ObserverOf, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(with_native(answering(400, UNKNOWN))) as server:
        instance = observer(server.url)
        for requests in (3, 4, 5):
            sample = mail(instance)
            assert isinstance(sample, QueueSample)
            assert (sample.waiting, sample.duration_sum, sample.duration_count) == (3, None, None)
            assert len(server.requested) == requests
    (record,) = [record for record in caplog.records if "native" in record.message]
    assert "unknown function" in record.__dict__["reason"]


def test_a_time_out_says_nothing_of_what_a_server_knows(observer: ObserverOf) -> None:
    timed_out = b'{"status":"error","errorType":"timeout","error":"query timed out"}'
    with serving(with_native(answering(503, timed_out))) as server:
        instance = observer(server.url)
        assert missing(instance).kind == "timeout"
        server.respond = with_native(answering(200, a_sample_of(native_sum="6", native_count="4")))
        wait_until(lambda: waiting(instance) == 3, what="asked again", seconds=20)
        sample = mail(instance)
        assert isinstance(sample, QueueSample)
        assert sample.duration_sum == 6


def test_their_figures_are_asked_in_pieces_where_a_long_query_is_refused(observer: ObserverOf) -> None:
    refuse = refusing(422, TOO_LONG)

    def respond(request: Handler) -> None:
        (text,) = parse_qs(request.server.requested[-1][3])["query"]
        first = "bullmq_up" in text
        if len(text.encode()) > 16_384 or not first:
            refuse(request)
        elif "histogram_sum" in text:
            request.answer(200, a_sample_of(native_sum="6", native_count="4"))
        else:
            request.answer(200, a_sample_of(native_series="1"))

    with serving(respond) as server:
        names = [QueueKey("bull", "mail"), *(key for key in MANY if key.name > "mail")]
        sample = mail(observer(server.url, queues={DEFAULT_QUERIES: names}))
    assert isinstance(sample, QueueSample)
    assert (sample.duration_sum, sample.duration_count) == (6, 4)
