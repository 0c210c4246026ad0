"""The Kubernetes backend: an API server, its workloads, leader election, state and Events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scaler.busy import ExporterBusy
from scaler.config.settings import ScalerSettings, TargetSettings, exporter_url_of
from scaler.kube.api import KubeApi
from scaler.kube.config_map_store import ConfigMapStore
from scaler.kube.conflicts import OtherAutoscalers
from scaler.kube.events import EventWriter
from scaler.kube.idle import IdleFirst
from scaler.kube.lease import LeaderElector, identity
from scaler.kube.objects import Ref
from scaler.kube.scaled_queues.source import ScaledQueues
from scaler.kube.target import KubernetesTarget
from scaler.kube.workloads import Workloads
from scaler.model import Condition
from scaler.sources.declared import NOTHING, Declared
from scaler.state.file_store import FileStore
from scaler.state.store import Store
from scaler.step_result import TargetStep
from scaler.targets.base import Target
from scaler.transitions import transitions_of
from service.api.keys import ApiKeys
from service.rate_limit import TokenBucket
from service.threads import Supervised

_PERMISSION_CHECKS_PER_SECOND: Final = 5.0
_PERMISSION_CHECK_BURST: Final = 50.0


class KubernetesBackend:
    """A `scaler.backends.Backend`. Constructing it does not connect."""

    store_may_be_unreachable: Final = True
    workers_end_with_scaler: Final = False
    worker_limit: Final = None

    def __init__(self, settings: ScalerSettings) -> None:
        """Raises NoClusterError and StoreError."""
        cluster = settings.kubernetes
        candidate = identity()
        self.api: Final = KubeApi(cluster, candidate)
        self.store: Final[Store | None] = (
            FileStore(settings.state_file) if settings.state_file else ConfigMapStore(self.api, cluster.state)
        )
        self._exporter_url = exporter_url_of(settings)
        self._key = ApiKeys(settings.api).own
        self._dry_run = settings.dry_run
        self._workloads = Workloads(self.api)
        self._other_autoscalers = OtherAutoscalers(self.api)
        self._permission_checks = TokenBucket(_PERMISSION_CHECKS_PER_SECOND, _PERMISSION_CHECK_BURST)
        self.elector: Final = LeaderElector(
            self.api, cluster.lease, cluster.lease_seconds, identity=candidate
        )
        self._events = EventWriter(self.api, self.elector.identity) if cluster.events else None
        self._scaled_queues = (
            ScaledQueues(
                self.api,
                cluster.scaled_queues,
                self.elector,
                self._events,
                requests_per_second=cluster.requests_per_second,
                writes=not settings.dry_run,
            )
            if cluster.scaled_queues
            else None
        )
        self._targets: dict[str, KubernetesTarget] = {}

    def target(self, settings: TargetSettings) -> KubernetesTarget:
        """The target that scales the workload of these settings."""
        if settings.kubernetes is None:
            raise ValueError(f"{settings.name} has no workload")
        workload = settings.kubernetes
        target = KubernetesTarget(
            Ref(
                workload.kind,
                workload.namespace or self.api.namespace,
                workload.name,
                workload.api_version,
            ),
            self.api,
            self._workloads,
            self._other_autoscalers,
            self.elector,
            dry_run=self._dry_run,
            permission_checks=self._permission_checks,
            idle_first=self._idle_first(settings),
        )
        self._targets[settings.name] = target
        return target

    def declared(self, settings: ScalerSettings) -> Declared:
        """Those of ScaledQueues."""
        return self._scaled_queues.declared(settings) if self._scaled_queues else NOTHING

    def change(self, target: Target, settings: TargetSettings) -> bool:
        """It is made again: the workload itself stays as it is."""
        del target, settings
        return False

    def _idle_first(self, settings: TargetSettings) -> IdleFirst | None:
        if settings.kubernetes is None or not self._exporter_url:
            return None
        busy = ExporterBusy(self._exporter_url, settings.prefix, settings.queues, self._key)
        return IdleFirst(self.api, busy, mark=settings.kubernetes.idle_first is not False)

    @property
    def leading(self) -> bool:
        """Whether this process holds the lease and it has not expired."""
        return self.elector.leading

    @property
    def tasks(self) -> tuple[Supervised, ...]:
        """The leader election and the Events, neither in a dry run; the watches of ScaledQueues."""
        watches = self._scaled_queues.tasks if self._scaled_queues else ()
        if self._dry_run:
            return watches
        return self.elector.task, *([self._events.task] if self._events else []), *watches

    def start(self, on_lead: Callable[[], None]) -> None:
        """Join the leader election, unless in a dry run: that may run beside a scaler that acts."""
        if self._scaled_queues:
            self._scaled_queues.start()
        if self._dry_run:
            return
        self.elector.start(on_lead)
        if self._events:
            self._events.start()

    def report(self, step: TargetStep, before: frozenset[Condition] | None) -> None:
        """An Event of the workload and of its ScaledQueue for each transition, and the status of that one, if
        this process is the leader."""
        queue = self._scaled_queues.of(step.name) if self._scaled_queues else None
        if self._scaled_queues and queue:
            self._scaled_queues.report(step, before)
        target = self._targets.get(step.name)
        if self._events is None or not self.leading:
            return
        for transition in transitions_of(step, before):
            if target is not None and target.uid is not None:
                self._events.put(target.ref, target.uid, transition)
            if queue is not None:
                self._events.put(queue.ref, queue.uid, transition)

    def stop(self) -> bool:
        """Release the lease."""
        ended = self._scaled_queues.stop() if self._scaled_queues else True
        ended = self.elector.stop() and ended
        if self._events:
            ended = self._events.stop() and ended
        self.api.close()
        return ended
