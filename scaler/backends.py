"""Backends: where workers run, on this machine or in a cluster. All targets of a scaler have the same one.

A new backend needs a row in BACKENDS and a field of TargetSettings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from scaler.busy import BusyLookup, ExporterBusy
from scaler.config.settings import ScalerSettings, TargetSettings
from scaler.model import Condition
from scaler.sources.declared import NOTHING, Declared
from scaler.state.file_store import FileStore
from scaler.state.store import Store
from scaler.step_result import TargetStep
from scaler.targets.base import Target
from scaler.targets.machine import WorkerLimit, WorkerRoom, limit_of_workers
from scaler.targets.process import ProcessTarget
from service.api.keys import ApiKeys
from service.threads import Supervised

log = logging.getLogger(__name__)


class BackendError(Exception):
    """The backend cannot be used; the text says why."""


class Backend(Protocol):
    """Makes targets, and reports whether this process may act on them."""

    def target(self, settings: TargetSettings) -> Target:
        """The target of these settings."""

    def declared(self, settings: ScalerSettings) -> Declared:
        """Targets that are declared there, beside those of these settings."""

    def change(self, target: Target, settings: TargetSettings) -> bool:
        """Apply changed settings to one of its targets; False: it has to be made again."""

    @property
    def workers_end_with_scaler(self) -> bool:
        """Whether a restart of the scaler ends the workers, so that they have to be started again."""

    @property
    def worker_limit(self) -> WorkerLimit | None:
        """How many workers can run there at most; None: it is not known."""

    @property
    def store(self) -> Store | None:
        """The store of the state; None if the state is not stored."""

    @property
    def leading(self) -> bool:
        """Whether this process may act now."""

    @property
    def store_may_be_unreachable(self) -> bool:
        """Whether the store may be unreachable at the start."""

    @property
    def tasks(self) -> tuple[Supervised, ...]:
        """Its background threads, as far as they should run."""

    def start(self, on_lead: Callable[[], None]) -> None:
        """Begin; `on_lead` is called when this process becomes the leader."""

    def report(self, step: TargetStep, before: frozenset[Condition] | None) -> None:
        """A step of a target is done; `before` are its conditions before the step. Does not block."""

    def stop(self) -> bool:
        """Release the leadership; whether all threads have ended."""


class LocalBackend:
    """This machine: one scaler, always the leader."""

    leading: Final = True
    store_may_be_unreachable: Final = False
    workers_end_with_scaler: Final = True
    tasks: Final[tuple[Supervised, ...]] = ()
    """None: a target whose workers are not supervised says so in each step."""

    def __init__(self, settings: ScalerSettings) -> None:
        """Raises StoreError."""
        self.store: Final[Store | None] = FileStore(settings.state_file) if settings.state_file else None
        self._exporter_url = settings.exporter_url
        self._key = ApiKeys(settings.api).own
        self._warned = False
        self.worker_limit: Final = limit_of_workers(settings)
        self._room = WorkerRoom(self.worker_limit)

    def target(self, settings: TargetSettings) -> Target:
        """The target of its worker processes."""
        if settings.processes is None:
            raise ValueError(f"{settings.name} has no processes")
        return ProcessTarget(settings.name, settings.processes, busy=self._busy(settings), room=self._room)

    def declared(self, settings: ScalerSettings) -> Declared:
        """None: those of the settings are all."""
        del settings
        return NOTHING

    def change(self, target: Target, settings: TargetSettings) -> bool:
        """Its workers go on, or are replaced one after the other."""
        if settings.processes is None or not isinstance(target, ProcessTarget):
            return False
        target.change(settings.processes, self._busy(settings))
        return True

    def _busy(self, settings: TargetSettings) -> BusyLookup | None:
        if not self._exporter_url:
            if not self._warned:
                why = "exporter_url is not set: a scale-in ends the youngest workers, even those with jobs"
                log.warning("idle workers not known", extra={"why": why})
                self._warned = True
            return None
        return ExporterBusy(self._exporter_url, settings.prefix, settings.queues, self._key)

    def start(self, on_lead: Callable[[], None]) -> None:
        """Does nothing: nothing has to begin."""

    def report(self, step: TargetStep, before: frozenset[Condition] | None) -> None:
        """Does nothing: the log has all steps."""

    def stop(self) -> bool:
        """Does nothing: there is no thread."""
        return True


def _cluster(settings: ScalerSettings) -> Backend:
    """Imported late: the client takes half a second and 40 MB, which a scaler of processes does not need."""
    try:
        from scaler.kube.backend import KubernetesBackend
        from scaler.kube.wire.credentials import NoClusterError
    except ModuleNotFoundError as error:
        why = f"module {error.name} is missing: install oxherd[kubernetes]"
        raise BackendError(why) from None
    try:
        return KubernetesBackend(settings)
    except NoClusterError as error:
        raise BackendError(str(error)) from None


BACKENDS: Final[Mapping[str, Callable[[ScalerSettings], Backend]]] = {
    "processes": LocalBackend,
    "kubernetes": _cluster,
}


def backend_kind_of(target: TargetSettings) -> str:
    """The kind of backend that the target's settings name; they name exactly one."""
    return next(kind for kind in BACKENDS if getattr(target, kind) is not None)


def backend_kind(settings: ScalerSettings) -> str:
    """That of the targets; without targets, that of those that may be declared."""
    if settings.kubernetes.scaled_queues is not None:
        return "kubernetes"
    return backend_kind_of(settings.targets[0]) if settings.targets else "processes"


def make_backend(settings: ScalerSettings) -> Backend:
    """The backend of these settings' targets. Raises BackendError and StoreError."""
    return BACKENDS[backend_kind(settings)](settings)
