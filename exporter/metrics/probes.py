"""The user's own endpoints: availability, response time, failures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from exporter.assessment import Assessment
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, HistogramSample, Sample
from exporter.probes.checks import FAILURES
from exporter.snapshot.probes import ProbeState
from service.outcome import value_or_none


def _states(assessment: Assessment) -> Iterator[tuple[str, ProbeState]]:
    for name, state in (value_or_none(assessment.snapshot.probes) or {}).items():
        if state is not None:
            yield name, state


def _success(assessment: Assessment) -> Iterator[Sample]:
    return (((name,), float(state.failure is None)) for name, state in _states(assessment))


def _durations(assessment: Assessment) -> Iterator[HistogramSample]:
    return (((name,), state.durations) for name, state in _states(assessment))


def _statuses(assessment: Assessment) -> Iterator[Sample]:
    return (((name,), float(state.status)) for name, state in _states(assessment) if state.status is not None)


def _failures(assessment: Assessment) -> Iterable[Sample]:
    return [
        ((name, kind), float(state.failures.get(kind, 0)))
        for name, state in _states(assessment)
        for kind in FAILURES
    ]


def _expiries(assessment: Assessment) -> Iterator[Sample]:
    for name, state in _states(assessment):
        if state.certificate_expires is not None:
            yield (name,), state.certificate_expires


FAMILIES: Final[tuple[AnyFamily, ...]] = (
    Family(
        "oxherd_probe_success",
        "gauge",
        "1 if the last probe of the endpoint succeeded, else 0; absent if the last probe is too old.",
        ("probe",),
        _success,
    ),
    HistogramFamily(
        "oxherd_probe_duration_seconds",
        "Seconds that a probe took, from name resolution to the end of the body, failed probes included.",
        ("probe",),
        _durations,
    ),
    Family(
        "oxherd_probe_http_status_code",
        "gauge",
        "HTTP status of the last response, after redirects; absent without a response.",
        ("probe",),
        _statuses,
    ),
    Family(
        "oxherd_probe_failures_total",
        "counter",
        "Probes that failed, by reason: " + ", ".join(FAILURES) + ".",
        ("probe", "reason"),
        _failures,
    ),
    Family(
        "oxherd_probe_certificate_expiry_timestamp_seconds",
        "gauge",
        "Unix time at which the endpoint's certificate expires; absent without TLS or verification.",
        ("probe",),
        _expiries,
    ),
)
