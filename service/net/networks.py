"""Addresses that one client has. Pure."""

from __future__ import annotations

from ipaddress import IPv6Address


def network_of(host: str) -> str:
    """Who shares an address: of IPv6 the /64, of which one client has all addresses."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
