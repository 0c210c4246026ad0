"""Where a command gets its facts: from the running exporter, or by one collection of its own."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Final, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from exporter.access import RefusedError, check_access
from exporter.assess import Assessor
from exporter.bullmq.discover import Discovery
from exporter.collect import Collector, Parts, sources
from exporter.configuration import refused
from exporter.redis.nodes import Deployment
from exporter.settings import Settings
from exporter.views import NO_MONITORING, About, View, status_view
from service.address import parse_listen
from service.clock import Deadline
from service.outcome import UnreadableError
from service.settings import Loaded

_COLLECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = (
    15.0  # the exporter bounds its collection by what we ask for, and needs a moment more
)
_LARGEST: Final = 256 << 20


class NoAnswerError(Exception):
    """The exporter gave no usable answer; the text says which URL and why."""


class NotRunningError(NoAnswerError):
    """Nothing listens there."""


class Looker(ABC):
    """Something that can be looked at again and again, and closed by the end of a `with`."""

    @abstractmethod
    def look(self) -> View:
        """The view of now. Raises NoAnswerError and ConfigError."""

    def close(self) -> None:  # noqa: B027  # not all hold something
        """Let go of connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def local_url(listen: str) -> str:
    """Where an exporter with this `listen` is reached from its own machine."""
    host, port = parse_listen(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Remote(Looker):
    """Asks the exporter at a URL. Raises NoAnswerError for one that is no URL of an exporter."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise NoAnswerError("the exporter's URL should be http://host:port or https://host:port")
        self.url = url.rstrip("/")

    def look(self) -> View:
        asked = Request(  # noqa: S310  # the scheme was looked at
            self.url + "/status.json",
            headers={"x-prometheus-scrape-timeout-seconds": str(_COLLECT_SECONDS)},
        )
        try:
            # No proxy: what http_proxy names is meant for the world outside.
            with build_opener(ProxyHandler({})).open(asked, timeout=_ANSWER_SECONDS) as answer:
                view = json.loads(answer.read(_LARGEST))
        except HTTPError as error:
            with error:
                raise NoAnswerError(f"{self.url} answered {error.code}: is it the exporter?") from None
        except URLError as error:
            if isinstance(error.reason, ConnectionRefusedError):
                raise NotRunningError(f"no exporter at {self.url}") from None
            why = getattr(error.reason, "strerror", None) or error.reason
            raise NoAnswerError(f"{self.url}: {why}") from None
        except OSError as error:
            why = (
                "no answer in time"
                if isinstance(error, TimeoutError)
                else error.strerror or type(error).__name__
            )
            raise NoAnswerError(f"{self.url}: {why}") from None
        except ValueError:
            raise NoAnswerError(f"{self.url} answered something else than an exporter") from None
        if not isinstance(view, dict) or view.get("name") != "oxherd":
            raise NoAnswerError(f"{self.url} answered something else than an exporter")
        return view


class Local(Looker):
    """Collects by itself. Raises ConfigError when Redis refuses these settings."""

    def __init__(self, loaded: Loaded[Settings]) -> None:
        settings = loaded.model
        if not settings.monitoring.enabled:
            raise NoAnswerError(NO_MONITORING)
        self._deployment = Deployment(settings.redis)
        try:
            self._reachable = check_access(self._deployment).reachable
        except RefusedError as error:
            self.close()
            raise refused(loaded, error.address, error.kind, error.message) from None
        self._discovery = Discovery(self._deployment, settings.bullmq)
        parts = Parts(settings, self._deployment, self._discovery)
        self._assessor = Assessor(Collector(sources(parts)), settings)

    def look(self) -> View:
        if self._reachable:
            with suppress(UnreadableError):  # the collection will say it
                self._discovery.look_once(Deadline.after(_COLLECT_SECONDS))
        assessment = self._assessor.assess(Deadline.after(_COLLECT_SECONDS))
        view = status_view(assessment, About(version=version("oxherd"), monitoring=True))
        self._reachable = bool(view["redis"] and view["redis"]["reachable"])
        return view

    def close(self) -> None:
        self._deployment.close()


class Either(Looker):
    """The running exporter or, while there is none, a look of our own; `say` is told of it once."""

    def __init__(self, remote: Remote, local: Callable[[], Local], *, say: Callable[[str], None]) -> None:
        self._remote = remote
        self._make_local = local
        self._local: Local | None = None
        self._say = say

    def look(self) -> View:
        try:
            return self._remote.look()
        except NotRunningError as error:
            if self._local is None:
                self._say(f"{error}, so this is one collection of our own")
                self._local = self._make_local()
            return self._local.look()

    def close(self) -> None:
        if self._local is not None:
            self._local.close()
