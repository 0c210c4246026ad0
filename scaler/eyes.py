"""From the targets in the settings to what is seen of them: one look at Prometheus for all."""

from __future__ import annotations

from collections.abc import Mapping

from scaler.controller import Sight
from scaler.model import Missing
from scaler.observe import Look, Observer
from scaler.queries import OURS, QueueKey, combine
from scaler.settings import Settings, TargetSettings, is_glob, matching
from service.clock import Deadline


class Eyes:
    """Looks at the queues of these settings' targets. Connects to nothing before the first look."""

    def __init__(self, settings: Settings) -> None:
        self._targets = settings.targets
        self._queries = OURS if settings.queries.is_ours else settings.queries
        named = [
            QueueKey(target.prefix, queue)
            for target in settings.targets
            for queue in target.queues
            if not is_glob(queue)
        ]
        patterned = any(is_glob(queue) for target in settings.targets for queue in target.queues)
        # With a pattern among them, the names of all queues have to be learned.
        self._observer = Observer(settings.prometheus, {self._queries: () if patterned else named})
        self.last: Look | None = None

    def look(self, deadline: Deadline) -> Mapping[str, Sight]:
        """What is seen of each target, by its name. Never raises."""
        if not self._targets:
            return {}
        self.last = look = self._observer.look(deadline)
        reading = look.readings[self._queries]
        known = () if isinstance(reading, Missing) else tuple(reading.samples)
        return {target.name: self._sight(target, look, known) for target in self._targets}

    def close(self) -> None:
        """Let go of the connections."""
        self._observer.close()

    def _sight(self, target: TargetSettings, look: Look, known: tuple[QueueKey, ...]) -> Sight:
        names = matching(target.queues, [key.name for key in known if key.prefix == target.prefix])
        if not names:
            reading = look.readings[self._queries]
            why = f"no queue matches {', '.join(target.queues)}"
            missing = reading if isinstance(reading, Missing) else Missing("empty", why)
            return Sight(target.queues, missing)
        keys = [QueueKey(target.prefix, name) for name in names]
        return Sight(tuple(names), combine(look.of(keys, self._queries)))
