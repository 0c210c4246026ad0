"""Labels of all queues together, and what it costs to ask for one."""

from __future__ import annotations

from exporter.bullmq.tallies.label_budget import LabelBudget


class Tally:
    """As many labels as it took; `looks`: how often it was asked for them."""

    most_labels = 3

    def __init__(self) -> None:
        self.taken = self.looks = 0

    @property
    def labels(self) -> int:
        self.looks += 1
        return self.taken

    @labels.setter
    def labels(self, labels: int) -> None:
        self.taken = labels


def take(budget: LabelBudget, tally: Tally) -> bool:
    took = budget.take(tally)
    tally.labels += took
    return took


def test_what_a_tally_gives_back_others_may_have() -> None:
    budget, one, two = LabelBudget(2), Tally(), Tally()
    assert [take(budget, tally) for tally in (one, one, two)] == [True, True, False]
    one.labels -= 1
    budget.freed()
    assert [take(budget, two), take(budget, two)] == [True, False]


def test_what_a_tally_had_that_is_gone_others_may_have() -> None:
    budget, one, two, new = LabelBudget(4), Tally(), Tally(), Tally()
    for tally in (one, one, one, two):
        take(budget, tally)
    assert not take(budget, new)
    del one, tally
    assert [take(budget, new) for _ in range(4)] == [True, True, True, False]


def test_where_none_is_left_not_all_tallies_are_looked_at_for_each_event() -> None:
    budget = LabelBudget(100)
    tallies = [Tally() for _ in range(100)]
    assert all(take(budget, tally) for tally in tallies)
    assert not take(budget, new := Tally())
    before = sum(tally.looks for tally in tallies)
    assert not any(take(budget, new) for _ in range(1000))
    assert sum(tally.looks for tally in tallies) == before
