"""What the scaler reads: the answers of Prometheus and of Kubernetes, and its own state."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from io import StringIO
from math import inf, isfinite
from typing import Any, Final

from scaler.config.admission import DeclaredTarget, admit
from scaler.config.policy_layers import checked_policy
from scaler.config.scaled_queue import SpecError, target_of
from scaler.config.settings import ScalerSettings
from scaler.decision.jsonl import reply_to_lines
from scaler.decision.step import dump_memory, step
from scaler.kube.config_map_store import raw_state
from scaler.kube.election import acquire_or_renew, record_of
from scaler.kube.errors import error_of_response
from scaler.kube.objects import conflicts_of, pod_of, workload_of, workload_of_scale
from scaler.kube.scaled_queues.annotations import orders_of
from scaler.kube.scaled_queues.objects import scaled_queue_of
from scaler.kube.scaled_queues.status import Declaration, differs, status_without_step
from scaler.model import Control, Missing, Observation, QueueSample
from scaler.prometheus.histogram import run_time_p99s
from scaler.prometheus.matched_queues import MatchedQueues, observe_queues
from scaler.prometheus.parse import matrix, read_answer, vector
from scaler.prometheus.promql import DEFAULT_QUERIES
from scaler.prometheus.totals import continue_totals
from scaler.state.commands import override_end
from scaler.state.learned import dump_learned, load_learned
from scaler.state.model import (
    StateError,
    control,
    from_data,
    from_json,
    merged,
    state_text,
    to_data,
    without_expired,
)
from service.outcome import UnreadableError
from tests.fuzz.inputs import JSON, LINES, TEXT, compact
from tests.fuzz.search import REFUSED, Target

_SETTINGS: Final = ScalerSettings.model_validate(
    {
        "targets": [
            {"name": "mail", "queues": ["mail", "mail-*"], "processes": {"command": ["true"]}},
            {
                "name": "video",
                "queues": ["video"],
                "policy": "threshold",
                "processes": {"command": ["true"]},
            },
        ]
    }
)
_AT: Final = 1795938334.0


_POLICIES: Final = {target.name: checked_policy(_SETTINGS, target, {}) for target in _SETTINGS.targets}


def _decide(sample: QueueSample | Missing, memory: Any = None, *, names: Collection[str] = _POLICIES) -> None:
    for name in names:
        policy = _POLICIES[name]
        observation = Observation(_AT + 1, 3, 3, sample, 10.0)
        decision, after = step(policy, 5.0, observation, _NOBODY, memory)
        assert policy.min_workers <= decision.workers <= policy.max_workers or decision.workers == 3
        json.dumps(dump_memory(after), allow_nan=False)


def _prometheus(document: Any) -> None:
    """Two answers one after the other, and what is decided on the second."""
    first = read_answer(document, DEFAULT_QUERIES, queried_at=_AT - 5)
    reading = read_answer(document, DEFAULT_QUERIES, queried_at=_AT, answered_at=_AT + 0.1, before=first)
    target = _SETTINGS.targets[0]
    known = observe_queues(MatchedQueues(), target, reading, 1.0)
    sources = {key: reading.source(key) for key in known.samples}
    sample, totals = continue_totals(None, known.samples, sources, _AT)
    sample, totals = continue_totals(totals, known.samples, sources, _AT + 5)
    assert reading.up in (True, False, None)
    _decide(sample)


def _histogram(document: Any) -> object:
    found = run_time_p99s(vector(document))
    assert all(0 <= seconds < inf for seconds in found.values())
    return None if found else REFUSED


def _range(document: Any) -> object:
    series = matrix(document).values()
    assert all(isfinite(time) and isfinite(value) for points in series for time, value in points)
    return None if any(series) else REFUSED


def _state(raw: bytes) -> object:
    """What the state has must be usable in each step, and what is written must be read again."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return REFUSED
    state, _ = from_json(text)
    for name in ("mail", "video"):
        learned, _ = load_learned(state.learned.get(name, {}))
        json.dumps(dump_learned(learned), allow_nan=False)
        _decide(QueueSample(_AT, 5.0, 1.0, completed=10.0, failed=0.0), learned.memory, names=[name])
        _decide(Missing("empty", "no data"), learned.memory, names=[name])
        control(state.operator, name, _AT)
        override = state.operator.overrides.get(name)
        if override is not None:
            override_end(name, override)
        with suppress(ValueError):  # reported in each step
            checked_policy(_SETTINGS, _SETTINGS.targets[0], state.operator.policies.get(name, {}))
    without_expired(state.operator, _AT)
    again, _ = from_json(state_text(merged(json.loads(text), state, state)))
    assert again.operator == state.operator
    state_text(to_data(state)).encode()
    return None


def _kubernetes(data: Any) -> object:
    """One object, read as each kind. What raises ValueError is reported as an answer that is not valid."""
    if not isinstance(data, dict):  # the client refuses it
        return REFUSED
    taken = REFUSED
    for read in (workload_of, workload_of_scale, pod_of):
        with suppress(ValueError):
            read(data)
            taken = None
    with suppress(ValueError):
        conflicts_of([data], [data])
    with suppress(ValueError):
        acquire_or_renew(record_of(data), "me", 15, _AT)
        taken = None
    str(error_of_response("get pods", 409, json.dumps(data).encode(), str(data.get("retryAfter"))))
    return taken


def _scaled_queue(data: Any) -> object:
    """An object as a target, its orders, and a status beside the one that it has."""
    if not isinstance(data, dict):
        return REFUSED
    try:
        queue = scaled_queue_of(data)
    except ValueError:
        return REFUSED
    orders = orders_of(queue.annotations, by=str(queue.ref), at=_AT)
    orders.joined(Control(), _AT)
    target, problem = None, ""
    try:
        target = target_of(queue.namespace, queue.name, queue.spec)
    except SpecError as error:
        problem = str(error)
    candidate = DeclaredTarget(queue.created, queue.key, target, problem)
    [admission] = admit(ScalerSettings(), [candidate], 1, home="shop").values()
    declaration = Declaration(queue.generation, admission, orders.problem)
    status = status_without_step(declaration, queue.status, _AT)
    json.dumps(status)
    differs(status, queue.status)
    return REFUSED if admission.target is None else None


def _lines(raw: bytes) -> object:
    """As `scaling decide` reads them: each line has its reply, which is JSON."""
    replies = StringIO()
    reply_to_lines(StringIO(raw.decode("utf-8", "replace")), replies)
    read = [json.loads(line) for line in replies.getvalue().splitlines()]
    assert all(isinstance(reply, dict) for reply in read)
    return None if any("error" not in reply for reply in read) else REFUSED


def _config_map(data: Any) -> object:
    if not isinstance(data, dict):
        return REFUSED
    raw, _ = raw_state(data)
    from_data(raw)
    return None if raw else REFUSED


_NOBODY: Final = control(from_json('{"format": "oxherd scaler 1"}')[0].operator, "mail", 0.0)
TARGETS_OF_SCALER: Final = (
    Target("prometheus", JSON, _prometheus, (UnreadableError,)),
    Target("run_times", JSON, _histogram, (UnreadableError,)),
    Target("range", JSON, _range, (UnreadableError,)),
    Target("scaler_state", JSON, lambda data: _state(compact(data)), (StateError,)),
    Target(
        "scaler_state_text",
        TEXT,
        _state,
        (StateError,),
        seeds=("public_interface/scaler-state.json",),
        words=(b'"learned"', b'"guards"', b'"policy"', b"null", b"NaN", b"Infinity", b"[]", b"{}", b"1e400"),
    ),
    Target("kubernetes", JSON, _kubernetes),
    Target("scaled_queue", JSON, _scaled_queue),
    Target("config_map", JSON, _config_map, (StateError,), words=(b"{}", b"[]", b"null", b"eJw=")),
    Target("decide", LINES, lambda data: _lines(LINES.encoded(data))),
    Target(
        "decide_text",
        TEXT,
        _lines,
        words=(b'"waiting":', b'"type":"observe"', b'"replicas":', b"null", b"NaN", b"1e400", b'"policy":'),
    ),
)
