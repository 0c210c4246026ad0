"""`python -m service.alive`: whether this container's exporter or scaler answers: for a HEALTHCHECK."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final
from urllib.request import ProxyHandler, build_opener

from service.remote import local_url

_SECONDS: Final = 2.0
_LISTENS: Final = {"EXPORTER_LISTEN": "0.0.0.0:9877", "SCALER_LISTEN": "0.0.0.0:9878"}


def urls(environ: Mapping[str, str]) -> list[str]:
    """Where either program would answer."""
    return [f"{local_url(environ.get(name) or usual)}/healthz" for name, usual in _LISTENS.items()]


def is_alive(url: str) -> bool:
    """Whether it answers 200 in time."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if any(is_alive(url) for url in urls(os.environ)) else 1)
