"""The targets of the settings and the declared ones as one value."""

from __future__ import annotations

from typing import cast

import pytest

from scaler.backends import LocalBackend, backend_kind
from scaler.config.scaled_queue import target_of
from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings
from scaler.configuration import Reloader
from scaler.sources.declared import NO_ORDERS, NOTHING, Declared, Orders
from scaler.sources.target_sources import TargetSources
from service.config.load import ConfigError

OWN = "targets: [{name: own, queues: [own], kubernetes: {name: own}}]"
MAIL = target_of("shop", "mail", {"targetRef": {"name": "mail"}, "queues": ["mail"]})


def settings(text: str = OWN) -> ScalerSettings:
    return load_scaler_settings(text, {}, file="s.yml").model


class FakeReloader:
    """A file that a test changes."""

    def __init__(self) -> None:
        self.current, self.reloads = settings(), 0

    def reload(self) -> bool:
        self.reloads += 1
        return False


class Sources:
    """What is declared, as a test sets it."""

    def __init__(self) -> None:
        self.declared = NOTHING
        self.reloader = FakeReloader()
        self.all = TargetSources(cast("Reloader", self.reloader), lambda _: self.declared)

    def names(self) -> list[str]:
        return [target.name for target in self.all.refresh().targets]


def test_without_declared_ones_they_are_the_settings_themselves() -> None:
    sources = Sources()
    assert sources.all.refresh() is sources.reloader.current
    assert sources.reloader.reloads == 1


def test_declared_ones_come_after_those_of_the_settings_and_go_again() -> None:
    sources = Sources()
    sources.declared = Declared((MAIL,), {"shop/mail": Orders(paused=True)})
    assert sources.names() == ["own", "shop/mail"]
    assert sources.all.orders("shop/mail").paused
    assert sources.all.orders("own") is NO_ORDERS
    sources.declared = NOTHING
    assert sources.all.refresh() is sources.reloader.current


def test_the_value_is_the_same_while_nothing_changes() -> None:
    """What is made of it is made again where it is another one."""
    sources = Sources()
    sources.declared = Declared((MAIL,))
    first = sources.all.refresh()
    sources.declared = Declared(sources.declared.targets, {"shop/mail": Orders(paused=True)})
    assert sources.all.refresh() is first
    assert sources.all.settings is first
    sources.reloader.current = settings(OWN.replace("name: own,", "name: mine,"))
    assert sources.names() == ["mine", "shop/mail"]


def test_processes_are_all_that_a_machine_has() -> None:
    assert LocalBackend(settings("")).declared(settings("")) is NOTHING


def test_with_scaled_queues_the_backend_is_the_cluster_also_without_targets() -> None:
    assert backend_kind(settings("kubernetes: {scaled_queues: {namespaces: [shop]}}")) == "kubernetes"
    assert backend_kind(settings("")) == "processes"


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ("{namespaces: []}", "kubernetes.scaled_queues.namespaces"),
        ("{}", "kubernetes.scaled_queues.namespaces"),
        ('{namespaces: ["*", shop]}', "namespaces should be * alone, or names"),
        ("{namespaces: [shop, shop]}", "namespaces should have each name once"),
        ("{namespaces: [Shop]}", "kubernetes.scaled_queues.namespaces[0]=Shop"),
        ("{namespaces: [shop], max_objects: 0}", "kubernetes.scaled_queues.max_objects=0"),
    ],
)
def test_settings_that_cannot_be(declared: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(f"kubernetes: {{scaled_queues: {declared}}}")
    assert why in str(caught.value)


def test_processes_beside_scaled_queues_are_refused() -> None:
    text = (
        "kubernetes: {scaled_queues: {namespaces: [shop]}}\n"
        "targets: [{name: a, queues: [a], processes: {command: [a]}}]"
    )
    with pytest.raises(ConfigError, match=r"kubernetes.scaled_queues .*run two scalers"):
        settings(text)
