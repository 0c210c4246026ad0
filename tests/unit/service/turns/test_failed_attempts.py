"""Those who guess."""

from __future__ import annotations

import pytest

from service.turns.failed_attempts import FailedAttempts


@pytest.mark.fault
def test_a_client_with_a_whole_network_of_ipv6_has_the_attempts_of_one() -> None:
    failures = FailedAttempts(lambda: 100.0)
    for number in range(10):
        failures.failed(f"2001:db8::{number}")
    assert failures.blocked("2001:db8::ffff") == 60
    assert failures.blocked("2001:db8:0:1::1") is None
    for number in range(20_000):
        failures.failed(f"2001:db8::1:{number:x}")
    assert len(failures) == 1
