"""The scaler's settings: one model for environment, file, documentation and JSON Schema."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class PolicySettings(_Model):
    """How many workers a target needs. Each key can stand in `defaults`, in `policies` and in a target."""

    enabled: bool = Field(True, description="false: the target is watched and never changed")
    policy: Literal["wait_target", "threshold"] = Field(
        "wait_target", description="wait_target keeps a waiting time; threshold goes by the number of jobs"
    )
    min_workers: int = Field(2, ge=0, description="fewest workers; 0 lets them go when nothing is to be done")
    max_workers: int = Field(10, ge=1, description="most workers")
    worker_concurrency: int | None = Field(
        None, ge=1, description="jobs that one worker runs at once; measured where it is not given"
    )
    # wait_target
    wait_slo_seconds: float = Field(30.0, gt=0, description="wait_target: a job waits no longer than this")
    aim: float = Field(
        0.35,
        gt=0,
        le=1,
        description="wait_target: part of the SLO that is planned for; less is safer, dearer",
    )
    # threshold
    target_waiting_jobs: float = Field(5.0, gt=0, description="threshold: waiting jobs that are all right")
    scale_up_threshold: float = Field(
        2.0, gt=0, description="threshold: up when more than this many times the target wait"
    )
    scale_down_threshold: float = Field(
        0.3, ge=0, description="threshold: down when fewer than this part of the target wait"
    )
    capacity_per_worker: float | None = Field(
        None, gt=0, description="jobs that are full load of one worker; worker_concurrency, or 10, if absent"
    )
    scaling_step: Literal["one", "to_target"] = Field(
        "to_target", description="threshold: by one worker, or at once to waiting / target"
    )
    # guards
    cooldown_seconds: float | None = Field(
        None, ge=0, description="pause between two changes; if absent 300 for threshold, 0 for wait_target"
    )
    stabilization_up_seconds: float = Field(
        0.0, ge=0, le=3600, description="up only to the least that was wanted in this time"
    )
    stabilization_down_seconds: float = Field(
        0.0, ge=0, le=3600, description="down only to the most that was wanted in this time"
    )
    max_step_up: int | None = Field(None, ge=1, description="most workers added in one step")
    max_step_down: int | None = Field(None, ge=1, description="most workers taken away in one step")
    scale_to_zero_after_seconds: float = Field(
        300.0, ge=0, description="min_workers 0: the last worker goes after so long without a job"
    )
    metrics_max_age_seconds: float = Field(
        60.0, gt=0, description="older metrics are no metrics: the number of workers is held"
    )
    fallback_workers: int | None = Field(
        None, ge=0, description="at least so many workers while metrics are missing; if absent they are held"
    )
    fallback_after_failures: int = Field(
        3, ge=1, description="steps without metrics before fallback_workers counts"
    )


class ProcessSettings(_Model):
    """Workers as processes of this machine."""

    command: tuple[str, ...] = Field(min_length=1, description="program and arguments, no shell")
    directory: str | None = Field(None, description="working directory; the scaler's own if absent")
    environment: dict[str, str] = Field(default_factory=dict, description="added to the scaler's own")
    user: str | None = Field(None, description="user to run as, where the scaler may change it")
    grace_seconds: float = Field(30.0, ge=0, description="from SIGTERM to SIGKILL when a worker has to go")
    ready_seconds: float = Field(1.0, ge=0, description="a worker that has lived so long counts as ready")


class KubernetesSettings(_Model):
    """Workers as pods of a Deployment or StatefulSet."""

    name: str = Field(min_length=1, description="name of the Deployment or StatefulSet")
    namespace: str | None = Field(None, description="the scaler's own if absent")
    kind: Literal["Deployment", "StatefulSet"] = Field("Deployment", description="what it is")
