"""Who shares an address."""

from __future__ import annotations

import pytest

from service.net.networks import network_of


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1:2:3:4", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_a_client_has_a_whole_network_of_ipv6(host: str, network: str) -> None:
    assert network_of(host) == network
