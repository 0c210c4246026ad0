"""The source of a command's view: the running exporter, or a local collection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Final, Self

from exporter.assess import Assessor
from exporter.bullmq.discover import Discovery
from exporter.bullmq.memory.watch import MemoryWatch
from exporter.bullmq.schedulers.watch import SchedulerWatch
from exporter.collect import Collector, Parts, make_sources
from exporter.commands.shards import NotShardsError, merge_shards
from exporter.config.settings import ExporterSettings
from exporter.configuration import preflight_error
from exporter.redis.deployment import Deployment
from exporter.redis.preflight import PreflightError, check_redis_access
from exporter.views import NO_MONITORING, About, View, status_view
from service.clock import Deadline
from service.commands.console import shown_or
from service.config.load import Loaded
from service.outcome import UnreadableError
from service.threads import TaskPool
from service.web.status_client import NotRunningError, StatusError, check_url, fetch_status

_COLLECT_SECONDS: Final = 10.0
_RESPONSE_SECONDS: Final = 15.0  # the collection that is requested ends by its own, shorter time-out


class ViewSource(ABC):
    """Returns a view as often as it is called; the end of a `with` closes it."""

    @abstractmethod
    def view(self) -> View:
        """The current view. Raises StatusError and ConfigError."""

    def close(self) -> None:  # noqa: B027  # not all have connections
        """Close the connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteSource(ViewSource):
    """Queries the exporter at a URL. Raises StatusError if the URL is invalid."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = check_url(url, "exporter")
        self._key = key

    def view(self) -> View:
        headers = {"x-prometheus-scrape-timeout-seconds": str(_COLLECT_SECONDS)}
        return fetch_status(
            self.url, "exporter", "oxherd", seconds=_RESPONSE_SECONDS, headers=headers, key=self._key
        )


class ShardsSource(ViewSource):
    """Queries all shards of the queues at the same time; those that do not answer are missing in the view."""

    def __init__(self, sources: Sequence[RemoteSource]) -> None:
        self._sources = sources

    def view(self) -> View:
        with TaskPool(len(self._sources), "shard") as pool:
            asked = {source.url: pool.submit(_ask, source) for source in self._sources}
            answers = {url: task.result() for url, task in asked.items()}
        failures = {url: answer for url, answer in answers.items() if isinstance(answer, StatusError)}
        views = {url: answer for url, answer in answers.items() if not isinstance(answer, StatusError)}
        if not views:
            raise next(iter(failures.values()))
        try:
            with shown_or("the exporters' responses lack a value that all shards together need"):
                return merge_shards(views, {url: str(error) for url, error in failures.items()})
        except NotShardsError as error:
            raise StatusError(str(error)) from None


def _ask(source: RemoteSource) -> View | StatusError:
    try:
        return source.view()
    except StatusError as error:
        return error


def remote_source(urls: Sequence[str], key: str | None) -> ViewSource:
    """The exporter at a URL, or the shards at several. Raises StatusError if one is invalid."""
    sources = [RemoteSource(url, key) for url in urls]
    return sources[0] if len(sources) == 1 else ShardsSource(sources)


class LocalSource(ViewSource):
    """Collects in this process, and with `memory` measures that too. Raises ConfigError if Redis refuses
    these settings."""

    def __init__(self, loaded: Loaded[ExporterSettings], *, memory: bool = False) -> None:
        settings = loaded.model
        if not settings.monitoring.enabled:
            raise StatusError(NO_MONITORING)
        self._deployment = Deployment(settings.redis)
        try:
            self._reachable = check_redis_access(self._deployment).reachable
        except PreflightError as error:
            self.close()
            raise preflight_error(loaded, error.address, error.kind, error.message) from None
        self._discovery = Discovery(self._deployment, settings.bullmq, settings.queue_shard)
        self._about = About(version=version("oxherd"), monitoring=True, shard=settings.queue_shard)
        schedulers = settings.bullmq.schedulers
        self._schedulers = (
            SchedulerWatch(self._deployment, self._discovery, schedulers) if schedulers.enabled else None
        )
        self._memory = (
            MemoryWatch(
                self._deployment, self._discovery, settings.bullmq.memory, nodes=settings.queue_shard.first
            )
            if memory and settings.bullmq.memory.enabled
            else None
        )
        parts = Parts(
            settings, self._deployment, self._discovery, schedulers=self._schedulers, memory=self._memory
        )
        self._assessor = Assessor(Collector(make_sources(parts)), settings)

    def view(self) -> View:
        if self._reachable:
            with suppress(UnreadableError):  # the collection reports it
                self._discovery.discover_once(Deadline.after(_COLLECT_SECONDS))
                if self._schedulers is not None:
                    self._schedulers.read(Deadline.after(_COLLECT_SECONDS))
                if self._memory is not None:
                    self._memory.survey_once(Deadline.after(_COLLECT_SECONDS))
        assessment = self._assessor.assess(Deadline.after(_COLLECT_SECONDS))
        view = status_view(assessment, self._about)
        redis = view["redis"]
        self._reachable = bool(redis["reachable"] if redis else view["queues"])
        return view

    def close(self) -> None:
        self._deployment.close()


class FallbackSource(ViewSource):
    """The running exporter or, while none is running, a local collection, which `notify` reports once."""

    def __init__(
        self, remote: RemoteSource, local: Callable[[], LocalSource], *, notify: Callable[[str], None]
    ) -> None:
        self._remote = remote
        self._make_local = local
        self._local: LocalSource | None = None
        self._notify = notify

    def view(self) -> View:
        try:
            return self._remote.view()
        except NotRunningError as error:
            if self._local is None:
                self._notify(f"{error}; collecting locally instead")
                self._local = self._make_local()
            return self._local.view()

    def close(self) -> None:
        if self._local is not None:
            self._local.close()
