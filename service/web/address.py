"""host:port to listen on, and the URL that leads there, without I/O."""

from __future__ import annotations

from typing import Any

from service.config.load import Loaded


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[v6]:port` or `:port` (all addresses); port 0 takes a free one.

    Raises ValueError with a text that does not repeat the input.
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        raise ValueError("should be host:port, like 0.0.0.0:9877, or :9877")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("should be host:port; an IPv6 address stands in brackets, like [::1]:9877")
    if any(sign.isspace() or sign in "/@[]" for sign in host):
        raise ValueError("should be host:port, like 0.0.0.0:9877")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError("the port should be a number from 0 to 65535")
    return host or "0.0.0.0", int(port)  # noqa: S104  # the exporters' convention; only metrics are open


def local_url(listen: str) -> str:
    """Where a process with this `listen` is reached from its own machine. Raises ValueError."""
    host, port = parse_listen(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_listen(loaded: Loaded[Any]) -> None:
    """Raises ConfigError unless the setting `listen` is host:port."""
    check_address(loaded, "listen", loaded.model.listen)


def check_address(loaded: Loaded[Any], setting: str, address: str) -> None:
    """Raises ConfigError unless the address of this setting is host:port."""
    try:
        parse_listen(address)
    except ValueError as error:
        raise loaded.error(setting, str(error), address) from None
