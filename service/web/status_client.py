"""Reads the status of one of our processes over HTTP, for a command or for the other process."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from service.api.settings import ApiSettings
from service.clock import Deadline
from service.config.files import with_secret_files
from service.config.sources import API_KEYS
from service.json_text import MAX_MEMORY, read_json
from service.web.client import HttpClientError, fetch


class StatusError(Exception):
    """The process gave no usable answer; the text says which URL and why."""


class NotRunningError(StatusError):
    """Nothing listens there."""


def check_url(url: str, process: str) -> str:
    """The URL without a slash at its end. Raises StatusError for one that no process can be at."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise StatusError(f"the {process}'s URL should be http://host:port or https://host:port")
    return url.rstrip("/")


def key_from_environment(environ: Mapping[str, str]) -> str | None:
    """The key that the environment, or a file that it names, has for a command. Raises ConfigError."""
    values = with_secret_files(environ, API_KEYS)
    return next((values[name].strip() for name in API_KEYS if values.get(name, "").strip()), None)


def key_from_settings(api: ApiSettings) -> str | None:
    """The key of the settings that the process itself would start with."""
    key = api.key or api.read_key
    return key.get_secret_value() if key else None


def fetch_status(
    url: str,
    process: str,
    name: str,
    *,
    seconds: float,
    headers: Mapping[str, str],
    key: str | None = None,
    most: int = MAX_MEMORY,
) -> dict[str, Any]:
    """/status.json of the process at `url`, which calls itself `name`; errors call it `process`.

    All of it within `seconds`, and with values that take at most `most` bytes. Raises StatusError.
    """
    sent = {**headers, **({"X-API-Key": key} if key else {})}
    try:
        response = fetch(url + "/status.json", deadline=Deadline.after(seconds), headers=sent)
    except HttpClientError as error:
        if error.kind == "refused":
            raise NotRunningError(f"no {process} at {url}") from None
        raise StatusError(f"{url}: {error}") from None
    check_key_accepted(url, response.status, key)
    if response.status != HTTPStatus.OK:
        raise StatusError(f"{url} answered {response.status}: is it the {process}?")
    try:
        view = read_json(response.body, most=most)
    except ValueError:
        view = None
    if not isinstance(view, dict) or view.get("name") != name:
        raise StatusError(f"the server at {url} is not {'an' if process[0] in 'aeiou' else 'a'} {process}")
    return view


def check_key_accepted(url: str, status: int, key: str | None) -> None:
    """Raises StatusError where the status says that the key is missing or wrong."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS):
        problem = "does not accept this key" if key else "requires a key"
        raise StatusError(f"{url} {problem}: set CRON_API_KEY or CRON_API_KEY_FILE")
