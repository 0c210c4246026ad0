"""`scaling export --as scaledqueues`: the same targets, as objects."""

from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner

from scaler.cli import main
from scaler.commands.export import as_scaled_queues
from scaler.config.policy_layers import resolve
from scaler.config.scaled_queue import target_of
from scaler.config.settings import ScalerSettings
from scaler.config.validation import load_scaler_settings

TEXT = """
kubernetes: {namespace: shop}
defaults: {min_workers: 1, fallback_workers: 3, cooldown_seconds: 10}
policies:
  - {match: mailer, max_workers: 30}
  - {match: "report-*", wait_slo_seconds: 600}
targets:
  - {name: mailer, queues: [mail], worker_concurrency: 5, min_workers: 2, kubernetes: {name: mail-worker}}
  - name: reports
    queues: [report-a, "report-b*"]
    prefix: "{app}"
    priority: 2
    queue_slo_seconds: {report-a: 5}
    mode: advise
    kubernetes: {name: reports, namespace: news, kind: StatefulSet}
"""


def settings(text: str = TEXT) -> ScalerSettings:
    return load_scaler_settings(text, {}, file="s.yml").model


def test_an_object_has_what_differs_from_the_layers_that_count_for_it() -> None:
    exported = as_scaled_queues(settings())
    assert exported.notes == exported.left_out == ()
    mail, reports = yaml.safe_load_all(exported.text)
    assert mail == {
        "apiVersion": "oxherd.dev/v1alpha1",
        "kind": "ScaledQueue",
        "metadata": {"name": "mailer", "namespace": "shop"},
        "spec": {
            "targetRef": {"name": "mail-worker"},
            "queues": ["mail"],
            "minWorkers": 2,
            "maxWorkers": 30,  # the entry of `policies` matches the name mailer, and not shop/mailer
            "workerConcurrency": 5,
        },
    }
    assert reports["metadata"] == {"name": "reports", "namespace": "news"}
    assert reports["spec"] == {
        "targetRef": {"kind": "StatefulSet", "name": "reports"},
        "queues": ["report-a", "report-b*"],
        "prefix": "{app}",
        "queueSloSeconds": {"report-a": 5},
        "priority": 2,
        "mode": "advise",
    }


def test_the_object_has_the_same_policy_as_the_target() -> None:
    own = settings()
    for target, data in zip(own.targets, yaml.safe_load_all(as_scaled_queues(own).text), strict=True):
        meta = data["metadata"]
        again = target_of(meta["namespace"], meta["name"], data["spec"])
        assert resolve(own, again) == resolve(own, target)
        assert again.kubernetes == target.kubernetes or again.kubernetes.namespace == "shop"  # type: ignore[union-attr]


def test_what_an_object_cannot_say_is_noted() -> None:
    text = """
kubernetes: {namespace: shop}
defaults: {fallback_workers: 3}
targets:
  - {name: A_b, queues: [a], enabled: false, fallback_workers: null, kubernetes: {name: a}}
  - {name: a-b, queues: [b], kubernetes: {name: b}}
  - {name: c, queues: [c], kubernetes: {name: c}, queries: {waiting: w, active: x}}
"""
    exported = as_scaled_queues(settings(text))
    first, second = yaml.safe_load_all(exported.text)
    assert first["spec"]["mode"] == "shadow"
    assert [one["metadata"]["name"] for one in (first, second)] == ["a-b", "a-b-2"]
    assert exported.left_out == ("c",)
    assert [line.partition(":")[0] for line in exported.notes] == ["A_b", "A_b", "c is left out"]


def test_a_target_without_a_namespace_is_left_out() -> None:
    text = "targets: [{name: a, queues: [a], kubernetes: {name: a}}]"
    exported = as_scaled_queues(settings(text))
    assert (exported.text, exported.left_out) == ("", ("a",))
    assert "set it, or kubernetes.namespace" in exported.notes[0]


def test_processes_are_left_out_and_the_exit_code_says_so(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("targets: [{name: a, queues: [a], processes: {command: [node, a.js]}}]")
    result = CliRunner().invoke(main, ["export", "--as", "scaledqueues", "--config", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a is left out: its workers are processes" in result.stderr
