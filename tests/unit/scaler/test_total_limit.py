"""`max_total_workers`: what one target gets is another's, but no worker with a job is given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from scaler.config.settings import PolicySettings
from scaler.controller import Controller, Managed
from scaler.model import Missing, QueueSample, TargetMetrics
from scaler.state.learned import Learned, dump_learned
from scaler.state.live import LiveState
from service.clock import Deadline, now
from service.outcome import Failed, Ok, Outcome
from tests.support.targets import FakeTarget

POLICY = PolicySettings(policy="threshold", min_workers=1, max_workers=20, cooldown_seconds=0)


@dataclass
class Waiting:
    """So many jobs wait, and one runs; None: there are no metrics."""

    jobs: dict[str, float | None]

    def read(self, deadline: Deadline, *, acts: bool = True) -> Mapping[str, TargetMetrics]:
        return {
            name: TargetMetrics(
                (name,), Missing("timeout", "too slow") if jobs is None else QueueSample(now(), jobs, 1.0)
            )
            for name, jobs in self.jobs.items()
        }


def managed(**targets: FakeTarget) -> list[Managed]:
    """`mail` comes last where not all get what they want."""
    return [Managed(name, POLICY, target, None, -(name == "mail")) for name, target in targets.items()]


@pytest.mark.parametrize(
    ("answer", "left"),
    [(Ok(1), 3), (Ok(4), 1), (Failed("timeout", "no answer in time"), 4), (None, 1)],
    ids=["three have a job", "all are idle", "not known", "nobody tells"],
)
def test_a_target_that_others_take_workers_from_is_asked_which_have_a_job(
    answer: Outcome[int] | None, left: int
) -> None:
    mail, video = FakeTarget(4, answer), FakeTarget(2)
    waiting = Waiting({"mail": 20, "video": 400})  # by the samples each has one busy worker, and mail wants 4
    result = Controller(LiveState(None)).step(waiting, managed(mail=mail, video=video), 5.0, most=7)
    assert (mail.requested, mail.asked_idle) == (left, 1)
    assert video.requested == 7 - left
    assert {step.decision.reason for step in result.steps if step.decision} <= {"capacity", "waiting"}


def test_what_one_target_keeps_is_not_given_to_another() -> None:
    targets = {"mail": FakeTarget(4, Ok(0)), "film": FakeTarget(4, Ok(0)), "video": FakeTarget(2)}
    waiting = Waiting({"mail": 20, "film": 20, "video": 400})
    Controller(LiveState(None)).step(waiting, managed(**targets), 5.0, most=10)
    assert {name: target.requested for name, target in targets.items()} == {"mail": 4, "film": 4, "video": 2}


@pytest.mark.parametrize(("kind", "others"), [("timeout", 2), ("not_found", 10)])
def test_a_target_that_cannot_be_read_counts_with_its_last_number(kind: str, others: int) -> None:
    mail, video = FakeTarget(8), FakeTarget(2)
    controller, waiting = Controller(LiveState(None)), Waiting({"mail": 400, "video": 400})
    controller.step(waiting, managed(mail=mail, video=video), 5.0, most=10, dry_run=True)
    mail.broken = Failed(kind, "get deployments/mail: it failed")
    controller.step(waiting, managed(mail=mail, video=video), 5.0, most=10)
    assert video.requested == others


def restarted(**workers: int) -> Controller:
    """A controller that remembers so many workers."""
    state = LiveState(None)
    learned = {name: dump_learned(Learned(None, (), number)) for name, number in workers.items()}
    state.update(lambda before: replace(before, learned=learned))
    return Controller(state)


def test_a_target_that_cannot_be_read_since_the_start_counts_as_it_was_stored() -> None:
    mail, video = FakeTarget(8, broken=Failed("timeout", "no answer in time")), FakeTarget(2)
    controller, targets = restarted(mail=8), managed(mail=mail, video=video)
    controller.restore(targets, workers=False)
    controller.step(Waiting({"mail": 400, "video": 400}), targets, 5.0, most=10)
    assert video.requested == 2


def test_no_more_workers_are_restored_than_there_may_be() -> None:
    mail, video = FakeTarget(0), FakeTarget(0)
    controller, targets = restarted(mail=16, video=12), managed(mail=mail, video=video)
    controller.restore(targets, workers=True, most=14)
    assert (mail.requested, video.requested) == (2, 12)  # in the order of their priorities
    controller.step(Waiting({"mail": None, "video": None}), targets, 5.0, most=14)
    assert (mail.requested, video.requested) == (2, 12)
