from __future__ import annotations

import pytest

from exporter.bullmq.candidates import KEY_TYPES, Evidence, NotAQueue, classify, needs_a_closer_look


def has(*keys: str, **other: str) -> dict[str, str]:
    """Keys of a queue's types, and others with the type that is given (`-` as `_`)."""
    return {key: KEY_TYPES[key] for key in keys} | {
        key.replace("_", "-"): kind for key, kind in other.items()
    }


@pytest.mark.parametrize(
    ("evidence", "library"),
    [
        (Evidence(has("meta", "id"), "bullmq:6.7.0", "10000"), "bullmq"),
        (Evidence(has("meta", "id", "events"), max_len_events="10000"), "bullmq"),  # Python's
        (Evidence(has("meta", "events", failed="string"), max_len_events="0"), "bullmq"),  # one odd part
        (Evidence(has("meta"), "bullmq:6.7.0", worker=True), "bullmq"),
        (Evidence(has("events", "id"), event=True), "bullmq"),  # its meta is gone
        (Evidence(has("wait", "id", "prioritized"), job=True), "bullmq"),
        (Evidence(has("stalled-check"), worker=True), "bullmq"),
        (Evidence(has("id", "wait"), job=True), "bull"),
        (Evidence(has("id", "completed", "stalled-check"), job=True), "bull"),
        (Evidence(has("id", "stalled-check")), "bull"),  # it removes its jobs and has none
        (Evidence(has("id", "meta", "paused", "meta-paused")), "bull"),  # a pause writes meta `paused`
        (Evidence(has("id"), worker=True), "bull"),
    ],
)
def test_queues(evidence: Evidence, library: str) -> None:
    assert classify(evidence) == library


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (Evidence(has("meta"), max_len_events="10000"), "it has a meta key and nothing else"),
        (Evidence({}), "it has no keys"),
        (Evidence({}, worker=True), "it has no keys"),
        (Evidence(has("meta", "id"), "3"), "it has nothing that only BullMQ or Bull writes"),
        (
            Evidence(has("meta", "id", active="set"), "3"),
            "its active is a set, and that of a queue is a list",
        ),
        (
            Evidence(has("id", "active", "delayed"), job=False),
            "it has nothing that only BullMQ or Bull writes",
        ),
        (
            Evidence(has("id", "active", jobs="hash"), job=False),
            "it has a key called jobs, which no queue has",
        ),
        (
            Evidence(has("id", "events"), event=False, job=False),
            "it has nothing that only BullMQ or Bull writes",
        ),
    ],
)
def test_other_applications(evidence: Evidence, why: str) -> None:
    assert classify(evidence) == NotAQueue(why)


def test_every_key_of_another_type_refutes_a_candidate_without_marks() -> None:
    for key, kind in KEY_TYPES.items():
        types = has("id", "wait", "active") | {key: "set" if kind != "set" else "string"}
        assert isinstance(classify(Evidence(types, job=True)), NotAQueue), key


def test_a_closer_look_is_for_what_it_can_decide() -> None:
    assert needs_a_closer_look(Evidence(has("id", "wait")))
    assert needs_a_closer_look(Evidence(has("id", "events")))
    assert not needs_a_closer_look(Evidence(has("id")))
    assert not needs_a_closer_look(Evidence(has("id", "wait"), job=False, event=False))
    assert not needs_a_closer_look(Evidence(has("meta", "wait"), "bullmq:5"))
    assert not needs_a_closer_look(Evidence(has("id", wait="string")))
