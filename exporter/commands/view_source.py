"""Where a command gets its facts: from the running exporter, or by one collection of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Final, Self

from exporter.assess import Assessor
from exporter.bullmq.discover import Discovery
from exporter.collect import Collector, Parts, make_sources
from exporter.configuration import preflight_error
from exporter.redis.deployment import Deployment
from exporter.redis.preflight import PreflightError, check_redis_access
from exporter.settings import ExporterSettings
from exporter.views import NO_MONITORING, About, View, status_view
from service.clock import Deadline
from service.config.load import Loaded
from service.outcome import UnreadableError
from service.web.status_client import NotRunningError, StatusError, check_url, fetch_status

_COLLECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = (
    15.0  # the exporter bounds its collection by what we ask for, and needs a moment more
)


class ViewSource(ABC):
    """Something that can be looked at again and again, and closed by the end of a `with`."""

    @abstractmethod
    def view(self) -> View:
        """The view of now. Raises StatusError and ConfigError."""

    def close(self) -> None:  # noqa: B027  # not all hold something
        """Let go of connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteSource(ViewSource):
    """Asks the exporter at a URL. Raises StatusError for one that is no URL of an exporter."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = check_url(url, "exporter")
        self._key = key

    def view(self) -> View:
        headers = {"x-prometheus-scrape-timeout-seconds": str(_COLLECT_SECONDS)}
        return fetch_status(
            self.url, "exporter", "oxherd", seconds=_ANSWER_SECONDS, headers=headers, key=self._key
        )


class LocalSource(ViewSource):
    """Collects by itself. Raises ConfigError when Redis refuses these settings."""

    def __init__(self, loaded: Loaded[ExporterSettings]) -> None:
        settings = loaded.model
        if not settings.monitoring.enabled:
            raise StatusError(NO_MONITORING)
        self._deployment = Deployment(settings.redis)
        try:
            self._reachable = check_redis_access(self._deployment).reachable
        except PreflightError as error:
            self.close()
            raise preflight_error(loaded, error.address, error.kind, error.message) from None
        self._discovery = Discovery(self._deployment, settings.bullmq)
        parts = Parts(settings, self._deployment, self._discovery)
        self._assessor = Assessor(Collector(make_sources(parts)), settings)

    def view(self) -> View:
        if self._reachable:
            with suppress(UnreadableError):  # the collection will say it
                self._discovery.discover_once(Deadline.after(_COLLECT_SECONDS))
        assessment = self._assessor.assess(Deadline.after(_COLLECT_SECONDS))
        view = status_view(assessment, About(version=version("oxherd"), monitoring=True))
        self._reachable = bool(view["redis"] and view["redis"]["reachable"])
        return view

    def close(self) -> None:
        self._deployment.close()


class FallbackSource(ViewSource):
    """The running exporter or, while there is none, a look of our own; `say` is told of it once."""

    def __init__(
        self, remote: RemoteSource, local: Callable[[], LocalSource], *, say: Callable[[str], None]
    ) -> None:
        self._remote = remote
        self._make_local = local
        self._local: LocalSource | None = None
        self._say = say

    def view(self) -> View:
        try:
            return self._remote.view()
        except NotRunningError as error:
            if self._local is None:
                self._say(f"{error}, so this is one collection of our own")
                self._local = self._make_local()
            return self._local.view()

    def close(self) -> None:
        if self._local is not None:
            self._local.close()
