"""ScaledQueues as targets: what is declared now, and what is told of it in their status and Events."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from scaler.config.admission import Admission, DeclaredTarget, admit
from scaler.config.scaled_queue import SpecError, target_of
from scaler.config.settings import ALL_NAMESPACES, ScaledQueueSettings, ScalerSettings, TargetSettings
from scaler.kube.api import KubeApi
from scaler.kube.events import EventWriter
from scaler.kube.fence import Fence
from scaler.kube.objects import Json
from scaler.kube.scaled_queues.annotations import orders_of
from scaler.kube.scaled_queues.objects import ScaledQueue
from scaler.kube.scaled_queues.reflector import Reflector
from scaler.kube.scaled_queues.status import Declaration, differs, status_of_step, status_without_step
from scaler.kube.scaled_queues.writer import StatusWriter
from scaler.model import Condition
from scaler.sources.declared import NOTHING, Declared, Orders
from scaler.step_result import TargetStep
from scaler.transitions import Transition
from service.clock import now
from service.threads import Supervised

log = logging.getLogger(__name__)

_TOO_LARGE: Final = "spec: is missing, or larger than 256 KiB"


class ScaledQueues:
    """All that are watched. `declared` and `report` are for the thread of the controller."""

    def __init__(
        self,
        api: KubeApi,
        settings: ScaledQueueSettings,
        fence: Fence,
        events: EventWriter | None,
        *,
        requests_per_second: float,
        writes: bool,
    ) -> None:
        """`writes`: the status and Events are written while this process leads; False: a dry run."""
        self._most = settings.max_objects
        self._home = api.namespace
        self._fence = fence
        self._events = events
        namespaces = [None] if ALL_NAMESPACES in settings.namespaces else settings.namespaces
        self._reflectors = [Reflector(api, namespace, self._most) for namespace in namespaces]
        self._writer = StatusWriter(api, fence, requests_per_second) if writes else None
        self._objects: Mapping[str, ScaledQueue] = {}
        self._parsed: dict[str, tuple[str, int, TargetSettings | None, str]] = {}
        self._valid: dict[str, tuple[str, TargetSettings]] = {}
        self._orders: dict[str, tuple[str, Mapping[str, str], Orders]] = {}
        self._admissions: Mapping[str, Admission] = {}
        self._announced: dict[str, tuple[str, str]] = {}
        self._seen: tuple[ScalerSettings, int] | None = None
        self._declared = NOTHING

    @property
    def tasks(self) -> tuple[Supervised, ...]:
        """The watches, and what writes."""
        written = [self._writer.task] if self._writer else []
        return (*(reflector.task for reflector in self._reflectors), *written)

    def start(self) -> None:
        """Begin to watch."""
        for reflector in self._reflectors:
            reflector.start()
        if self._writer:
            self._writer.task.start()

    def stop(self) -> bool:
        """End; whether all threads have ended."""
        ended = [reflector.stop() for reflector in self._reflectors]
        return all([*ended, self._writer.task.stop() if self._writer else True])

    # --- what is declared --------------------------------------------------------------------------------

    def declared(self, settings: ScalerSettings) -> Declared:
        """The targets of the objects as they are now; what is not valid is told in the object's status."""
        seen = settings, sum(reflector.changes for reflector in self._reflectors)
        if self._seen is None or self._seen[0] is not settings or self._seen[1] != seen[1]:
            self._objects = self._all()
            self._admit(settings)
            self._seen = seen
        elif self._writer is not None and self._fence.leading:
            self._objects = self._all()  # with the status that they have now
        self._report_objects()
        return self._declared

    def _all(self) -> Mapping[str, ScaledQueue]:
        objects: dict[str, ScaledQueue] = {}
        for reflector in self._reflectors:
            objects |= reflector.objects()
        return objects

    def _admit(self, settings: ScalerSettings) -> None:
        self._forget_gone()
        candidates = [self._candidate(queue) for queue in self._objects.values()]
        before, self._admissions = self._admissions, admit(settings, candidates, self._most, home=self._home)
        targets, orders = [], {}
        for name, admission in self._admissions.items():
            self._tell(name, admission, before.get(name))
            if admission.target is not None:
                targets.append(admission.target)
                self._valid[name] = self._objects[name].uid, admission.target
        for name, queue in self._objects.items():
            known = self._orders_of(queue)
            if known != Orders():
                orders[name] = known
        same = tuple(targets) == self._declared.targets
        if not same:
            log.info("scaled queues changed", extra={"targets": len(targets), "objects": len(self._objects)})
        self._declared = Declared(self._declared.targets if same else tuple(targets), orders)

    def _candidate(self, queue: ScaledQueue) -> DeclaredTarget:
        known = self._parsed.get(queue.key)
        if known is None or known[:2] != (queue.uid, queue.generation):
            target, problem = None, ""
            try:
                if queue.spec is None:
                    raise SpecError(_TOO_LARGE)  # noqa: TRY301  # as the others
                target = target_of(queue.namespace, queue.name, queue.spec)
            except SpecError as error:
                problem = str(error)
            known = self._parsed[queue.key] = (queue.uid, queue.generation, target, problem)
        uid, valid = self._valid.get(queue.key, ("", None))
        return DeclaredTarget(
            queue.created, queue.key, known[2], known[3], valid if uid == queue.uid else None
        )

    def _orders_of(self, queue: ScaledQueue) -> Orders:
        known = self._orders.get(queue.key)
        if known is not None and known[0] == queue.uid and known[1] == queue.annotations:
            return known[2]
        orders = orders_of(queue.annotations, by=str(queue.ref), at=now())
        self._orders[queue.key] = queue.uid, queue.annotations, orders
        if orders.problem:
            facts = {"target": queue.key, "error": orders.problem}
            log.warning("order of a scaled queue not readable", extra=facts)
        return orders

    def _forget_gone(self) -> None:
        uids = {queue.uid for queue in self._objects.values()}
        if self._writer:
            self._writer.forget({uid for uid, *_ in self._parsed.values()} - uids)
        for known in (self._parsed, self._valid, self._orders, self._announced):
            for name in known.keys() - self._objects.keys():
                known.pop(name)

    def _tell(self, name: str, admission: Admission, before: Admission | None) -> None:
        """A line in the log where something about an object is not as it should be."""
        if admission.reason and (before is None or before[1:] != admission[1:]):
            log.warning("scaled queue not usable", extra={"target": name, "error": admission.sentence})

    # --- what is told of it ------------------------------------------------------------------------------

    def report(self, step: TargetStep, before: frozenset[Condition] | None) -> None:
        """The status after a step of its target, if there is such an object and this process leads."""
        queue = self._objects.get(step.name)
        if queue is None or step.name not in self._admissions or not self._may_write:
            return
        self._put(queue, status_of_step(step, self._declaration(queue), self._status(queue), before))

    def of(self, name: str) -> ScaledQueue | None:
        """The object of a target; None: it has none."""
        return self._objects.get(name) if name in self._admissions else None

    def _report_objects(self) -> None:
        """What is told without a step of the target, by the one that leads."""
        if self._writer is None:
            return
        if not self._fence.leading:
            self._writer.forget()  # another one writes
            self._announced.clear()
            return
        for name, admission in self._admissions.items():
            queue = self._objects.get(name)
            if queue is None:
                continue
            declaration = self._declaration(queue)
            self._announce(queue, declaration)
            if admission.target is None:
                self._put(queue, status_without_step(declaration, self._status(queue), now()))

    def _announce(self, queue: ScaledQueue, declaration: Declaration) -> None:
        """An Event where something about an object begins or ends not to be as it should."""
        admission, order = declaration.admission, declaration.order_problem
        before, now_told = self._announced.get(queue.key, ("", "")), (admission.sentence, order)
        if before == now_told or self._events is None:
            return
        self._announced[queue.key] = now_told
        told = [
            (before[0], admission.sentence, admission.reason or "SpecValid", "its spec is in force"),
            (before[1], order, "OrderInvalid" if order else "OrderValid", "its orders are in force"),
        ]
        for old, new, reason, over in told:
            if old != new:
                transition = Transition(queue.key, reason, new or over, trouble=bool(new))
                self._events.put(queue.ref, queue.uid, transition)

    @property
    def _may_write(self) -> bool:
        return self._writer is not None and self._fence.leading

    def _declaration(self, queue: ScaledQueue) -> Declaration:
        _, _, orders = self._orders.get(queue.key, ("", {}, Orders()))
        parsed = self._parsed.get(queue.key)
        generation = parsed[1] if parsed else queue.generation
        return Declaration(generation, self._admissions[queue.key], orders.problem)

    def _status(self, queue: ScaledQueue) -> Json:
        """The newest that is known, written or not."""
        latest = self._writer.latest(queue.uid) if self._writer else None
        return queue.status if latest is None else latest

    def _put(self, queue: ScaledQueue, status: dict[str, object]) -> None:
        if self._writer is not None and differs(status, self._status(queue)):
            self._writer.put(queue.ref, queue.uid, status)
