"""A cluster as the place where workers are: an API server, its workloads, the lease, state and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scaler.kube.api import KubeApi
from scaler.kube.config_map_store import ConfigMapStore
from scaler.kube.conflicts import OtherAutoscalers
from scaler.kube.events import EventWriter
from scaler.kube.idle import IdleFirst
from scaler.kube.lease import Elector, identity
from scaler.kube.objects import Ref
from scaler.kube.target import KubernetesTarget
from scaler.kube.workloads import Workloads
from scaler.model import Condition
from scaler.settings import Settings, TargetSettings
from scaler.state.file_store import FileStore
from scaler.state.store import Store
from scaler.step_result import TargetStep
from scaler.transitions import transitions_of
from service.rate_limit import TokenBucket
from service.web.status_client import key_from_settings

_PROOFS_PER_SECOND: Final = 5.0
_PROOFS_AT_ONCE: Final = 50.0
_FRESH: Final = 0.5  # of an interval: a list serves one step, and never the next


class KubernetesBackend:
    """A `scaler.backends.Backend`. Constructing it connects to nothing."""

    store_may_be_unreachable: Final = True

    def __init__(self, settings: Settings) -> None:
        """Raises NoClusterError and StoreError."""
        cluster = settings.kubernetes
        who = identity()
        self.api: Final = KubeApi(cluster, who)
        self.store: Final[Store | None] = (
            FileStore(settings.state_file) if settings.state_file else ConfigMapStore(self.api, cluster.state)
        )
        self._exporter_url = cluster.exporter_url
        self._key = key_from_settings(settings.api)
        self._dry_run = settings.dry_run
        self._workloads = Workloads(self.api, _FRESH * settings.interval_seconds)
        self._other_autoscalers = OtherAutoscalers(self.api)
        self._proofs = TokenBucket(_PROOFS_PER_SECOND, _PROOFS_AT_ONCE)
        self.elector: Final = Elector(self.api, cluster.lease, cluster.lease_seconds, who=who)
        self._events = EventWriter(self.api, self.elector.identity) if cluster.events else None
        self._targets: dict[str, KubernetesTarget] = {}

    def target(self, made_of: TargetSettings) -> KubernetesTarget:
        """The workload of a target."""
        if made_of.kubernetes is None:
            raise ValueError(f"{made_of.name} has no workload")
        workload = made_of.kubernetes
        target = KubernetesTarget(
            Ref(workload.kind, workload.namespace or self.api.namespace, workload.name),
            self.api,
            self._workloads,
            self._other_autoscalers,
            self.elector,
            dry_run=self._dry_run,
            proofs=self._proofs,
            idle_first=self._idle_first(made_of),
        )
        self._targets[made_of.name] = target
        return target

    def _idle_first(self, made_of: TargetSettings) -> IdleFirst | None:
        if made_of.kubernetes is None or not made_of.kubernetes.idle_first or not self._exporter_url:
            return None
        return IdleFirst(self.api, self._exporter_url, made_of.prefix, made_of.queues, self._key)

    @property
    def leading(self) -> bool:
        """Whether the lease is ours and has time left."""
        return self.elector.leading

    def start(self, on_lead: Callable[[], None]) -> None:
        """Take part in the election; in a dry run not, which may go on beside those that act."""
        if self._dry_run:
            return
        self.elector.start(on_lead)
        if self._events:
            self._events.start()

    def tell(self, step: TargetStep, before: frozenset[Condition] | None) -> None:
        """An Event of the workload for each piece of news, by the scaler that leads."""
        target = self._targets.get(step.name)
        if self._events is None or not self.leading or target is None or target.uid is None:
            return
        for transition in transitions_of(step, before):
            self._events.put(target.ref, target.uid, transition)

    def stop(self) -> bool:
        """Give the lease back."""
        ended = self.elector.stop()
        if self._events:
            ended = self._events.stop() and ended
        self.api.close()
        return ended
