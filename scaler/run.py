"""The composition root of the scaler: settings, state, targets, the controller's thread, HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, Final, TypeAlias

from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from scaler.app import make_scaler_app
from scaler.backends import backend_kind, backend_kind_of, make_backend
from scaler.config.policy_layers import checked_policy, origins, resolve
from scaler.config.settings import PolicySettings, ScalerSettings, TargetSettings, slo_of
from scaler.configuration import Reloader
from scaler.controller import Controller, Managed
from scaler.engines.base import Engine
from scaler.exposition import FamilyText
from scaler.external_metrics.adapter import ExternalMetrics
from scaler.keda.external import ExternalScaler
from scaler.model import Condition
from scaler.prometheus.target_metrics import PrometheusMetrics
from scaler.rhythm import Rhythm, next_step
from scaler.sources.target_sources import TargetSources
from scaler.state.live import LiveState
from scaler.state.model import OperatorState, State
from scaler.state.store import Update
from scaler.step_result import TOTAL_LIMIT, StepResult, newest_sample
from scaler.targets.base import Target
from scaler.targets.closing import ClosingTargets
from scaler.transitions import known_conditions
from scaler.views import ScalerView, scaler_view
from service.api.auth import ApiKeyAuth
from service.api.metrics import Refusals
from service.clock import monotonic
from service.garbage import GarbageCollection
from service.logs import ProblemLog
from service.process_metrics import process_registry, registry_text
from service.threads import Supervised
from service.web.address import parse_listen
from service.web.connections.series import TrafficSeries
from service.web.negotiate import MetricsFormat
from service.web.server import BindError, WebServer
from service.web.web_config import WebConfig

log = logging.getLogger(__name__)

_LATE_SECONDS: Final = 60.0
_END: Final = b"# EOF\n"  # of OpenMetrics

_KnownPolicy: TypeAlias = tuple[ScalerSettings, TargetSettings, Mapping[str, Any], PolicySettings, str]
"""What a policy is made of, the policy, and what is wrong with it."""


class Scaler:
    """The whole program; tests run it in process on port 0."""

    def __init__(
        self, reloader: Reloader, web: WebConfig | None = None, garbage: GarbageCollection | None = None
    ) -> None:
        """Raises BackendError and StoreError. `garbage`: if the process is its own."""
        self._reloader = reloader
        self._garbage = garbage
        settings = reloader.current
        self._version = version("oxherd")
        self._dry_run = settings.dry_run
        self._kind = backend_kind(settings)
        self._backend = make_backend(settings)
        self._sources = TargetSources(reloader, self._backend.declared)
        self._state = LiveState(
            self._backend.store, store_may_be_unreachable=self._backend.store_may_be_unreachable
        )
        self._controller = Controller(self._state, leading=lambda: self.leading)
        self._conditions: dict[str, frozenset[Condition]] = {}
        self._targets: dict[str, tuple[TargetSettings, Target]] = {}
        self._policy_problems: dict[str, ProblemLog] = {}
        self._policies: dict[str, _KnownPolicy] = {}
        self._valid: dict[str, PolicySettings] = {}
        self._restored = False
        self._commanded = False
        self._closing = ClosingTargets()
        self._metrics_source: PrometheusMetrics | None = None
        self._prepared: ScalerSettings | None = None
        self._rhythm = Rhythm()
        self._task = Supervised("controller", self._step, max_age=lambda: 3 * self._interval + _LATE_SECONDS)
        self._auth = ApiKeyAuth(settings.api, "CRON_API_KEY")
        self._server = WebServer(
            make_scaler_app(self, self._auth, self._version),
            *parse_listen(settings.listen),
            web,
            settings.web,
        )
        self._registry = process_registry()
        self._registry.register(_ScalerCollector(self))
        self._registry.register(TrafficSeries(self._server.traffic))
        self._keda, self._external_metrics = ExternalScaler(settings), ExternalMetrics(settings)
        self._engines: Final[tuple[Engine, ...]] = (self._keda, self._external_metrics)
        for engine in self._engines:
            for series in engine.series:
                self._registry.register(series)
        self._families = FamilyText()
        self._started = monotonic()

    def start(self) -> None:
        """Start to listen and to scale. Raises BindError; nothing runs then."""
        self._started = monotonic()
        started: list[Engine] = []
        try:
            for engine in self._engines:
                engine.start()
                started.append(engine)
            self._server.start()
        except BindError:
            for engine in started:
                engine.stop()
            raise
        self._backend.start(self._take_over)
        self._task.start()
        for task in self._auth.tasks:
            task.start()
        if self._garbage is not None:
            self._garbage.begin()

    def stop(self) -> bool:
        """Stop all: decisions first, then the workers of this machine; whether all threads have ended."""
        ended = all([self._task.stop(_LATE_SECONDS), *(task.stop() for task in self._auth.tasks)])
        ended = all([*(engine.stop() for engine in self._engines), ended])
        if self.leading:
            managed = self._managed(self._sources.settings)
            self._state.save(lambda: self._controller.learned(managed), at_once=True)
        ended = self._backend.stop() and ended
        for _, target in self._targets.values():
            self._closing.add(target)
        self._closing.finish()
        if self._metrics_source:
            self._metrics_source.close()
        self._state.close()
        return self._server.stop() and ended

    @property
    def address(self) -> str:
        """host:port of the HTTP server."""
        return self._server.address

    @property
    def serving(self) -> bool:
        return self._server.alive and all(engine.alive for engine in self._engines)

    @property
    def keda_address(self) -> str | None:
        """host:port on which KEDA is answered, once started; None: it is not."""
        return self._keda.address

    @property
    def external_metrics_address(self) -> str | None:
        """host:port on which the API server is answered, once started; None: it is not."""
        return self._external_metrics.address

    @property
    def _engine_tasks(self) -> Iterator[Supervised]:
        for engine in self._engines:
            yield from engine.tasks

    @property
    def leading(self) -> bool:
        """Whether this process may act: it is the leader, and it knows the orders of operators."""
        return self._state.loaded and not self._state.why_held and self._backend.leading

    @property
    def controller(self) -> Controller:
        return self._controller

    def _take_over(self) -> None:
        """On becoming leader, take a step at once, unless a step has been taken as the leader already."""
        last = self._controller.last
        if last is None or not last.leading:
            self._task.wake()

    # --- the step ----------------------------------------------------------------------------------------

    def _step(self) -> float:
        begun = monotonic()
        self._closing.begin()
        self._commanded = False
        settings = self._sources.refresh()
        metrics = self._prepare(settings)
        self._state.refresh()
        operator = self._state.operator
        managed = list(self._managed(settings))
        most, limit = self._most_together(settings, managed)
        if self._state.recalls:
            lost = self._backend.workers_end_with_scaler and not self._dry_run and not self._restored
            self._controller.restore(managed, workers=lost, most=most)
            self._restored = True
        result = self._controller.step(
            metrics,
            managed,
            self._interval,
            enabled=settings.enabled if operator.enabled is None else operator.enabled,
            dry_run=self._dry_run,
            most=most,
            limit=limit,
            reloaded=not self._reloader.refused,
        )
        for engine in self._engines:
            engine.publish(settings, result, self._interval)
        metrics.ask_run_times({step.name for step in result.steps if step.grace_seconds is not None})
        if result.leading:
            self._task.sleep_on()
            if self._commanded:  # after this step had decided
                self._task.wake()
        for step in result.steps:
            self._backend.report(step, self._conditions.get(step.name))
        self._conditions = {
            step.name: known_conditions(step, self._conditions.get(step.name)) for step in result.steps
        }
        if self._garbage is not None:
            self._garbage.round_done(len(result.steps))
        at = newest_sample(result)
        pause, self._rhythm = next_step(self._rhythm, at, self._interval, result.time)
        return max(0.0, pause - (monotonic() - begun))

    def _prepare(self, settings: ScalerSettings) -> PrometheusMetrics:
        """New targets are made, removed ones are closed, the others stay as they are."""
        if self._metrics_source is not None and settings is self._prepared:
            return self._metrics_source
        configured = {
            target.name: target for target in settings.targets if backend_kind_of(target) == self._kind
        }
        if len(configured) < len(settings.targets):
            log.warning("targets of another kind need a restart", extra={"kind": self._kind})
        for name in [name for name in self._targets if name not in configured]:
            self._closing.add(self._targets.pop(name)[1])
            self._policies.pop(name, None)
            self._valid.pop(name, None)
        for name, target_settings in configured.items():
            self._targets[name] = target_settings, self._target(target_settings)
        metrics_source = PrometheusMetrics(settings, lambda name: self._state.recall(name).stalled)
        if self._metrics_source:
            self._metrics_source.close()
            metrics_source.continuing(self._metrics_source)
        self._metrics_source, self._prepared = metrics_source, settings
        return self._metrics_source

    def _target(self, settings: TargetSettings) -> Target:
        """The one that is there, with these settings, or a new one."""
        if settings.name not in self._targets:
            return self._backend.target(settings)
        before, existing = self._targets[settings.name]
        if _workers_of(before) == _workers_of(settings) or self._backend.change(existing, settings):
            return existing
        target = self._backend.target(settings)
        target.restore_start_times(existing.start_times())
        self._closing.add(existing)
        return target

    def _managed(self, settings: ScalerSettings) -> Iterator[Managed]:
        for name, (target_settings, target) in self._targets.items():
            policy, problem = self._policy_of(settings, target_settings)
            self._policy_problem(name).report(problem, target=name)
            slo = partial(slo_of, target_settings, policy) if target_settings.queue_slo_seconds else None
            orders = self._sources.orders(name)
            yield Managed(name, policy, target, slo, target_settings.priority, problem, orders)

    def _policy_problem(self, name: str) -> ProblemLog:
        if name not in self._policy_problems:
            self._policy_problems[name] = ProblemLog(log, "changed policy not usable", None)
        return self._policy_problems[name]

    def _policy_of(self, settings: ScalerSettings, target: TargetSettings) -> tuple[PolicySettings, str]:
        """The policy of a target, and why what was changed of it is not usable. Kept while nothing changes:
        of a thousand targets it took a tenth of a step."""
        changed = self._state.operator.policies.get(target.name, {})
        known = self._policies.get(target.name)
        if known is None or known[0] is not settings or known[1] is not target or known[2] != changed:
            try:
                policy, problem = checked_policy(settings, target, changed, most=self.most_workers), ""
                self._valid[target.name] = policy
            except ValueError as error:
                policy, problem = self._valid_policy(settings, target, str(error))
            known = self._policies[target.name] = (settings, target, dict(changed), policy, problem)
        return known[3], known[4]

    def _valid_policy(
        self, settings: ScalerSettings, target: TargetSettings, why: str
    ) -> tuple[PolicySettings, str]:
        """Instead of one that cannot be used: that of before, with which the target is scaled as it was. At a
        start there is none, and its workers stay as they are: the settings alone are what was changed."""
        last, how = self._valid.get(target.name), "the last valid one stays in force"
        if last is None:
            last, how = resolve(settings, target).model_copy(update={"enabled": False}), "nothing is scaled"
        return last, f"the changed policy cannot be used, {how}: {why}"

    def _most_together(self, settings: ScalerSettings, managed: Iterable[Managed]) -> tuple[int | None, str]:
        """How many workers all targets may have together, and the name of that limit."""
        most, machine = settings.max_total_workers, self.most_workers
        if machine is None or (most is not None and most <= machine):
            return most, TOTAL_LIMIT
        if most is None and sum(target.settings.max_workers for target in managed) <= machine:
            return None, TOTAL_LIMIT
        return machine, "what this machine can run"

    @property
    def most_workers(self) -> int | None:
        """How many workers this machine can run, if they are its processes."""
        limit = self._backend.worker_limit
        return limit.workers if limit else None

    @property
    def _interval(self) -> float:
        """Seconds between two decisions: as an operator has set it, else as in the settings."""
        interval = self._state.operator.interval_seconds
        return self._reloader.current.interval_seconds if interval is None else interval

    # --- for the HTTP paths --------------------------------------------------------------------------------

    def status(self) -> ScalerView:
        settings, operator = self._sources.settings, self._state.operator
        return scaler_view(
            self._last,
            version=self._version,
            uptime=monotonic() - self._started,
            interval=self._interval,
            age=self._task.age(),
            actions=self._state.actions,
            held=self._state.why_held,
            origins={
                target.name: origins(settings, target, operator.policies.get(target.name))
                for target in settings.targets
            },
            configured={target.name: target for target in settings.targets},
        )

    @property
    def settings(self) -> ScalerSettings:
        """With the targets of every source."""
        return self._sources.settings

    @property
    def operator(self) -> OperatorState:
        return self._state.operator

    def update(self, update: Callable[[State], State]) -> Update:
        result = self._state.update(update)
        self._commanded = True
        self._task.wake()
        return result

    def exposition(self, form: MetricsFormat) -> bytes:
        """In OpenMetrics or as text."""
        if form != "openmetrics":
            families = self._families.of(self._last, self._controller.counters, "text")
            return registry_text(self._registry, "text") + families
        families = self._families.of(self._last, self._controller.counters, "openmetrics")
        return registry_text(self._registry, form).removesuffix(_END) + families + _END

    def why_not_ready(self) -> list[str]:
        if not self._task.alive:
            return ["the controller's thread is not running"]
        held = [f"nothing is scaled: {self._state.why_held}"] if self._state.why_held else []
        held += [
            f"background thread {task.name} is not running"
            for task in (*self._backend.tasks, *self._auth.tasks, *self._engine_tasks)
            if not task.alive
        ]
        return held if self._controller.last else ["the first step is not done yet", *held]

    def collect(self) -> Iterable[Metric]:
        """What is not of a step, for prometheus_client."""
        yield InfoMetricFamily("oxherd_build", "The scaler's version.", {"version": self._version})
        yield from Refusals(self._auth).collect()

    @property
    def _last(self) -> StepResult | None:
        """The last step, with the leadership as it is now."""
        last = self._controller.last
        return None if last is None else replace(last, leading=self.leading)


class _ScalerCollector(Collector):
    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler

    def collect(self) -> Iterable[Metric]:
        return self._scaler.collect()


def _workers_of(target: TargetSettings) -> object:
    """What a target is made of: its workers, and the queues that tell which of them have jobs."""
    return target.processes, target.kubernetes, target.prefix, target.queues
