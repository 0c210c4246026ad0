"""A target of the scaler in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scaler.model import Applied, NotApplied, Workers
from service.clock import Deadline
from service.outcome import Failed, Ok, Outcome


@dataclass
class FakeTarget:
    """Workers that are ready at once. `idle_workers`: what it answers, `broken`: why it cannot be read,
    `refuses`: why it is not scaled; `asked_idle` times it was asked, `acts`: what each read was for, `calls`:
    from which number to which it should be scaled."""

    requested: int = 2
    idle_workers: Outcome[int] | None = None
    broken: Failed | None = None
    refuses: NotApplied | None = None
    contested: str | None = None
    shared: bool = False
    grace: float | None = None
    measured_starts: tuple[float, ...] = ()
    asked_idle: int = 0
    acts: list[bool] = field(default_factory=list)
    calls: list[tuple[int, int]] = field(default_factory=list)

    def read(self, deadline: Deadline, *, acts: bool = True) -> Outcome[Workers]:
        del deadline
        self.acts.append(acts)
        return self.broken or Ok(
            Workers(
                self.requested,
                self.requested,
                contested=self.contested,
                shared=self.shared,
                grace_seconds=self.grace,
            )
        )

    def idle(self, deadline: Deadline) -> Outcome[int] | None:
        del deadline
        self.asked_idle += 1
        return self.idle_workers

    def scale(self, old: int, new: int, deadline: Deadline) -> Applied | NotApplied:
        del deadline
        self.calls.append((old, new))
        if self.refuses:
            return self.refuses
        self.requested = new
        return Applied(new)

    def start_times(self) -> tuple[float, ...]:
        return self.measured_starts

    def restore_start_times(self, seconds: Sequence[float]) -> None:
        self.measured_starts = tuple(seconds)

    def close(self) -> None:
        """There is nothing to close."""
