"""Asking one of our processes for its view, from a command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from service.address import parse_listen
from service.api.settings import ApiSettings
from service.files import with_secret_files

_LARGEST: Final = 256 << 20


class NoAnswerError(Exception):
    """The process gave no usable answer; the text says which URL and why."""


class NotRunningError(NoAnswerError):
    """Nothing listens there."""


def local_url(listen: str) -> str:
    """Where a process with this `listen` is reached from its own machine."""
    host, port = parse_listen(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_url(url: str, who: str) -> str:
    """The URL without a slash at its end. Raises NoAnswerError for one that no process can be at."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise NoAnswerError(f"the {who}'s URL should be http://host:port or https://host:port")
    return url.rstrip("/")


KEYS: Final = ("CRON_API_KEY", "CRON_API_READ_KEY")


def key_given(environ: Mapping[str, str]) -> str | None:
    """The key that the environment, or a file that it names, has for a command. Raises ConfigError."""
    found = with_secret_files(environ, KEYS)
    return next((found[name].strip() for name in KEYS if found.get(name, "").strip()), None)


def key_set(api: ApiSettings) -> str | None:
    """The key of the settings that the process itself would start with."""
    key = api.key or api.read_key
    return key.get_secret_value() if key else None


def ask_view(
    url: str, who: str, name: str, *, seconds: float, headers: Mapping[str, str], key: str | None = None
) -> dict[str, Any]:
    """/status.json of the process at `url`, which has to call itself `name`; `who` is what errors call it.

    Raises NoAnswerError.
    """
    sent = {**headers, **({"X-API-Key": key} if key else {})}
    asked = Request(url + "/status.json", headers=sent)  # noqa: S310  # check_url looked at the scheme
    try:
        # No proxy: what http_proxy names is meant for the world outside.
        with build_opener(ProxyHandler({})).open(asked, timeout=seconds) as answer:
            view = json.loads(answer.read(_LARGEST))
    except HTTPError as error:
        with error:
            if error.code in (401, 403, 429):
                does = "does not accept this key" if key else "asks for a key"
                raise NoAnswerError(f"{url} {does}: set CRON_API_KEY or CRON_API_KEY_FILE") from None
            raise NoAnswerError(f"{url} answered {error.code}: is it the {who}?") from None
    except URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            raise NotRunningError(f"no {who} at {url}") from None
        why = getattr(error.reason, "strerror", None) or error.reason
        raise NoAnswerError(f"{url}: {why}") from None
    except OSError as error:
        why = "no answer in time"
        if not isinstance(error, TimeoutError):
            why = error.strerror or type(error).__name__
        raise NoAnswerError(f"{url}: {why}") from None
    except ValueError:
        view = None
    if not isinstance(view, dict) or view.get("name") != name:
        raise NoAnswerError(f"{url} answered something else than {'an' if who[0] in 'aeiou' else 'a'} {who}")
    return view
