"""The scaler's settings: one model for environment, file, documentation and JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from scaler.config.external_metrics import ExternalMetricsSettings
from scaler.config.keda import KedaSettings
from scaler.config.prometheus import PrometheusSettings, QuerySettings
from service.api.settings import ApiSettings
from service.config.model import (
    MOST_JOBS_AT_ONCE,
    MOST_JOBS_COUNTED,
    MOST_TIMES,
    YEAR_SECONDS,
    LogSettings,
    Model,
)
from service.web.settings import WebSettings

MOST_WORKERS: Final = 100_000
"""Workers of a target at most, wherever a number of workers is set: a cluster of the size that Kubernetes is
tested with has 150,000 pods."""

DNS_NAME: Final = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
APPS: Final = "apps/v1"
ALL_NAMESPACES: Final = "*"

_NAMESPACE_OR_ALL: Final = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\*)$"

_API_VERSION: Final = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?/v[0-9]+((alpha|beta)[0-9]+)?$"
_APPS_KINDS: Final = ("Deployment", "StatefulSet")

_MOST_TOTAL: Final = 10_000_000  # workers of all targets together
_MOST_STEPS: Final = 1_000_000
_PRIORITY: Final = 1_000_000


class PolicySettings(Model):
    """How many workers a target needs. Each key can be set in `defaults`, in `policies` and in a target."""

    enabled: bool = Field(True, description="false: the target is observed and never scaled")
    mode: Literal["act", "advise", "shadow"] = Field(
        "act",
        description="act: scale; advise: another one sets the number of workers, such as an HPA or KEDA, and "
        "what is recommended is told; shadow: decide and do not scale, as in a dry run",
    )
    policy: Literal["wait_target", "threshold"] = Field(
        "wait_target",
        description="wait_target keeps a waiting time; threshold uses the number of waiting jobs",
    )
    min_workers: int = Field(
        2, ge=0, le=MOST_WORKERS, description="minimum number of workers; 0: scale to zero without jobs"
    )
    max_workers: int = Field(10, ge=1, le=MOST_WORKERS, description="maximum number of workers")
    worker_concurrency: int | None = Field(
        None,
        ge=1,
        le=MOST_JOBS_AT_ONCE,
        description="jobs that one worker runs at once, of all its queues; measured if absent",
    )
    worker_concurrency_per_queue: int | None = Field(
        None,
        ge=1,
        le=MOST_JOBS_AT_ONCE,
        description="jobs of one queue that a worker runs at once, if it serves several with slots for each",
    )
    # wait_target
    wait_slo_seconds: float = Field(
        30.0, gt=0, le=YEAR_SECONDS, description="wait_target: the SLO, longest time that a job should wait"
    )
    start_cost_seconds: float = Field(
        90.0,
        ge=0,
        le=3600,
        description="wait_target: what a start costs beside the time that it takes, in seconds of a worker: "
        "so long a worker that the load needed is kept; less is cheaper and starts more workers",
    )
    # threshold
    target_waiting_jobs: float = Field(
        5.0, gt=0, le=MOST_JOBS_COUNTED, description="threshold: acceptable number of waiting jobs"
    )
    scale_up_threshold: float = Field(
        2.0,
        gt=0,
        le=MOST_TIMES,
        description="threshold: scale out when more than so many times the target wait",
    )
    scale_down_threshold: float = Field(
        0.3,
        ge=0,
        le=MOST_TIMES,
        description="threshold: scale in when fewer than this part of the target wait",
    )
    capacity_per_worker: float | None = Field(
        None,
        gt=0,
        le=MOST_JOBS_AT_ONCE,
        description="jobs that fully load one worker; worker_concurrency, or 10, if absent",
    )
    scaling_step: Literal["one", "to_target"] = Field(
        "to_target", description="threshold: one worker at a time, or at once to waiting / target"
    )
    # guards
    cooldown_seconds: float | None = Field(
        None,
        ge=0,
        le=YEAR_SECONDS,
        description="seconds between two changes; if absent 300 for threshold, 0 for wait_target",
    )
    stabilization_up_seconds: float = Field(
        0.0, ge=0, le=3600, description="scale out only to the lowest proposal of the last so many seconds"
    )
    stabilization_down_seconds: float = Field(
        0.0, ge=0, le=3600, description="scale in only to the highest proposal of the last so many seconds"
    )
    max_step_up: int | None = Field(
        None, ge=1, le=MOST_WORKERS, description="maximum number of workers added in one step"
    )
    max_step_down: int | None = Field(
        None, ge=1, le=MOST_WORKERS, description="maximum number of workers removed in one step"
    )
    scale_to_zero_after_seconds: float = Field(
        300.0,
        ge=0,
        le=YEAR_SECONDS,
        description="with min_workers 0: seconds without a job until the last worker is removed",
    )
    metrics_max_age_seconds: float = Field(
        60.0,
        gt=0,
        le=YEAR_SECONDS,
        description="older metrics count as missing: the number of workers is held",
    )
    fallback_workers: int | None = Field(
        None,
        ge=0,
        le=MOST_WORKERS,
        description="minimum number of workers while metrics are missing; if absent it is held",
    )
    fallback_after_failures: int = Field(
        3, ge=1, le=_MOST_STEPS, description="steps without metrics before fallback_workers applies"
    )


POLICY_KEYS: Final = tuple(PolicySettings.model_fields)

REMOVED_KEYS: Final[dict[str, str]] = {
    "aim": "has no meaning any more; for more care lower wait_slo_seconds",
    "hold_seconds": "has no meaning any more; start_cost_seconds sets how long an idle worker is kept",
}
"""Settings of a policy that earlier versions had, and what to do instead."""


class ProcessSettings(Model):
    """Workers as processes of this machine."""

    command: tuple[str, ...] = Field(min_length=1, description="program and arguments; there is no shell")
    directory: str | None = Field(None, description="working directory; the scaler's own if absent")
    environment: dict[str, str] = Field(
        default_factory=dict, repr=False, description="variables of the workers; never shown"
    )
    environment_from: tuple[str, ...] = Field(
        (),
        description="further variables of the scaler that the workers get, by name or glob pattern, such as "
        "REDIS_URL or APP_*; its API keys and the secrets of Prometheus are never among them",
    )
    user: str | None = Field(None, description="user to run as, if the scaler may switch users")
    grace_seconds: float = Field(
        30.0, ge=0, le=86_400, description="seconds from SIGTERM to SIGKILL when a worker is terminated"
    )
    ready_seconds: float = Field(
        1.0, ge=0, le=3600, description="seconds until a running worker counts as ready"
    )


class WorkloadSettings(Model):
    """Workers as the pods of a Kubernetes workload."""

    api_version: str = Field(
        APPS,
        pattern=_API_VERSION,
        max_length=100,
        description="API group and version of the workload, such as argoproj.io/v1alpha1",
    )
    kind: str = Field(
        "Deployment",
        pattern=r"^[A-Z][A-Za-z0-9]*$",
        max_length=63,
        description="kind of the workload: Deployment, StatefulSet, or with another api_version any that has "
        "/scale, such as Rollout",
    )
    name: str = Field(pattern=DNS_NAME, max_length=253, description="name of the workload")
    namespace: str | None = Field(
        None,
        pattern=DNS_NAME,
        max_length=63,
        description="namespace of the workload; that of `kubernetes` if absent",
    )
    idle_first: bool | None = Field(
        None,
        description="before scaling in, mark pods with active jobs, so that idle pods are deleted first; if "
        "absent it is done where the exporter's URL is set and the role permits it",
    )

    @model_validator(mode="after")
    def _has_scale(self) -> Self:
        if self.api_version == APPS and self.kind not in _APPS_KINDS:
            why = f"kind should be {' or '.join(_APPS_KINDS)}; of another kind, set its api_version"
            raise ValueError(why)
        return self

    def workload(self, home: str | None) -> tuple[str, str, str | None, str]:
        """API group, kind, namespace and name; `home` is the default namespace."""
        return self.api_version.partition("/")[0], self.kind, self.namespace or home, self.name


class ScaledQueueSettings(Model):
    """Targets that teams declare as objects, ScaledQueues, beside their workloads."""

    namespaces: tuple[Annotated[str, Field(pattern=_NAMESPACE_OR_ALL, max_length=63)], ...] = Field(
        min_length=1,
        max_length=50,
        description="namespaces whose ScaledQueues are targets; `*` alone: all of the cluster",
    )
    max_objects: int = Field(
        2000, ge=1, le=20_000, description="ScaledQueues at most; the oldest have a place"
    )

    @model_validator(mode="after")
    def _all_or_some(self) -> Self:
        if ALL_NAMESPACES in self.namespaces and len(self.namespaces) > 1:
            raise ValueError("namespaces should be * alone, or names")
        if len(set(self.namespaces)) < len(self.namespaces):
            raise ValueError("namespaces should have each name once")
        return self


class KubernetesSettings(Model):
    """The cluster whose workloads are scaled. In a pod, none of these has to be set."""

    kubeconfig: str | None = Field(None, description="kubeconfig file; if absent the pod's service account")
    context: str | None = Field(None, description="context of the kubeconfig; the current one if absent")
    namespace: str | None = Field(
        None,
        pattern=DNS_NAME,
        max_length=63,
        description="namespace of the lease and the state, default of the targets; the pod's own if absent",
    )
    timeout_seconds: float = Field(5.0, ge=0.01, le=60, description="time-out of each request")
    requests_per_second: float = Field(
        50.0, ge=0.1, le=1000, description="rate limit of requests, with a burst of four times as many"
    )
    lease: str = Field(
        "oxherd-scaler",
        pattern=DNS_NAME,
        description="name of the Lease of the leader election: only the leader acts",
    )
    lease_seconds: int = Field(
        15, ge=3, le=600, description="seconds without a renewal after which another replica takes over"
    )
    state: str = Field(
        "oxherd-scaler-state",
        pattern=DNS_NAME,
        description="ConfigMap of overrides, pauses and what was learned, if no state_file is set",
    )
    events: bool = Field(True, description="write changes and conditions as Events of the workload")
    scaled_queues: ScaledQueueSettings | None = Field(
        None, description="read targets from ScaledQueues too; if absent they are only those of `targets`"
    )
    exporter_url: str | None = Field(
        None,
        pattern=r"^https?://[^@/?#]+/?$",
        description="URL of the exporter, if it is another one than `exporter_url`",
    )


class PolicyEntry(PolicySettings):
    """Settings for several targets: the first entry that matches a target applies."""

    match: str = Field(
        min_length=1, description="glob pattern for the target's name, or for one of its queues"
    )


class TargetSettings(PolicySettings):
    """Workers that are scaled together, and the queues that they serve."""

    name: str = Field(min_length=1, description="name in commands and series")
    prefix: str = Field("bull", description="key prefix of its queues")
    queues: tuple[str, ...] = Field(
        min_length=1, description="names or glob patterns of its queues, whose figures are added up"
    )
    queue_slo_seconds: dict[str, Annotated[float, Field(gt=0, le=YEAR_SECONDS)]] = Field(
        default_factory=dict,
        description="wait_slo_seconds of single queues, by name or glob pattern: the strictest of those with "
        "jobs counts",
    )
    priority: int = Field(
        0,
        ge=-_PRIORITY,
        le=_PRIORITY,
        description="targets of a higher priority get their workers first where max_total_workers is reached",
    )
    queries: QuerySettings | None = Field(
        None, description="PromQL for these queues; if absent that of `queries`"
    )
    processes: ProcessSettings | None = Field(None, description="its workers are processes of this machine")
    kubernetes: WorkloadSettings | None = Field(None, description="its workers are pods of a workload")


class ScalerSettings(Model, title="Settings"):
    """All settings. Each can be set in the file; some have a variable too (see SCALER_VARIABLES)."""

    listen: str = Field("0.0.0.0:9878", description="host:port to listen on; [::1]:9878 for IPv6")
    enabled: bool = Field(True, description="false: no target is scaled")
    dry_run: bool = Field(False, description="decide and publish decisions, but do not scale")
    interval_seconds: float = Field(5.0, ge=1, le=3600, description="seconds between two decisions")
    max_total_workers: int | None = Field(
        None,
        ge=1,
        le=_MOST_TOTAL,
        description="maximum number of workers of all targets together: what the machine can run",
    )
    state_file: str | None = Field(
        None,
        description="file of overrides, pauses and what was learned, relative to the folder of the "
        "process; if absent they are lost on restart",
    )
    exporter_url: str | None = Field(
        None,
        pattern=r"^https?://[^@/?#]+/?$",
        description="URL of the exporter, which reports before a scale-in which workers have jobs: no more "
        "are removed than are idle",
    )
    prometheus: PrometheusSettings = PrometheusSettings()
    queries: QuerySettings = QuerySettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    keda: KedaSettings = KedaSettings()
    external_metrics: ExternalMetricsSettings = ExternalMetricsSettings()
    defaults: PolicySettings = PolicySettings()
    policies: tuple[PolicyEntry, ...] = Field((), description="settings for several targets, by their names")
    targets: tuple[TargetSettings, ...] = Field((), description="the targets to scale")
    web: WebSettings = WebSettings(max_connections=256)  # the others are for its workers
    web_config_file: str | None = Field(
        None, description="TLS and users of HTTP, in the web configuration format of Prometheus exporters"
    )
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()


def slo_of(target: TargetSettings, policy: PolicySettings, queues: Iterable[str]) -> float:
    """The SLO of the target while these queues have jobs: the strictest of theirs."""
    slos = [
        next(
            (slo for pattern, slo in target.queue_slo_seconds.items() if fnmatchcase(queue, pattern)),
            policy.wait_slo_seconds,
        )
        for queue in queues
    ]
    return min(slos, default=policy.wait_slo_seconds)


def exporter_url_of(settings: ScalerSettings) -> str | None:
    """Where to ask for the busy workers of a cluster; None: nowhere."""
    return settings.kubernetes.exporter_url or settings.exporter_url


def queries_of(settings: ScalerSettings, target: TargetSettings) -> QuerySettings:
    """The queries for the figures of the target's queues."""
    return target.queries or settings.queries


def matching(patterns: Iterable[str], queues: Iterable[str]) -> list[str]:
    """The plain names among the patterns, and the queues that the glob patterns match; each once, sorted."""
    listed = list(patterns)
    plain = {pattern for pattern in listed if not is_glob(pattern)}
    globs = [pattern for pattern in listed if is_glob(pattern)]
    return sorted(
        plain | {queue for queue in queues if any(fnmatchcase(queue, pattern) for pattern in globs)}
    )


def is_glob(pattern: str) -> bool:
    """Whether it is a glob pattern, not a name."""
    return any(char in pattern for char in "*?[")
