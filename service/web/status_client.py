"""Asking one of our processes for its view, from a command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from service.api.settings import ApiSettings
from service.config.files import with_secret_files
from service.web.address import parse_listen
from service.web.client import UnansweredError, fetch


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
    try:
        answer = fetch(url + "/status.json", seconds=seconds, headers=sent)
    except UnansweredError as error:
        if error.kind == "refused":
            raise NotRunningError(f"no {who} at {url}") from None
        raise NoAnswerError(f"{url}: {error}") from None
    check_key_taken(url, answer.status, key)
    if answer.status != 200:
        raise NoAnswerError(f"{url} answered {answer.status}: is it the {who}?")
    try:
        view = json.loads(answer.body)
    except (ValueError, RecursionError):
        view = None
    if not isinstance(view, dict) or view.get("name") != name:
        raise NoAnswerError(f"{url} answered something else than {'an' if who[0] in 'aeiou' else 'a'} {who}")
    return view


def check_key_taken(url: str, status: int, key: str | None) -> None:
    """Raises NoAnswerError where the status says that the key was not the one that is asked for."""
    if status in (401, 429):
        does = "does not accept this key" if key else "asks for a key"
        raise NoAnswerError(f"{url} {does}: set CRON_API_KEY or CRON_API_KEY_FILE")
