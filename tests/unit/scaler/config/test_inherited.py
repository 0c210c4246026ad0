from __future__ import annotations

import pytest

from scaler.config.environment import SCALER_VARIABLES
from scaler.config.inherited import SCALER_SECRETS, absent_variables, inherited, variable_problem
from scaler.config.settings import ProcessSettings, ScalerSettings


def processes(**more: object) -> ProcessSettings:
    return ProcessSettings.model_validate({"command": ["worker"], **more})


def test_a_worker_inherits_what_finds_programs_and_languages_and_what_is_named() -> None:
    plain = {"PATH": "/bin", "HOME": "/root", "LC_TIME": "C", "NODE_ENV": "production", "PYTHONPATH": "/p"}
    more = {
        "REDIS_URL": "redis://x",
        "APP_ONE": "1",
        "app_two": "2",
        "AWS_SECRET_ACCESS_KEY": "s",
        "LCD": "l",
    }
    scaler = plain | more
    assert inherited(processes(), scaler) == plain
    named = processes(environment_from=["REDIS_URL", "APP_*", "NOT_SET"])
    assert inherited(named, scaler) == plain | {"REDIS_URL": "redis://x", "APP_ONE": "1"}


def test_no_pattern_and_no_name_gives_a_secret_of_the_scaler() -> None:
    scaler = dict.fromkeys((*SCALER_VARIABLES, *SCALER_SECRETS), "x")
    everything = ProcessSettings(command=("worker",), environment_from=("*", *sorted(SCALER_SECRETS)))
    assert not inherited(everything, scaler).keys() & SCALER_SECRETS
    assert {"CRON_API_KEY", "CRON_API_READ_KEY_FILE", "PROMETHEUS_BEARER_TOKEN"} <= SCALER_SECRETS


@pytest.mark.parametrize("name", ["", "A=B", "A\0", "CRON_API_KEY", "PROMETHEUS_PASSWORD_FILE"])
def test_names_that_are_refused(name: str) -> None:
    assert variable_problem(name)


def test_names_that_are_not_set_are_told() -> None:
    settings = ScalerSettings.model_validate(
        {
            "targets": [
                {
                    "name": "mail",
                    "queues": ["mail"],
                    "processes": {
                        "command": ["worker"],
                        "environment": {"HERE": "1"},
                        "environment_from": ["REDIS_URL", "APP_*", "THERE", "HERE"],
                    },
                },
                {"name": "pods", "queues": ["pods"], "kubernetes": {"name": "pods"}},
            ]
        }
    )
    assert absent_variables(settings, {"THERE": ""}) == [
        "mail: its workers should get REDIS_URL (environment_from), which the scaler does not have"
    ]
