from __future__ import annotations

import pytest

from exporter.bullmq.candidates import NO_KEYS, NotAQueue
from exporter.bullmq.search.passed_over import REMEMBERED, SHOWN, PassedOver
from exporter.bullmq.search.registry import Registry
from exporter.snapshot.queues import QueueId
from service.outcome import Failed

MAIL, SHOP = QueueId("bull", "mail"), QueueId("bull:shop", "mail")
OLD = QueueId("bull", "shop:mail")
REFUSED = Failed("refused", "NOPERM no key")
OTHER = NotAQueue("its active is a set", 3)


def test_what_was_verified_recently_need_not_be_proposed() -> None:
    registry, mail = Registry((), ()), QueueId("bull", "mail")
    assert not registry.was_verified(mail, 0.0)
    registry.propose(mail, 0.0, has_key=True)
    (candidate,) = registry.take(10, 0.0)
    registry.settle(candidate, "bullmq", 0.0)
    assert registry.was_verified(mail, 599.0)
    assert not registry.was_verified(mail, 600.0)
    assert not registry.was_verified(QueueId("bull:mail", ""), 0.0)


def settle(registry: Registry, answer: object, at: float = 0.0) -> list[QueueId]:
    """Give every pending candidate this answer; their queues."""
    candidates = registry.take(1000, at)
    for candidate in candidates:
        registry.settle(candidate, answer, at)  # type: ignore[arg-type]
    return [candidate.queue for candidate in candidates]


def test_a_candidate_is_verified_once() -> None:
    registry = Registry((), ())
    for _ in range(2):
        registry.propose(MAIL, 0.0)
    assert settle(registry, "bullmq") == [MAIL]
    assert registry.queues == {MAIL: "bullmq"}
    registry.propose(MAIL, 599.0)
    assert registry.pending == 0
    registry.propose(MAIL, 600.0)
    assert settle(registry, "bull", 600.0) == [MAIL]
    assert registry.queues == {MAIL: "bull"}


def test_only_selected_queues_are_candidates() -> None:
    registry = Registry((), ("mail*",))
    registry.propose(MAIL, 0.0)
    registry.propose(QueueId("bull", "orders"), 0.0)
    assert settle(registry, "bullmq") == [MAIL]


def test_the_same_keys_are_one_queue_and_a_worker_names_it() -> None:
    registry = Registry((), ())
    registry.propose(SHOP, 0.0)
    registry.propose(OLD, 0.0, encoded=True)
    assert settle(registry, "bullmq") == [OLD]
    registry.propose(SHOP, 700.0)
    assert settle(registry, "bullmq", 700.0) == [OLD]
    late = Registry((), ())
    late.propose(SHOP, 0.0)
    settle(late, "bullmq")
    late.propose(OLD, 1.0, encoded=True)
    assert late.queues == {OLD: "bullmq"}
    late.remove([OLD])
    assert late.queues == {}


def test_a_candidate_that_is_none_carries_its_classification_to_the_next_search() -> None:
    registry = Registry((), ())
    registry.propose(MAIL, 0.0)
    settle(registry, OTHER)
    registry.propose(MAIL, 10.0)
    (candidate,) = registry.take(10, 10.0)
    assert candidate.before == OTHER
    registry.settle(candidate, OTHER, 10.0)
    registry.propose(MAIL, 301.0)
    (candidate,) = registry.take(10, 301.0)
    assert candidate.before is None  # it is read again now and then
    assert dict(registry.passed_over()) == {MAIL: OTHER.why}


def test_a_queue_that_has_little_left_remains_one() -> None:
    registry = Registry((), ())
    registry.propose(MAIL, 0.0)
    settle(registry, "bull")
    registry.propose(MAIL, 700.0)
    settle(registry, OTHER, 700.0)
    assert registry.queues == {MAIL: "bull"}


def test_a_node_that_did_not_answer_is_asked_in_the_next_round() -> None:
    registry = Registry((), ())
    registry.propose(MAIL, 0.0)
    settle(registry, Failed("timeout", "no answer"))
    assert registry.pending == 0
    registry.retry()
    assert settle(registry, "bullmq") == [MAIL]


@pytest.mark.parametrize(
    ("prefixes", "found", "named", "unread"),
    [
        (("bull",), {}, (), True),
        ((), {"worker": True}, (), True),
        ((), {"has_meta": True}, (MAIL,), True),
        ((), {"has_meta": True}, (), False),
    ],
)
def test_which_refused_candidates_are_unread_queues(
    prefixes: tuple[str, ...],
    found: dict[str, bool],
    named: tuple[QueueId, ...],
    unread: bool,  # noqa: FBT001
) -> None:
    registry = Registry(prefixes, ())
    registry.propose(QueueId("bull", "other"), 0.0)
    settle(registry, "bullmq")
    registry.propose(MAIL, 0.0, **found)
    settle(registry, REFUSED)
    assert (MAIL in registry.unread(named)) is unread
    assert MAIL in registry.refused()


def test_a_cluster_that_is_down_is_asked_again_in_the_next_round() -> None:
    registry = Registry((), ())
    registry.propose(QueueId("bull", "other"), 0.0)
    settle(registry, "bullmq")
    registry.propose(MAIL, 0.0, has_meta=True)
    down = Failed("refused", "TYPE: CLUSTERDOWN the cluster is down")
    settle(registry, down)
    assert registry.unread(()) == {MAIL: down}
    registry.retry()
    assert settle(registry, "bullmq") == [MAIL]
    assert registry.unread(()) == {}


def test_where_no_queue_can_be_read_every_refused_candidate_is_unread() -> None:
    registry = Registry((), ())
    registry.propose(MAIL, 0.0, has_meta=True)
    registry.propose(QueueId("user", "7"), 0.0)  # only a key called id: of such there are thousands
    settle(registry, REFUSED)
    assert registry.unread(()) == {MAIL: REFUSED}


def test_the_other_meaning_of_a_clients_name_is_not_shown_where_keys_are_hidden() -> None:
    registry = Registry((), ())
    registry.propose(MAIL, 0.0, worker=True, encoded=True)
    registry.propose(QueueId(MAIL.prefix, "bWFpbA=="), 0.0)
    registry.propose(QueueId("user", "7"), 0.0, has_key=True)
    settle(registry, REFUSED)
    assert set(registry.refused()) == {MAIL}
    assert set(registry.passed_over()) == {QueueId("user", "7")}
    registry.propose(QueueId("user", "7"), 0.0, has_key=True, has_meta=True)
    settle(registry, REFUSED)
    assert set(registry.refused()) == {MAIL, QueueId("user", "7")}
    assert not registry.passed_over()


def test_a_refused_candidate_is_named_until_a_search_has_ended_without_it() -> None:
    registry = Registry((), ())
    registry.begin_search()
    registry.propose(MAIL, 0.0, has_meta=True)
    settle(registry, REFUSED)
    registry.end_search()
    registry.begin_search()
    assert registry.unread(()) == {MAIL: REFUSED}
    registry.propose(MAIL, 0.0, has_meta=True)
    settle(registry, REFUSED)
    registry.end_search()
    assert registry.unread(()) == {MAIL: REFUSED}
    registry.begin_search()
    registry.end_search()
    assert registry.unread(()) == {}


def test_a_clients_name_without_keys_is_not_read_in_each_round() -> None:
    registry = Registry((), ())
    registry.propose(MAIL, 0.0)
    assert not registry.has_no_keys(MAIL, 0.0)
    settle(registry, NotAQueue(NO_KEYS.why, 0))
    assert registry.has_no_keys(MAIL, 299.0)
    assert not registry.has_no_keys(MAIL, 300.0)


def test_what_is_remembered_and_shown_is_bounded() -> None:
    passed_over = PassedOver()
    for number in range(REMEMBERED + 50):
        passed_over.add(QueueId("app", f"{number}"), OTHER, 0.0, has_meta=False)
    passed_over.add(QueueId("zoo", "meta"), OTHER, 0.0, has_meta=True)
    passed_over.add(QueueId("zoo", "none"), NO_KEYS, 0.0, has_meta=True)
    shown = list(passed_over.shown())
    assert (len(shown), shown[0]) == (SHOWN, QueueId("zoo", "meta"))
    assert passed_over.classification(QueueId("app", "0"), 1.0) is None
    assert passed_over.classification(QueueId("app", "100"), 1.0) == OTHER


def test_refused_candidates_are_bounded() -> None:
    registry = Registry(("app",), ())
    for number in range(3000):
        registry.propose(QueueId("app", f"{number}"), 0.0)
    while registry.pending:
        settle(registry, REFUSED)
    assert len(registry.refused()) == 1000
