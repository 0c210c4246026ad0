from __future__ import annotations

import pytest

from lab.scaled import scale


@pytest.mark.parametrize(
    ("expression", "scaled"),
    [
        ("rate(a[10m])", "rate(a[20000ms])"),
        ("a offset 10m > 0", "a offset 20000ms > 0"),
        ("rate(a[1h30m:])", "rate(a[180000ms:])"),
        ("increase(a[30s])", "increase(a[4000ms])"),
        ('a{b="offset", c="10m"} > 10', 'a{b="offset", c="10m"} > 10'),
    ],
)
def test_ranges_and_offsets_of_an_expression_are_scaled(expression: str, scaled: str) -> None:
    assert scale({"expr": expression}, 1 / 30) == {"expr": scaled}


def test_waiting_times_are_scaled_wherever_they_are_and_labels_stay() -> None:
    rule = {"for": "1m", "keep_firing_for": "10m", "labels": {"cooldown": "10m"}}
    document = {"groups": [{"interval": "15s", "rules": [rule]}]}
    faster = {"for": "2000ms", "keep_firing_for": "20000ms", "labels": {"cooldown": "10m"}}
    assert scale(document, 1 / 30) == {"groups": [{"interval": "500ms", "rules": [faster]}]}
