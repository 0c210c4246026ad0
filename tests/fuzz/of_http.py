"""What comes over HTTP: requests to both programs, answers of neighbours; what KEDA asks; cgroup files."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from exporter.api.forward import ScalerClient
from exporter.assessment import Assessment
from exporter.config.settings import MonitoringSettings
from exporter.host.cgroup import group_paths, limits, tightest
from exporter.otlp.answers import answer_of
from exporter.page import status_page
from exporter.peers.model import Peers, PeerStatus
from exporter.peers.poller import firing_alerts
from exporter.switch import Switch
from exporter.views import About, status_view
from exporter.web.app import make_exporter_app
from exporter.web.status_page import page_query_of
from scaler.app import make_scaler_app
from scaler.busy import busy_jobs_of
from scaler.config.settings import ScalerSettings
from scaler.engines.decisions import NoAnswer, active, recommended
from scaler.external_metrics.answers import Located, metric_values
from scaler.external_metrics.front_proxy import FrontProxyError, front_proxy_of
from scaler.external_metrics.selectors import SelectorError, matches, parse_selector
from scaler.keda.answers import known_target
from scaler.keda.messages import read_metrics_request, read_ref
from scaler.state.model import State, from_json, state_text, to_data
from scaler.state.store import Update
from service.api.auth import ApiKeyAuth
from service.api.settings import ApiSettings
from service.clock import Deadline
from service.i18n import preferred
from service.json_text import json_text, read_json
from service.turns import in_turn
from service.web.client import HttpResponse
from service.web.negotiate import accepts_gzip, metrics_format, scrape_seconds
from tests.fuzz.inputs import JSON, TEXT
from tests.fuzz.search import REFUSED, Target
from tests.support.assessments import assessment
from tests.support.engine_steps import AT, decided, target_step
from tests.support.exporter_app import FakeExporter
from tests.support.scaling_view import view

_KEY: Final = "the-full-key-of-these-tests"
_API: Final = ApiSettings(key=_KEY)
_ANSWERS: Final = frozenset({200, 303, 307, 400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 429, 503})
_ASSESSMENT: Final = assessment()
_VIEW: Final = status_view(_ASSESSMENT, About("1.2.3", monitoring=True, uptime=1.0))
_LOOP: Final = asyncio.new_event_loop()
_callers: Final = count()  # each from an address of its own: none is refused for the keys of another


class _Exporter(FakeExporter):
    """Has the same assessment each time, and keeps no record."""

    def assess(self, deadline: Deadline) -> Assessment | None:
        return _ASSESSMENT if self.switch.on else None


class _Scaler:
    """A scaler with two targets, whose state is in memory: it has to be one that can be written and read."""

    settings: Final = ScalerSettings.model_validate(
        {
            "targets": [
                {"name": "mailer", "queues": ["mail", "news-*"], "processes": {"command": ["true"]}},
                {"name": "video", "queues": ["video"], "processes": {"command": ["true"]}},
            ]
        }
    )

    def __init__(self) -> None:
        self.state = State()
        self._view = view(10.0)

    @property
    def most_workers(self) -> int | None:
        return None

    @property
    def operator(self) -> Any:
        return self.state.operator

    def status(self) -> Any:
        return self._view

    def update(self, update: Any) -> Update:
        before, self.state = self.state, update(self.state)
        read, problems = from_json(state_text(to_data(self.state)).encode().decode())
        assert not problems, problems
        assert read.operator == self.state.operator
        return Update(before, self.state, None)

    def exposition(self, form: str) -> bytes:
        return f"# {form}\n".encode()

    def why_not_ready(self) -> list[str]:
        return []


async def _request(app: Any, scope: dict[str, Any], body: bytes) -> int:
    statuses: list[int] = []
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(sent, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


async def _in_no_thread(work: Callable[[], Any], **_: object) -> Any:
    return work()


def _raw(value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")[:70_000].replace(b"\n", b" ").replace(b"\r", b" ")


def _asked(app: Any, data: Any) -> object:
    """A request as data: method, path, query, headers, body (a text as it is, anything else as JSON)."""
    if not isinstance(data, dict):
        return REFUSED
    headers = data.get("headers")
    named = headers if isinstance(headers, dict) else {}
    pairs = [(_raw(name).lower(), _raw(value)) for name, value in named.items() if str(name)]
    if data.get("key", True):
        pairs.append((b"x-api-key", _KEY.encode()))
    body = data.get("body", "")
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json.dumps(body).encode()
    query = data.get("query", "")
    path = str(data.get("path", "/api/monitoring")).encode("utf-8", "replace").decode() or "/"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": str(data.get("method", "POST")).upper(),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode("utf-8", "replace") if isinstance(query, str) else _raw(query),
        "headers": pairs,
        "client": (f"10.0.0.{next(_callers)}", 1),
        "server": ("127.0.0.1", 9877),
    }
    with patch.object(in_turn, "run_sync", _in_no_thread):
        status = _LOOP.run_until_complete(_request(app, scope, raw))
    assert status in _ANSWERS, status
    return None if status < 400 else REFUSED


_EXPORTER: Final = _Exporter()
_SCALER: Final = _Scaler()
_EXPORTER_APP: Final = make_exporter_app(_EXPORTER, ApiKeyAuth(_API, "CRON_API_KEY"), ScalerClient(None, 1))
_SCALER_APP: Final = make_scaler_app(_SCALER, ApiKeyAuth(_API, "CRON_API_KEY"), "1.2.3")


def _exporter_request(data: Any) -> object:
    _EXPORTER.switch = Switch(MonitoringSettings())
    return _asked(_EXPORTER_APP, data)


def _scaler_request(data: Any) -> object:
    _SCALER.state = State()
    return _asked(_SCALER_APP, data)


def _accept(raw: bytes) -> None:
    header = raw.decode("latin-1")
    for protobuf in (True, False):
        assert metrics_format(header, protobuf=protobuf)
    accepts_gzip(header)
    assert 0 < scrape_seconds(header) <= 60
    preferred(header)
    page_query_of({"q": header, "page": header, "sort": header, "lang": header}, header)


def _neighbours(data: Any) -> object:
    """The page with what the scaler and Prometheus answered; `fetch_status` lets a mapping through."""
    if not isinstance(data, Mapping):
        return REFUSED
    alerts = None
    with suppress(ValueError):
        alerts = PeerStatus(1.0, firing_alerts(data.get("alerts")), "")
    scaler = data.get("scaler")
    peers = Peers(PeerStatus(1.0, scaler, "") if isinstance(scaler, dict) else None, alerts)
    status_page(_VIEW, page_query_of({}, None), peers=peers, now=2.0).encode("utf-8", "replace")
    return None if peers.scaler and alerts else REFUSED


def _answer(raw: bytes) -> object:
    """The body of an answer of another program: what is accepted can be written and read again."""
    data = read_json(raw, most=1 << 20)
    assert json_text(read_json(json_text(data).encode())) == json_text(data)
    for read in (firing_alerts, busy_jobs_of):
        with suppress(ValueError):
            read(data)
    return None


def _cgroup(data: Any) -> None:
    if isinstance(data, dict):
        files = {str(name): str(text) for name, text in data.items()}
        group_paths(files.get("cgroup", ""))
        found = tightest([limits(files), limits({})])
        for number in (found.memory, found.memory_used, found.cpus):
            assert number is None or float(number) >= 0


_DECISIONS: Final = decided(target_step(), target_step(name="video"))


def _keda(raw: bytes) -> object:
    """A ScaledObjectRef, else a GetMetricsRequest, and what is answered."""
    try:
        ref = read_ref(raw)
    except ValueError:
        ref = read_metrics_request(raw).ref
    name = known_target(_DECISIONS.targets, ref.metadata)
    if isinstance(name, NoAnswer):
        assert len(name.why) < 1000
        return None if ref.metadata else REFUSED
    assert recommended(_DECISIONS, name, AT) == 7
    assert active(_DECISIONS, name, AT) is True
    return None


_PLACES: Final = [
    Located("mail", "shop", {"target": "mail", "workload": "mail-worker"}),
    Located("video", "shop", {"scaledqueue": "video", "workload": "video"}),
    Located("media", "bank", {"target": "media", "workload": "media"}),
]


def _selector(raw: bytes) -> object:
    """What is answered, and as Kubernetes has it: a requirement and its negation part all labels."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return REFUSED
    answer = metric_values(_DECISIONS, _PLACES, "shop", text, now=AT, at="now")
    json.dumps(answer)
    try:
        selector = parse_selector(text)
    except SelectorError:
        assert isinstance(answer, NoAnswer)
        assert answer.code == "INVALID_ARGUMENT"
        return REFUSED
    for requirement in selector:
        other = requirement._replace(negated=not requirement.negated)
        assert all(requirement.holds(place.labels) is not other.holds(place.labels) for place in _PLACES)
    meant = [place for place in _PLACES[:2] if matches(selector, place.labels)]
    if isinstance(answer, NoAnswer):
        assert not meant
        assert "media" not in answer.why.replace(text, ""), "it is of another namespace"
    else:
        assert len(answer["items"]) == len(meant)
    return None


def _front_proxy(data: Any) -> object:
    """The ConfigMap, and what OpenSSL makes of its bundle."""
    if not isinstance(data, dict):  # the client refuses it
        return REFUSED
    proxy = front_proxy_of(data)
    with suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=proxy.ca)
    assert proxy.sent(None) is False
    named = {"subject": ((("commonName", "nobody of this name"),),)}
    assert proxy.sent(named) is (not proxy.names or "nobody of this name" in proxy.names)
    return None


def _otlp_answer(raw: bytes) -> object:
    """A status in the first byte, then the body of an answer to a push."""
    if len(raw) < 2:
        return REFUSED
    status = _PUSH_STATUSES[raw[0] % len(_PUSH_STATUSES)]
    kind = ("application/x-protobuf", "text/plain")[raw[1] % 2]
    said = answer_of(HttpResponse(status, {"content-type": kind, "retry-after": "7"}, raw[2:]), 10, 0.0)
    assert 0 <= said.rejected <= 10
    assert len(said.text) < 400
    assert said.text.isprintable()
    assert said.again is (status in (429, 503))
    return REFUSED if said.failure == "protocol" else None


_PUSH_STATUSES: Final = (200, 400, 429, 503)
_ACTIONS: Final = (
    *(b"action", b"manual_scale", b"update_scaling_config", b"start_monitoring", b"intervalMinutes"),
    *(b"queueName", b"targetWorkers", b"reason", b"apiKey", b"minWorkers", b"maxWorkers", b"mail", b"news-*"),
    *(b"cooldownPeriod", b"cooldownSeconds", b"durationMinutes", b"requestedBy", b"policy", b"threshold"),
)
TARGETS_OF_HTTP: Final = (
    Target("exporter_request", JSON, _exporter_request, words=_ACTIONS),
    Target("scaler_request", JSON, _scaler_request, words=_ACTIONS),
    Target(
        "accept",
        TEXT,
        _accept,
        words=(b"q=", b";", b",", b"application/openmetrics-text", b"version=1.0.0", b"*/*", b"gzip", b"id"),
    ),
    Target(
        "keda",
        TEXT,
        _keda,
        (ValueError,),
        words=(b"target", b"queue", b"mail", b"video", b"\x1a\x0e\x0a\x06"),
    ),
    Target(
        "selector",
        TEXT,
        _selector,
        words=(
            *(
                b"target",
                b"scaledqueue",
                b"workload",
                b"mail",
                b"video",
                b"mail-worker",
                b"oxherd.dev/x",
                b" in ",
            ),
            *(b" notin ", b"=", b"==", b"!=", b"!", b",", b"(", b")", b"()", b" ", b"\xc2\xa0"),
        ),
    ),
    Target(
        "front_proxy",
        JSON,
        _front_proxy,
        (FrontProxyError,),
        words=(
            b'["a"]',
            b"[]",
            b"-----BEGIN CERTIFICATE-----",
            b"-----END CERTIFICATE-----",
            b"\n",
            b"\xc3\xa9",
        ),
    ),
    Target("otlp_answer", TEXT, _otlp_answer, words=(b"\x0a", b"\x08", b"\x12", b"\xff\xff\x01", b"too old")),
    Target("neighbours", JSON, _neighbours),
    Target(
        "answer",
        TEXT,
        _answer,
        (ValueError,),
        words=(
            b'"workers"',
            b'"unnamed"',
            b'"cut_off"',
            b"\\ud800",
            b"\\u0000",
            b"1e400",
            b"{}",
            b"[]",
            b'""',
        ),
    ),
    Target("cgroup", JSON, _cgroup, words=(b"max", b"inactive_file ", b"0::/", b":memory:", b"-1")),
)
