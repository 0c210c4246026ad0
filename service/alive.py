"""`python -m service.alive`: whether this container's exporter or scaler answers, for a HEALTHCHECK."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from service.clock import Deadline
from service.web.address import local_url
from service.web.client import HttpClientError, fetch

_SECONDS: Final = 2.0
_LIMIT: Final = 1 << 16
_LISTENS: Final = {"EXPORTER_LISTEN": "0.0.0.0:9877", "SCALER_LISTEN": "0.0.0.0:9878"}


def urls(environ: Mapping[str, str]) -> list[str]:
    """The URLs of both programs' /healthz."""
    plain = [f"{local_url(environ.get(name) or default)}/healthz" for name, default in _LISTENS.items()]
    return [*plain, *(f"https{url.removeprefix('http')}" for url in plain)]


def is_alive(url: str) -> bool:
    """Whether it answers 200, or 401, within two seconds.

    The certificate is not verified: it is issued to another name than the loopback address.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        response = fetch(url, deadline=Deadline.after(_SECONDS), headers={}, limit=_LIMIT, tls=context)
    except HttpClientError:
        return False
    return response.status in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED)


if __name__ == "__main__":
    sys.exit(0 if any(is_alive(url) for url in urls(os.environ)) else 1)
