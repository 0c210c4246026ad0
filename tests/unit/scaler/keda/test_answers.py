from __future__ import annotations

from typing import Any

import pytest

from scaler.engines.decisions import NoAnswer
from scaler.keda.answers import known_target
from tests.support.engine_steps import target

TARGETS = [target(), target("media", "video", "audio-*"), target("both", "{images}", prefix="app")]


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"target": "mail"}, "mail"),
        ({"queue": "mail"}, "mail"),
        ({"queue": "video", "scalerAddress": "oxherd-scaler:9879"}, "media"),
        ({"queue": "audio-1"}, "media"),
        ({"queue": "images"}, "both"),
        ({"queue": "app:{images}"}, "both"),
    ],
)
def test_a_target_is_meant_by_its_name_or_by_a_queue(metadata: dict[str, str], name: str) -> None:
    assert known_target(TARGETS, metadata) == name


@pytest.mark.parametrize(
    ("metadata", "code", "why"),
    [
        ({}, "INVALID_ARGUMENT", "the trigger's metadata has neither: set target or queue"),
        (
            {"target": "mail", "queue": "mail"},
            "INVALID_ARGUMENT",
            "the trigger's metadata has both: set target or queue",
        ),
        ({"target": "mial"}, "NOT_FOUND", "no target is called mial: the nearest: mail, media"),
        ({"target": "video"}, "NOT_FOUND", "no target is called video: the nearest: both, mail, media"),
        ({"queue": "vidoe"}, "NOT_FOUND", "no target serves queue vidoe: the nearest: video"),
        (
            {"target": "x" * 5000},
            "NOT_FOUND",
            f"no target is called {'x' * 100}...: the nearest: both, mail, media",
        ),
    ],
)
def test_what_means_no_target_is_told_with_the_nearest_names(
    metadata: dict[str, str], code: Any, why: str
) -> None:
    assert known_target(TARGETS, metadata) == NoAnswer(code, why)


def test_a_queue_of_several_targets_means_none_of_them() -> None:
    targets = [target("a", "mail"), target("b", "mail", prefix="app")]
    why = "several targets serve queue mail: set target to one of them (a, b)"
    assert known_target(targets, {"queue": "mail"}) == NoAnswer("INVALID_ARGUMENT", why)


def test_a_queue_is_no_name_of_a_target() -> None:
    """A target may be called like a queue that another one serves."""
    targets = [target("video", "films"), target("media", "video")]
    assert known_target(targets, {"queue": "video"}) == "media"
    assert known_target(targets, {"target": "video"}) == "video"


def test_without_targets_there_is_no_nearest_name() -> None:
    why = "no target is called mail: the settings have no targets"
    assert known_target([], {"target": "mail"}) == NoAnswer("NOT_FOUND", why)
