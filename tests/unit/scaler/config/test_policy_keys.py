"""Keys of a policy as other documents write them, and keys that the policy in force does not read."""

from __future__ import annotations

import pytest

from scaler.config.policy_keys import POLICY_OWN, ignored_keys, ignored_settings
from scaler.config.policy_layers import resolve
from scaler.config.settings import POLICY_KEYS, REMOVED_KEYS, PolicySettings, ScalerSettings
from scaler.config.validation import load_scaler_settings
from service.config.load import ConfigError, Loaded

EXAMPLE = "scaleUpThreshold: 1.2, scaleDownThreshold: 0.5, cooldownPeriod: 2, maxWorkers: 50"
PROCESSES = "processes: {command: [x]}"
TARGET = f"name: mail, queues: [mail], {PROCESSES}"


def load(text: str) -> Loaded[ScalerSettings]:
    return load_scaler_settings(text, {}, file="s.yml")


def test_the_descriptions_name_the_policy_that_reads_a_key() -> None:
    for policy, own in POLICY_OWN.items():
        described = {
            key
            for key in POLICY_KEYS
            if (PolicySettings.model_fields[key].description or "").startswith(f"{policy}: ")
        }
        assert set(own) == described


@pytest.mark.parametrize(
    "text",
    [
        f"targets:\n  - {{{TARGET}, {EXAMPLE}}}\n",
        f"defaults: {{{EXAMPLE}}}\ntargets:\n  - {{{TARGET}}}\n",
        f"policies:\n  - {{match: 'm*', {EXAMPLE}}}\ntargets:\n  - {{{TARGET}}}\n",
    ],
)
def test_the_example_as_it_stands(text: str) -> None:
    loaded = load(text)
    policy = resolve(loaded.model, loaded.model.targets[0])
    assert (policy.scale_up_threshold, policy.scale_down_threshold) == (1.2, 0.5)
    assert (policy.cooldown_seconds, policy.max_workers) == (120, 50)


def test_every_key_has_its_camel_case_name() -> None:
    loaded = load(
        f"targets:\n  - {{{TARGET}, minWorkers: 0, targetWaitingJobs: 7, enabled: false,"
        " capacityPerWorker: 3, scaleToZeroAfterSeconds: 9, waitSloSeconds: 3, cooldownPeriod: 0.5}\n"
    )
    [target] = loaded.model.targets
    assert (target.min_workers, target.target_waiting_jobs, target.enabled) == (0, 7, False)
    assert (target.scale_to_zero_after_seconds, target.cooldown_seconds) == (9, 30)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            "maxWorkers: 5, max_workers: 6",
            "targets[0].maxWorkers (s.yml, line 2): max_workers is set too: keep one of them",
        ),
        (
            "cooldownPeriod: 2, cooldown_seconds: 6",
            "targets[0].cooldownPeriod (s.yml, line 2): cooldown_seconds is set too: keep one of them",
        ),
        (
            "cooldownPeriod: soon",
            "targets[0].cooldownPeriod=soon (s.yml, line 2): should be a number of minutes",
        ),
        (
            "cooldownPeriod: true",
            "targets[0].cooldownPeriod=true (s.yml, line 2): should be a number of minutes",
        ),
        (
            "cooldownPeriod: -1",
            "targets[0].cooldown_seconds=-60 (s.yml, line 2): should be greater than or equal to 0",
        ),
        (
            "aim: 0.2",
            f"targets[0].aim=0.2 (s.yml, line 2): {REMOVED_KEYS['aim']}",
        ),
        (
            "holdSeconds: 60",
            f"targets[0].holdSeconds=60 (s.yml, line 2): {REMOVED_KEYS['hold_seconds']}",
        ),
        (
            "maxWorkers: many",
            "targets[0].max_workers=many (s.yml, line 2): should be a whole number",
        ),
        (
            "maxWorker: 5",
            "targets[0].maxWorker (s.yml, line 2): unknown setting; did you mean targets[0].max_workers?",
        ),
    ],
)
def test_keys_that_cannot_be_used(keys: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"targets:\n  - {{{TARGET}, {keys}}}\n")
    assert str(caught.value) == line


def test_sections_that_are_none() -> None:
    for text in ("targets:\n", "defaults:\npolicies:\n", ""):
        assert load(text).model.targets == ()
    for text in ("targets: 5", "targets: [5]", "policies: {a: 1}"):
        with pytest.raises(ConfigError):
            load(text)


def test_keys_that_the_policy_does_not_read() -> None:
    assert ignored_keys("wait_target", POLICY_KEYS) == dict.fromkeys(POLICY_OWN["threshold"], "threshold")
    assert ignored_keys("threshold", ["start_cost_seconds", "max_workers"]) == {
        "start_cost_seconds": "wait_target"
    }


def test_ignored_settings_are_named_where_no_target_reads_them() -> None:
    text = f"""
defaults: {{start_cost_seconds: 3, target_waiting_jobs: 4}}
targets:
  - {{{TARGET}, {EXAMPLE}}}
  - {{name: b, queues: [b], policy: threshold, scaleUpThreshold: 3, startCostSeconds: 4, {PROCESSES}}}
"""
    reads = "the policy is wait_target; `policy: threshold` reads it"
    other = "the policy is threshold; `policy: wait_target` reads it"
    assert [str(notice) for notice in ignored_settings(load(text))] == [
        f"targets[0].scale_down_threshold (s.yml, line 4) is ignored: {reads}",
        f"targets[0].scale_up_threshold (s.yml, line 4) is ignored: {reads}",
        f"targets[1].start_cost_seconds (s.yml, line 5) is ignored: {other}",
    ]
    assert ignored_settings(load("")) == []
