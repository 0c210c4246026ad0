"""Orders in annotations, alone and with those of the scaler's state."""

from __future__ import annotations

import pytest

from scaler.kube.scaled_queues.annotations import orders_of
from scaler.model import Control, Override
from scaler.sources.declared import NO_ORDERS, Orders


def orders(**annotations: str) -> Orders:
    named = {f"oxherd.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return orders_of(named, by="ScaledQueue shop/mail", at=100.0)


OVERRIDE = Override(12, "annotation oxherd.dev/override", "ScaledQueue shop/mail", 100.0, None)


@pytest.mark.parametrize(("text", "paused"), [("true", True), ("1", True), ("false", False), ("F", False)])
def test_a_pause(text: str, *, paused: bool) -> None:
    assert orders(paused=text).joined(Control(), 100.0) == Control(paused=paused)


def test_none() -> None:
    assert orders() is NO_ORDERS
    assert orders(override_until="2026-01-31T12:00:00Z") is NO_ORDERS
    assert NO_ORDERS.joined(Control(paused=True), 0.0) == Control(paused=True)


def test_an_override_until_its_time() -> None:
    assert orders(override="12").override == OVERRIDE
    ordered = orders(override="12", override_until="1970-01-01T00:05:00Z")
    assert ordered.joined(Control(), 299.9).override is not None
    assert ordered.joined(Control(), 300.0).override is None
    assert orders(override="0").joined(Control(), 0.0).override is not None, "0 is a number too"


def test_an_override_of_the_state_counts_more() -> None:
    command = Override(3, "campaign", "ada", 50.0)
    assert orders(override="12").joined(Control(override=command), 100.0).override == command


def test_a_pause_of_either_counts() -> None:
    assert orders(override="12").joined(Control(paused=True), 0.0).paused
    assert orders(paused="true").joined(Control(override=OVERRIDE), 0.0) == Control(True, OVERRIDE)


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ({"paused": "yes"}, "oxherd.dev/paused should be true or false"),
        ({"paused": ""}, "oxherd.dev/paused should be true or false"),
        ({"override": "-1"}, "oxherd.dev/override should be a number of workers"),
        ({"override": "1.5"}, "oxherd.dev/override should be a number of workers"),
        ({"override": "²"}, "oxherd.dev/override should be a number of workers"),
        ({"override": "9" * 1000}, "oxherd.dev/override should be a number of workers"),
        ({"override": "100001"}, "oxherd.dev/override should be at most 100000"),
        (
            {"override": "1", "override_until": "tomorrow"},
            "oxherd.dev/override-until should be a time such as",
        ),
        (
            {"override": "1", "override_until": "9999-99-99T00:00:00Z"},
            "override-until should be a time such as",
        ),
    ],
)
def test_what_cannot_be_read_may_be_any_order(annotations: dict[str, str], why: str) -> None:
    ordered = orders(**annotations)
    assert why in ordered.problem
    assert ordered.joined(Control(), 100.0) == Control(paused=True), "the workers stay as they are"
