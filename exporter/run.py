"""The composition root: from settings to a running exporter. Tests run all of it in process, on port 0."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from exporter.api.forward import ScalerClient
from exporter.assess import Assessor
from exporter.assessment import Assessment
from exporter.background.meter import BackgroundMeter
from exporter.background.series import BackgroundUse
from exporter.bullmq.bull.follow import BullFollower
from exporter.bullmq.busy import BusyJobs, BusyWorkers
from exporter.bullmq.discover import Discovery
from exporter.bullmq.memory.watch import MemoryWatch
from exporter.bullmq.schedulers.watch import SchedulerWatch
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.streams.state_file import CheckpointFile
from exporter.bullmq.work import WorkHistory
from exporter.collect import Collector, Parts, make_sources
from exporter.config.bullmq import BullMQSettings
from exporter.config.settings import ExporterSettings
from exporter.history import History, Point
from exporter.peers.model import Peers
from exporter.peers.poller import PeerPoller
from exporter.probes.prober import Probers
from exporter.redis.deployment import Deployment
from exporter.redis.preflight import PreflightError, check_redis_access
from exporter.redis.watch import FailoverWatcher
from exporter.redis.wire.room import OF_THE_PROCESS
from exporter.switch import Monitoring, Switch
from exporter.views import About, Task
from exporter.web.exposition import Exposition
from exporter.web.open_paths import open_routes
from service.api.auth import ApiKeyAuth
from service.clock import Deadline, monotonic, now
from service.garbage import GarbageCollection, give_back_memory
from service.outcome import UnreadableError, value_or_none
from service.threads import Supervised, WorkerGroup
from service.web.address import parse_listen
from service.web.basic_auth import App
from service.web.body import Body
from service.web.connections.series import TrafficSeries
from service.web.front import FrontApp
from service.web.negotiate import MetricsFormat
from service.web.server import WebServer
from service.web.web_config import WebConfig

if TYPE_CHECKING:
    from exporter.otlp.push import Pusher

log = logging.getLogger(__name__)

_LATE_SECONDS: Final = 60.0  # after its interval, until a background thread counts as late


class Exporter:
    """The whole program, without signals and the command line. Constructing it reads at most the state file,
    and raises CheckpointFileError if that file cannot be used. `garbage`: if the process is its own."""

    def __init__(
        self,
        settings: ExporterSettings,
        web: WebConfig | None = None,
        garbage: GarbageCollection | None = None,
    ) -> None:
        self._garbage = garbage
        self._switch = switch = Switch(settings.monitoring)
        self._deployment = Deployment(settings.redis)
        self._shard = shard = settings.queue_shard
        meter = BackgroundMeter(
            self._deployment, settings.redis.background_ratio, lambda: not discovery.known().complete
        )
        self._slowdown = lambda: meter.slowdown
        discovery = Discovery(self._deployment, settings.bullmq, shard, slowdown=self._slowdown)
        self._busy = BusyWorkers(self._deployment, discovery, shard)
        watch = FailoverWatcher(self._deployment) if shard.first else None
        self._stream_readers = WorkerGroup(max_age=_LATE_SECONDS)
        self._follower = follower = self._make_follower(settings.bullmq)
        probers = Probers(settings.probes, switch.gated) if settings.probes and shard.first else None
        self._bull = bull = BullFollower(self._deployment, settings.bullmq) if follower else None
        schedulers = (
            SchedulerWatch(self._deployment, discovery, settings.bullmq.schedulers, self._slowdown)
            if settings.bullmq.schedulers.enabled
            else None
        )
        memory = (
            MemoryWatch(
                self._deployment, discovery, settings.bullmq.memory, self._slowdown, nodes=shard.first
            )
            if settings.bullmq.memory.enabled
            else None
        )
        work = WorkHistory()
        self._version = version("oxherd")
        self._pusher = pusher = self._make_pusher(settings)
        parts = Parts(
            *(settings, self._deployment, discovery, watch, follower, bull, probers, schedulers, work),
            memory=memory,
            push=pusher.state if pusher else None,
        )
        collector = Collector(make_sources(parts))
        self._history = History()
        self._peer_poller = PeerPoller(settings.api)
        self._assessor = Assessor(collector, settings, switch, self._history)
        self._shard_urls = settings.shard_urls
        self._auth = ApiKeyAuth(settings.api, "CRON_API_KEY")
        self._front = FrontApp(open_routes(self), self._app)
        self._server = WebServer(self._front, *parse_listen(settings.listen), web, settings.web)
        self._exposition = Exposition(
            self._version,
            switch,
            self._auth,
            lambda: self.about().tasks,
            shard,
            others=[BackgroundUse(meter), TrafficSeries(self._server.traffic)],
            classic=settings.bullmq.histograms == "both",
        )
        if pusher is not None:
            from exporter.otlp.series import PushSeries

            self._exposition.add(PushSeries(pusher))
        self._tasks = (
            *(
                [Supervised("otlp", pusher.step, max_age=lambda: pusher.longest_step + _LATE_SECONDS)]
                if pusher
                else []
            ),
            Supervised(
                "discovery",
                switch.gated(discovery.step),
                max_age=lambda: settings.bullmq.discovery_interval_seconds * meter.slowdown + _LATE_SECONDS,
            ),
            *([Supervised("watch", switch.gated(watch.step), max_age=_LATE_SECONDS)] if watch else []),
            Supervised("budget", switch.gated(meter.step), max_age=_LATE_SECONDS),
            Supervised(
                "assessment",
                switch.gated(self._assessor.step),
                max_age=lambda: switch.state.interval_minutes * 60 + _LATE_SECONDS,
            ),
            *(probers.tasks if probers else ()),
            *self._peer_poller.tasks,
            *self._auth.tasks,
            *(
                [Supervised("schedulers", switch.gated(schedulers.step), max_age=schedulers.longest_pause)]
                if schedulers
                else []
            ),
            *([Supervised("memory", switch.gated(memory.step), max_age=_LATE_SECONDS)] if memory else ()),
            *(
                [
                    Supervised(
                        "follower",
                        switch.gated(
                            lambda: follower.step(discovery.known().made_by("bullmq")),
                            lambda: self._stream_readers.sync({}),
                        ),
                        max_age=_LATE_SECONDS,
                    )
                ]
                if follower
                else []
            ),
            *(
                [
                    Supervised(
                        "bull",
                        switch.gated(lambda: _follow_bull(bull, discovery), bull.stop),
                        max_age=_LATE_SECONDS,
                    )
                ]
                if bull
                else []
            ),
        )
        self._started = monotonic()
        self._scaler = ScalerClient(settings.api.scaler_url, settings.api.scaler_timeout_seconds)

    def _app(self) -> App:
        """All paths; imported late, as most exporters are only scraped."""
        from exporter.web.app import make_exporter_app

        return make_exporter_app(self, self._auth, self._scaler)

    def _make_follower(self, settings: BullMQSettings) -> Follower | None:
        if not settings.events:
            return None
        checkpoint = CheckpointFile(settings.state_file, self._shard) if settings.state_file else None
        return Follower(
            self._deployment,
            settings,
            group=self._stream_readers,
            checkpoint=checkpoint,
            slowdown=self._slowdown,
        )

    def _make_pusher(self, settings: ExporterSettings) -> Pusher | None:
        """Imported late, as its package is an extra."""
        if settings.otlp.endpoint is None:
            return None
        from exporter.otlp.push import Pusher
        from exporter.otlp.resource import own_resource
        from exporter.otlp.sender import OtlpSender

        return Pusher(
            settings.otlp,
            OtlpSender(settings.otlp, self._version),
            assess=self.assess,
            own=lambda: tuple(self._exposition.own()),
            resource=lambda: own_resource(settings.otlp, self._server.address, self._version),
        )

    def start(self) -> None:
        """Check the access to Redis once, listen, and start the background threads.

        Raises PreflightError and BindError; then nothing runs. An unreachable Redis is not an error.
        """
        if self._switch.on:
            try:
                check_redis_access(self._deployment)
            except PreflightError:
                self._deployment.close()
                raise
        self._started = monotonic()
        self._server.start()
        for task in self._tasks:
            task.start()
        if self._garbage is not None:
            self._garbage.begin()

    @property
    def address(self) -> str:
        """The host:port that the exporter listens on."""
        return self._server.address

    @property
    def serving(self) -> bool:
        return self._server.alive

    def stop(self) -> bool:
        """Stop everything in bounded time; returns whether all threads have ended."""
        ended = [self._server.stop(), *(task.stop() for task in self._tasks), self._stream_readers.stop()]
        if self._follower is not None:
            self._follower.stop()
        if self._bull is not None:
            self._bull.stop()
        if self._pusher is not None:
            self._pusher.close()
        self._deployment.close()
        return all(ended)

    # --- used by the HTTP paths ---

    def assess(self, deadline: Deadline) -> Assessment | None:
        if not self._switch.on:
            return None
        assessment = self._assessor.assess(deadline)
        if self._garbage is not None and (state := value_or_none(assessment.snapshot.bullmq)) is not None:
            self._garbage.round_done(len(state.queues))
            if OF_THE_PROCESS.was_emptied():
                give_back_memory()
        return assessment

    def exposition(self, form: MetricsFormat, deadline: Deadline) -> Body:
        return self._exposition.render(self.assess(deadline), form)

    def busy(self, prefix: str, names: Iterable[str], deadline: Deadline) -> BusyJobs:
        if not self._switch.on:
            raise UnreadableError("disabled", "monitoring is switched off")
        return self._busy.active_jobs(prefix, names, deadline)

    def about(self) -> About:
        tasks = (*self._tasks, *self._stream_readers.members) if self._switch.on else ()
        return About(
            version=self._version,
            monitoring=self._switch.on,
            uptime=monotonic() - self._started,
            tasks=tuple(Task(task.name, task.alive, task.age(), task.restarts) for task in tasks),
            shard=self._shard,
            shard_urls=self._shard_urls,
        )

    def history(self) -> tuple[Point, ...]:
        return self._history.points(now())

    def peers(self) -> Peers:
        return self._peer_poller.peers

    def monitoring(self) -> Monitoring:
        return self._switch.state

    def monitor(self, *, on: bool, interval_minutes: float | None) -> Monitoring:
        changed = self._switch.turn(on=on, interval_minutes=interval_minutes)
        log.warning(
            "monitoring switched",
            extra={"enabled": changed.enabled, "interval_minutes": changed.interval_minutes},
        )
        for task in self._tasks:
            task.wake()
        return changed

    def why_not_ready(self) -> list[str]:
        if not self._switch.on:
            return []
        tasks = (*self._tasks, *self._stream_readers.members)
        stuck = [f"background thread {task.name} is not running" for task in tasks if not task.alive]
        stuck += [f"no room for a thread to read {name}" for name in self._assessor.without_thread]
        return stuck if self._assessor.begun else ["the first collection is not done yet", *stuck]


def _follow_bull(bull: BullFollower, discovery: Discovery) -> float:
    known = discovery.known()
    return bull.step(known.made_by("bull"), known.elsewhere)
