"""`python -m service.alive`: whether this container's exporter or scaler answers: for a HEALTHCHECK."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from service.web.status_client import local_url

_SECONDS: Final = 2.0
_LISTENS: Final = {"EXPORTER_LISTEN": "0.0.0.0:9877", "SCALER_LISTEN": "0.0.0.0:9878"}


def urls(environ: Mapping[str, str]) -> list[str]:
    """Where either program would answer."""
    plain = [f"{local_url(environ.get(name) or usual)}/healthz" for name, usual in _LISTENS.items()]
    return [*plain, *(f"https{url.removeprefix('http')}" for url in plain)]


def is_alive(url: str) -> bool:
    """Whether it answers 200 in time, or asks who we are, which is alive enough.

    The certificate is one of another name than this machine's own address, and tells nothing here.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
        with opener.open(url, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except HTTPError as error:
        with error:
            return error.code == HTTPStatus.UNAUTHORIZED
    except (OSError, HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(0 if any(is_alive(url) for url in urls(os.environ)) else 1)
