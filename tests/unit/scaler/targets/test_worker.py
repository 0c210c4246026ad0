from __future__ import annotations

import signal

import pytest

from scaler.targets.worker import status_text


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exit 0"), (7 << 8, "exit 7"), (int(signal.SIGKILL), "SIGKILL"), (40, "signal 40")],
)
def test_a_status_in_words(status: int, text: str) -> None:
    assert status_text(status) == text
