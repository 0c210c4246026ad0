from __future__ import annotations

from math import inf

import pytest
from pydantic import BaseModel, ValidationError

from scaler.api.models import UpdateScalingConfig
from scaler.config.environment import scaler_environment, scaler_notices
from scaler.config.policy_layers import checked_policy, origins, resolve
from scaler.config.settings import PolicySettings, ScalerSettings, matching, slo_of
from scaler.config.validation import load_scaler_settings
from service.config.load import ConfigError
from tests.support.unbounded import unbounded
from tests.support.waits import text_with, waits_of

MAIL = """
targets:
  - name: mailer
    queues: [mail]
    processes: {command: [node, worker.js]}
"""


def load(text: str, **environ: str) -> ScalerSettings:
    return load_scaler_settings(text, scaler_environment(environ), file="s.yml").model


def refused(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, **environ)
    return str(caught.value)


def test_defaults_are_those_of_the_table() -> None:
    policy = PolicySettings()
    assert (policy.min_workers, policy.max_workers, policy.target_waiting_jobs) == (2, 10, 5)
    assert (policy.scale_up_threshold, policy.scale_down_threshold) == (2.0, 0.3)
    assert policy.enabled
    settings = load("")
    assert (settings.interval_seconds, settings.enabled, settings.targets) == (5.0, True, ())


def test_the_environment() -> None:
    settings = load(
        MAIL,
        SCALING_INTERVAL_MINUTES="2",
        ENABLE_AUTO_SCALING="false",
        PROMETHEUS_URL="http://a:9090, http://b:9090",
        SCALER_LISTEN=":1",
        SCALER_STATE_FILE="/var/lib/oxherd/scaler.json",
    )
    assert (settings.interval_seconds, settings.enabled, settings.listen) == (120.0, False, ":1")
    assert settings.prometheus.urls == ("http://a:9090", "http://b:9090")
    assert settings.state_file == "/var/lib/oxherd/scaler.json"


LAYERS = """
defaults: {min_workers: 1, max_workers: 20, start_cost_seconds: 20}
policies:
  - {match: "mail*", max_workers: 30, wait_slo_seconds: 5}
  - {match: "*", max_workers: 40}
targets:
  - {name: mailer, queues: [bulk], wait_slo_seconds: 7, processes: {command: [x]}}
  - {name: other, queues: [video, mail-in], processes: {command: [x]}}
  - {name: last, queues: [rest], processes: {command: [x]}}
"""


def test_the_nearest_layer_counts_and_its_origin_is_known() -> None:
    settings = load(LAYERS)
    mailer, other, last = settings.targets
    policy = resolve(settings, mailer)
    assert (policy.min_workers, policy.max_workers, policy.start_cost_seconds) == (1, 30, 20)
    origin_of = origins(settings, mailer, {"start_cost_seconds": 3})
    assert {
        key: origin_of[key]
        for key in ("min_workers", "max_workers", "wait_slo_seconds", "start_cost_seconds", "policy")
    } == {
        "min_workers": "defaults",
        "max_workers": "policies[0]",
        "wait_slo_seconds": "target",
        "start_cost_seconds": "changed",
        "policy": "built in",
    }
    assert resolve(settings, other).wait_slo_seconds == 5  # by one of its queues
    assert resolve(settings, last).max_workers == 40
    assert resolve(settings, last, {"max_workers": 3}).max_workers == 3


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [(["a", "b"], ["a", "b"]), (["mail-*"], ["mail-1", "mail-2"]), (["mail-1", "m*"], ["mail-1", "mail-2"])],
)
def test_names_count_as_they_are_and_patterns_by_the_queues_that_exist(
    patterns: list[str], expected: list[str]
) -> None:
    assert matching(patterns, ["mail-1", "mail-2", "video"]) == expected


PROCESSES = "processes: {command: [x]}"
ONE = f"{{name: a, queues: [q], {PROCESSES}}}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            f"targets:\n  - {{name: a, queues: [q], {PROCESSES}, min_workers: 11}}\n",
            "targets[0].min_workers=11 (s.yml, line 2): min_workers 11 is above max_workers 10 (target a)",
        ),
        (
            f"defaults:\n  max_workers: 1\ntargets:\n  - {{name: a, queues: [q], {PROCESSES}}}\n",
            "defaults.max_workers=1 (s.yml, line 2): min_workers 2 is above max_workers 1 (target a)",
        ),
        (
            f"targets:\n  - {ONE}\n  - {{name: a, queues: [r], {PROCESSES}}}\n",
            "targets[1].name=a (s.yml, line 3): targets[0] has this name already",
        ),
        (
            f"targets:\n  - {ONE}\n  - {{name: b, queues: [q], {PROCESSES}}}\n",
            "targets[1].queues=q (s.yml, line 3): a serves this queue already",
        ),
        (
            "targets:\n  - {name: a, queues: [q]}\n",
            (
                "targets[0].name=a (s.yml, line 2): "
                "needs either processes or kubernetes, the backend of its workers"
            ),
        ),
        (
            f"targets:\n  - {{name: a, queues: [q], {PROCESSES}, fallback_workers: 11}}\n",
            "targets[0].fallback_workers=11 (s.yml, line 2): is above max_workers 10 (target a)",
        ),
        (
            f"targets:\n  - {{name: a, queues: [q], {PROCESSES}, scale_down_threshold: 2}}\n",
            (
                "targets[0].scale_down_threshold=2.0 (s.yml, line 2): "
                "should be below scale_up_threshold 2 (target a)"
            ),
        ),
        (
            f"targets:\n  - {{name: a, queues: [q], {PROCESSES}, max_worker: 3}}\n",
            ("targets[0].max_worker (s.yml, line 2): unknown setting; did you mean targets[0].max_workers?"),
        ),
        (
            f"targets:\n  - {{name: a, queues: [], {PROCESSES}}}\n",
            "targets[0].queues (s.yml, line 2): should not be empty",
        ),
        (
            "defaults:\n  policy: guess\n",
            "defaults.policy=guess (s.yml, line 2): should be 'wait_target' or 'threshold'",
        ),
        (
            "listen: nowhere\n",
            "listen=nowhere (s.yml, line 1): should be host:port, like 0.0.0.0:9877, or :9877",
        ),
        ("interval_seconds: 0\n", "interval_seconds=0 (s.yml, line 1): should be greater than or equal to 1"),
    ],
)
def test_an_error_names_the_setting_and_its_line(text: str, line: str) -> None:
    assert refused(text) == line


def test_an_interval_in_file_and_environment_is_an_error() -> None:
    error = refused("interval_seconds: 9\n", SCALING_INTERVAL_MINUTES="1")
    assert error == "interval_seconds (s.yml, line 1): SCALING_INTERVAL_MINUTES is set too: keep one of them"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("SCALING_INTERVAL_MINUTES", "often", "should be a number of minutes"),
        ("SCALING_INTERVAL_MINUTES", "0", "should be from one second (0.0167) to 60 minutes"),
        ("SCALING_INTERVAL_MINUTES", "nan", "should be from one second (0.0167) to 60 minutes"),
        ("ENABLE_AUTO_SCALING", "perhaps", "should be true or false"),
    ],
)
def test_an_invalid_variable(name: str, value: str, why: str) -> None:
    assert refused("", **{name: value}) == f"{name}={value} (environment): {why}"


def test_a_changed_policy_has_to_follow_the_same_rules() -> None:
    settings = load(MAIL)
    [mailer] = settings.targets
    assert checked_policy(settings, mailer, {"max_workers": 50}).max_workers == 50
    for changed, why in (
        ({"max_worker": 3}, "max_worker: unknown setting of a policy"),
        ({"max_workers": 1}, "min_workers 2 is above max_workers 1"),
        ({"max_workers": "many"}, "max_workers: "),
        ({"scale_down_threshold": 5}, "scale_down_threshold should be below"),
    ):
        with pytest.raises(ValueError, match=why):
            checked_policy(settings, mailer, changed)


@pytest.mark.fault
@pytest.mark.parametrize("path", list(waits_of(ScalerSettings)), ids=".".join)
@pytest.mark.parametrize("value", [-1.0, 1e300, inf])
def test_what_is_waited_for_has_a_bound(path: tuple[str, ...], value: float) -> None:
    with pytest.raises(ValidationError, match=path[-1]):
        ScalerSettings.model_validate(text_with(path, value))


@pytest.mark.fault
@pytest.mark.parametrize("model", [ScalerSettings, UpdateScalingConfig])
def test_no_number_of_the_settings_or_of_an_order_is_without_a_bound(model: type[BaseModel]) -> None:
    assert unbounded(model) == []


@pytest.mark.fault
def test_a_number_of_workers_is_bounded_wherever_it_is_set() -> None:
    settings = load(MAIL)
    [mailer] = settings.targets
    for key in ("min_workers", "max_workers", "fallback_workers"):
        assert f"{key}=1000000000" in refused(f"defaults: {{{key}: 1000000000}}\n{MAIL}")
        with pytest.raises(ValueError, match=f"{key}: Input should be less than or equal to 100000"):
            checked_policy(settings, mailer, {key: 10**9})
        with pytest.raises(ValueError, match=f"{key}: this machine can run 500 workers at most"):
            checked_policy(settings, mailer, {"max_workers": 500, key: 501}, most=500)
    assert checked_policy(settings, mailer, {"max_workers": 500}, most=500).max_workers == 500


def test_unknown_variables_are_reported() -> None:
    names = ["SCALER_STATEFILE", "PATH", "SCALING_INTERVAL_MINUTE", "PROMETHEUS_URL", "SCALER_WORKERS"]
    environ = {**dict.fromkeys(names, "x"), "SCALER_PORT": "tcp://10.0.0.1:9878", "REDIS_PASWORD": "x"}
    assert [str(notice) for notice in scaler_notices(environ)] == [
        "SCALER_STATEFILE is not a setting; did you mean SCALER_STATE_FILE?",
        "SCALER_WORKERS is not a setting",
        "SCALING_INTERVAL_MINUTE is not a setting; did you mean SCALING_INTERVAL_MINUTES?",
    ]


def test_the_slo_of_a_target_is_the_strictest_of_its_queues_with_jobs() -> None:
    settings = load("""
targets:
  - name: mailer
    queues: [mail, "report-*"]
    wait_slo_seconds: 60
    queue_slo_seconds: {mail: 5.0, "report-*": 600.0}
    processes: {command: [x]}
""")
    (target,) = settings.targets
    policy = resolve(settings, target)
    assert slo_of(target, policy, []) == 60
    assert slo_of(target, policy, ["report-daily"]) == 600
    assert slo_of(target, policy, ["report-daily", "other"]) == 60
    assert slo_of(target, policy, ["report-daily", "mail"]) == 5


def test_an_slo_of_a_queue_is_above_0() -> None:
    with pytest.raises(ConfigError, match=r"targets\[0\].queue_slo_seconds.mail"):
        load(
            "targets: [{name: a, queues: [mail], queue_slo_seconds: {mail: 0.0}, processes: {command: [x]}}]"
        )


@pytest.mark.parametrize(
    ("queues", "queue", "valid"),
    [
        ("[mail, post]", "mial", False),
        ("[mail, post]", "report-*", False),
        ("['report-*']", "report-daily", True),
        ("['report-*']", "*-daily", True),
        ("[report-daily]", "report-*", True),
    ],
)
def test_an_slo_is_of_a_queue_that_the_target_serves(queues: str, queue: str, *, valid: bool) -> None:
    slos = f"{{'{queue}': 5}}"
    text = f"targets: [{{name: a, queues: {queues}, queue_slo_seconds: {slos}, processes: {{command: [x]}}}}]"
    if valid:
        load(text)
        return
    with pytest.raises(ConfigError, match="the target serves no such queue"):
        load(text)


def test_all_targets_together_may_have_their_minimum() -> None:
    targets = "targets: [{name: a, queues: [a], processes: {command: [x]}}]"
    assert "max_total_workers=1" in refused(f"max_total_workers: 1\n{targets}")
    assert load(f"max_total_workers: 2\n{targets}").max_total_workers == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [("mail-*", "mail-retry"), ("mail-retry", "mail-*"), ("mail-*", "*-retry"), ("*", "a")],
)
def test_queues_of_two_targets_that_may_be_the_same_are_refused(first: str, second: str) -> None:
    text = """
targets:
  - {{name: a, queues: ["{first}"], processes: {{command: [x]}}}}
  - {{name: b, {more}queues: ["{second}"], processes: {{command: [x]}}}}
"""
    error = refused(text.format(first=first, second=second, more=""))
    assert error.startswith(f"targets[1].queues={second}")
    assert f"a serves {first}: a queue of both would be counted twice" in error
    load(text.format(first=first, second=second, more="prefix: other, "))


@pytest.mark.parametrize(
    ("workload", "why"),
    [
        ("kind: Deploymnt", "kind should be Deployment or StatefulSet; of another kind, set its api_version"),
        ("kind: Rollout, api_version: argoproj.io/v1alpha1", None),
        ("kind: Rollout, api_version: v1", "api_version=v1"),
    ],
)
def test_a_workload_of_another_kind_needs_its_api(workload: str, why: str | None) -> None:
    text = f"targets: [{{name: a, queues: [a], kubernetes: {{name: a, {workload}}}}}]"
    if why is None:
        assert load(text).targets[0].kubernetes is not None
    else:
        assert why in refused(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"{MAIL}    mode: advise\n", "targets[0].mode"),
        (f"defaults: {{mode: advise}}{MAIL}", "defaults.mode"),
        (f"policies: [{{match: mail, mode: advise}}]{MAIL}", "policies[0].mode"),
    ],
)
def test_the_number_of_worker_processes_is_nobody_elses(text: str, named: str) -> None:
    why = refused(text)
    assert f"{named}=advise" in why
    assert "its workers are processes of this scaler, whose number nobody else sets: act, or shadow" in why
    assert load(text.replace("advise", "shadow")).targets
    assert load(text.replace("processes: {command: [node, worker.js]}", "kubernetes: {name: mail}")).targets
