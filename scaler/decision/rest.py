"""Whether a workload at 0 rests: somebody set it to 0, and nobody has set it otherwise since. Pure.

As the HPA, which leaves such a workload alone. A zero of this scaler does not rest, nor one that was there
before anybody set a number, where `min_workers` is 0: KEDA starts both with the first job.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Zero:
    """A workload with 0 workers. `before`: its number at the step before, as read or as set by this scaler;
    None: not known, it is new. `rested`: it rested then. `applied`: the 0 is in a manifest. `own`: this
    scaler wanted 0 too, so it may be its own write whose result is not known."""

    before: int | None
    rested: bool
    applied: bool
    own: bool

    def rests(self, min_workers: int) -> bool:
        """Whether it is left at 0."""
        if min_workers == 0 and self.applied:
            return False  # each apply writes it again: the start value of a workload that is scaled from zero
        if self.before is None:
            return min_workers > 0
        if self.before == 0:
            return self.rested
        return not self.own
