"""Where workers are: on this machine, or in a cluster. All targets of a scaler are in one place.

Adding a kind is adding a row to BACKENDS and a field to TargetSettings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from scaler.model import Condition
from scaler.settings import ScalerSettings, TargetSettings
from scaler.state.file_store import FileStore
from scaler.state.store import Store
from scaler.step_result import TargetStep
from scaler.targets.base import Target
from scaler.targets.process import ProcessTarget


class BackendError(Exception):
    """The place cannot be worked in; the text says why."""


class Backend(Protocol):
    """Makes targets, and says whether this process is the one that acts on them."""

    def target(self, made_of: TargetSettings) -> Target:
        """The target of these settings."""

    @property
    def store(self) -> Store | None:
        """Where the state is kept, if it is."""

    @property
    def leading(self) -> bool:
        """Whether this process may act now."""

    @property
    def store_may_be_unreachable(self) -> bool:
        """Whether the store may be out of reach at the start."""

    def start(self, on_lead: Callable[[], None]) -> None:
        """Begin; `on_lead` is called when this process begins to lead."""

    def tell(self, step: TargetStep, before: frozenset[Condition] | None) -> None:
        """A step of a target was done; `before` are its conditions until then. Never waits."""

    def stop(self) -> bool:
        """Let another process lead; whether all threads ended."""


class LocalBackend:
    """This machine: one scaler, which always leads."""

    leading: Final = True
    store_may_be_unreachable: Final = False

    def __init__(self, settings: ScalerSettings) -> None:
        """Raises StoreError."""
        self.store: Final[Store | None] = FileStore(settings.state_file) if settings.state_file else None

    def target(self, made_of: TargetSettings) -> Target:
        """Its worker processes."""
        if made_of.processes is None:
            raise ValueError(f"{made_of.name} has no processes")
        return ProcessTarget(made_of.name, made_of.processes)

    def start(self, on_lead: Callable[[], None]) -> None:
        """Nothing has to begin."""

    def tell(self, step: TargetStep, before: frozenset[Condition] | None) -> None:
        """The log has it all."""

    def stop(self) -> bool:
        """Nothing goes on."""
        return True


def _cluster(settings: ScalerSettings) -> Backend:
    """Imported late: the client takes half a second and 40 MB, which processes need not pay."""
    try:
        from scaler.kube.api import NoClusterError
        from scaler.kube.backend import KubernetesBackend
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
    """The place that the target's settings name; they name exactly one."""
    return next(kind for kind in BACKENDS if getattr(target, kind) is not None)


def backend_kind(settings: ScalerSettings) -> str:
    """That of the targets; without any, this machine."""
    return backend_kind_of(settings.targets[0]) if settings.targets else "processes"


def make_backend(settings: ScalerSettings) -> Backend:
    """The place of these settings' targets. Raises BackendError and StoreError."""
    return BACKENDS[backend_kind(settings)](settings)
