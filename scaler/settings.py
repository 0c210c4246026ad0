"""The scaler's settings: one model for environment, file, documentation and JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from scaler.prometheus.settings import MOST_QUERIES, PrometheusSettings, QuerySettings
from service.api.settings import ApiSettings, check_keys
from service.config.load import (
    ConfigError,
    Given,
    Loaded,
    from_environment,
    load,
    secret_names,
    suspects,
    to_bool,
)
from service.config.model import LogSettings, Model
from service.web.address import parse_listen

DNS_NAME: Final = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"


class PolicySettings(Model):
    """How many workers a target needs. Each key can be set in `defaults`, in `policies` and in a target."""

    enabled: bool = Field(True, description="false: the target is observed and never scaled")
    policy: Literal["wait_target", "threshold"] = Field(
        "wait_target",
        description="wait_target keeps a waiting time; threshold uses the number of waiting jobs",
    )
    min_workers: int = Field(2, ge=0, description="minimum number of workers; 0: scale to zero without jobs")
    max_workers: int = Field(10, ge=1, description="maximum number of workers")
    worker_concurrency: int | None = Field(
        None, ge=1, description="jobs that one worker runs at once; measured if absent"
    )
    # wait_target
    wait_slo_seconds: float = Field(
        30.0, gt=0, description="wait_target: the SLO, longest time that a job should wait"
    )
    aim: float = Field(
        0.35,
        gt=0,
        le=1,
        description="wait_target: part of the SLO to plan for; less is safer and costs more",
    )
    hold_seconds: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="wait_target: seconds that workers stay after they were last needed, up to 2.5 times as "
        "long where scaling in proved premature",
    )
    # threshold
    target_waiting_jobs: float = Field(5.0, gt=0, description="threshold: acceptable number of waiting jobs")
    scale_up_threshold: float = Field(
        2.0, gt=0, description="threshold: scale out when more than so many times the target wait"
    )
    scale_down_threshold: float = Field(
        0.3, ge=0, description="threshold: scale in when fewer than this part of the target wait"
    )
    capacity_per_worker: float | None = Field(
        None, gt=0, description="jobs that fully load one worker; if absent worker_concurrency, or 10"
    )
    scaling_step: Literal["one", "to_target"] = Field(
        "to_target", description="threshold: one worker at a time, or at once to waiting / target"
    )
    # guards
    cooldown_seconds: float | None = Field(
        None, ge=0, description="seconds between two changes; if absent 300 for threshold, 0 for wait_target"
    )
    stabilization_up_seconds: float = Field(
        0.0, ge=0, le=3600, description="scale out only to the lowest proposal of the last so many seconds"
    )
    stabilization_down_seconds: float = Field(
        0.0, ge=0, le=3600, description="scale in only to the highest proposal of the last so many seconds"
    )
    max_step_up: int | None = Field(None, ge=1, description="maximum number of workers added in one step")
    max_step_down: int | None = Field(None, ge=1, description="maximum number of workers removed in one step")
    scale_to_zero_after_seconds: float = Field(
        300.0, ge=0, description="with min_workers 0: seconds without a job until the last worker is removed"
    )
    metrics_max_age_seconds: float = Field(
        60.0, gt=0, description="older metrics count as missing: the number of workers is held"
    )
    fallback_workers: int | None = Field(
        None, ge=0, description="minimum number of workers while metrics are missing; if absent it is held"
    )
    fallback_after_failures: int = Field(
        3, ge=1, description="steps without metrics before fallback_workers applies"
    )


class ProcessSettings(Model):
    """Workers as processes of this machine."""

    command: tuple[str, ...] = Field(min_length=1, description="program and arguments; there is no shell")
    directory: str | None = Field(None, description="working directory; the scaler's own if absent")
    environment: dict[str, str] = Field(
        default_factory=dict, repr=False, description="variables added to the scaler's own; never shown"
    )
    user: str | None = Field(None, description="user to run as, if the scaler may switch users")
    grace_seconds: float = Field(
        30.0, ge=0, description="seconds from SIGTERM to SIGKILL when a worker is terminated"
    )
    ready_seconds: float = Field(1.0, ge=0, description="seconds until a running worker counts as ready")


class WorkloadSettings(Model):
    """Workers as the pods of a Kubernetes workload."""

    kind: Literal["Deployment", "StatefulSet"] = Field("Deployment", description="kind of the workload")
    name: str = Field(pattern=DNS_NAME, max_length=253, description="name of the workload")
    namespace: str | None = Field(
        None,
        pattern=DNS_NAME,
        max_length=63,
        description="namespace of the workload; that of `kubernetes` if absent",
    )
    idle_first: bool = Field(
        False,
        description="before scaling in, mark pods with active jobs, so that idle pods are deleted first",
    )

    def workload(self, home: str | None) -> tuple[str, str | None, str]:
        """Kind, namespace and name; `home` is the default namespace."""
        return self.kind, self.namespace or home, self.name


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
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="time-out of each request")
    requests_per_second: float = Field(
        50.0, gt=0, le=1000, description="rate limit of requests, with a burst of four times as many"
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
    exporter_url: str | None = Field(
        None,
        pattern=r"^https?://[^@/?#]+/?$",
        description="URL of the exporter, which reports busy workers before an `idle_first` target scales in",
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
    state_file: str | None = Field(
        None, description="file of overrides, pauses and what was learned; if absent they are lost on restart"
    )
    prometheus: PrometheusSettings = PrometheusSettings()
    queries: QuerySettings = QuerySettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    defaults: PolicySettings = PolicySettings()
    policies: tuple[PolicyEntry, ...] = Field((), description="settings for several targets, by their names")
    targets: tuple[TargetSettings, ...] = Field((), description="the targets to scale")
    web_config_file: str | None = Field(
        None, description="TLS and users of HTTP, in the web configuration format of Prometheus exporters"
    )
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()


# --- one target's settings, merged from all origins ------------------------------------------------------

POLICY_KEYS: Final = tuple(PolicySettings.model_fields)


def origins(
    settings: ScalerSettings, target: TargetSettings, changed: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The origin of each key of the target's policy: built in, defaults, policies[i], its own entry, or
    "changed" at run time."""
    origin_of = {key: origin for origin, keys in _layers(settings, target) for key in keys}
    origin_of |= dict.fromkeys(changed or {}, "changed")
    return {key: origin_of.get(key, "built in") for key in POLICY_KEYS}


def resolve(
    settings: ScalerSettings, target: TargetSettings, changed: Mapping[str, Any] | None = None
) -> PolicySettings:
    """The target's policy: its own keys over those of the first of `policies` that matches, over `defaults`.

    `changed` are keys that were changed at run time. Raises pydantic's ValidationError for these alone.
    """
    merged: dict[str, Any] = {}
    for _, keys in _layers(settings, target):
        merged |= keys
    return PolicySettings.model_validate(merged | dict(changed or {}))


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


def _layers(settings: ScalerSettings, target: TargetSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "defaults", _set_keys(settings.defaults)
    for index, entry in enumerate(settings.policies):
        if any(fnmatchcase(name, entry.match) for name in (target.name, *target.queues)):
            yield f"policies[{index}]", _set_keys(entry)
            break
    yield "target", _set_keys(target)


def _set_keys(model: PolicySettings) -> dict[str, Any]:
    return {key: getattr(model, key) for key in POLICY_KEYS if key in model.model_fields_set}


# --- environment variables -------------------------------------------------------------------------------

SCALER_VARIABLES: Final[dict[str, str]] = {
    "SCALER_LISTEN": "listen",
    "SCALER_WEB_CONFIG": "web_config_file",
    "SCALER_STATE_FILE": "state_file",
    "SCALER_DRY_RUN": "dry_run",
    "ENABLE_AUTO_SCALING": "enabled",
    "CRON_API_KEY": "api.key",
    "CRON_API_READ_KEY": "api.read_key",
    "PROMETHEUS_URL": "prometheus.urls",
    "PROMETHEUS_USERNAME": "prometheus.username",
    "PROMETHEUS_PASSWORD": "prometheus.password",
    "PROMETHEUS_BEARER_TOKEN": "prometheus.bearer_token",
    "LOG_LEVEL": "log.level",
    "LOG_FORMAT": "log.format",
    "LOG_FILE": "log.file",
}
"""Each variable and its setting. A secret can also be given as NAME_FILE, a file with its value."""

MINUTES: Final = "SCALING_INTERVAL_MINUTES"


def scaler_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The settings of the environment, by dotted path; files of secrets are read too. Raises ConfigError."""
    given = from_environment(ScalerSettings, environ, SCALER_VARIABLES)
    for name in ("ENABLE_AUTO_SCALING", "SCALER_DRY_RUN"):
        if environ.get(name, "").strip():
            to_bool(name, environ[name])
    raw = environ.get(MINUTES, "").strip()
    if raw:
        try:
            seconds = float(raw) * 60
        except ValueError:
            raise ConfigError(MINUTES, raw, "environment", "should be a number of minutes") from None
        if not 1 <= seconds <= 3600:
            why = "should be from one second (0.0167) to 60 minutes"
            raise ConfigError(MINUTES, raw, "environment", why)
        given["interval_seconds"] = Given(MINUTES, seconds)
    return given


def load_scaler_settings(
    yaml_text: str, given: Mapping[str, Given], *, file: str = ""
) -> Loaded[ScalerSettings]:
    """The settings of the file, overridden by `given`, checked singly and together. Raises ConfigError."""
    loaded = load(ScalerSettings, yaml_text, given, file=file)
    try:
        parse_listen(loaded.model.listen)
    except ValueError as error:
        raise loaded.error("listen", str(error), loaded.model.listen) from None
    line = loaded.lines.get(("interval_seconds",))
    if line and loaded.name("interval_seconds") == MINUTES:
        why = f"{MINUTES} is set too: keep one of them"
        raise ConfigError("interval_seconds", None, f"{file}, line {line}", why)
    check_keys(loaded, loaded.model.api)
    _check_targets(loaded)
    kinds = {queries_of(loaded.model, target) for target in loaded.model.targets}
    if len(kinds) > MOST_QUERIES:
        why = f"{len(kinds)} different `queries`: at most {MOST_QUERIES} are sent in a step"
        raise loaded.error("targets", why)
    return loaded


def misspelled_scaler_variables(environ: Iterable[str]) -> dict[str, str]:
    """Variables that look like misspelt settings, and the variable that was probably meant."""
    files = [f"{name}_FILE" for name in secret_names(ScalerSettings, SCALER_VARIABLES)]
    known = [*SCALER_VARIABLES, *files, MINUTES, "SCALER_CONFIG", "SCALER_URL"]
    return suspects(environ, known, ("SCALER_", "SCALING_", "PROMETHEUS_", "ENABLE_AUTO"))


# --- checks across settings ------------------------------------------------------------------------------


def _check_targets(loaded: Loaded[ScalerSettings]) -> None:
    settings = loaded.model
    names: dict[str, int] = {}
    served: dict[tuple[str, str], str] = {}
    for index, target in enumerate(settings.targets):
        path = f"targets[{index}]"
        if target.name in names:
            why = f"targets[{names[target.name]}] has this name already"
            raise loaded.error(f"{path}.name", why, target.name)
        names[target.name] = index
        _check_backend(loaded, path, target)
        for queue in target.queues:
            other = served.setdefault((target.prefix, queue), target.name)
            if other != target.name:
                raise loaded.error(f"{path}.queues", f"{other} serves this queue already", queue)
        _check_policy(loaded, path, target)


def _check_backend(loaded: Loaded[ScalerSettings], path: str, target: TargetSettings) -> None:
    """One backend for each target, the same for all, and each workload once."""
    if (target.processes is None) == (target.kubernetes is None):
        why = "needs either processes or kubernetes, the backend of its workers"
        raise loaded.error(f"{path}.name", why, target.name)
    first = loaded.model.targets[0]
    if (target.kubernetes is None) != (first.kubernetes is None):
        why = (
            "processes and kubernetes in one scaler: processes end with it, pods outlive it; run two scalers"
        )
        raise loaded.error(f"{path}.name", why, target.name)
    if target.kubernetes is None:
        return
    url = loaded.model.kubernetes.exporter_url
    if target.kubernetes.idle_first and url is None:
        why = "needs kubernetes.exporter_url: the exporter reports the busy workers"
        raise loaded.error(f"{path}.kubernetes.idle_first", why, value=True)
    home = loaded.model.kubernetes.namespace
    for other in loaded.model.targets[: loaded.model.targets.index(target)]:
        if other.kubernetes and other.kubernetes.workload(home) == target.kubernetes.workload(home):
            why = f"{other.name} scales this workload already"
            raise loaded.error(f"{path}.kubernetes.name", why, target.kubernetes.name)


def _check_policy(loaded: Loaded[ScalerSettings], path: str, target: TargetSettings) -> None:
    """Checks the merged policy; an error names the origin of the invalid value."""
    policy, origin = resolve(loaded.model, target), origins(loaded.model, target)

    def invalid(key: str, why: str) -> ConfigError:
        section = {"target": path, "built in": path}.get(origin[key], origin[key])
        return loaded.error(f"{section}.{key}", f"{why} (target {target.name})", getattr(policy, key))

    if policy.min_workers > policy.max_workers:
        key = "max_workers" if origin["min_workers"] == "built in" else "min_workers"
        raise invalid(key, f"min_workers {policy.min_workers} is above max_workers {policy.max_workers}")
    if policy.fallback_workers is not None and policy.fallback_workers > policy.max_workers:
        raise invalid("fallback_workers", f"is above max_workers {policy.max_workers}")
    if policy.scale_down_threshold >= policy.scale_up_threshold:
        raise invalid(
            "scale_down_threshold", f"should be below scale_up_threshold {policy.scale_up_threshold:g}"
        )
    if (
        policy.metrics_max_age_seconds < loaded.model.interval_seconds
        and origin["metrics_max_age_seconds"] != "built in"
    ):
        raise invalid(
            "metrics_max_age_seconds", f"is below the interval of {loaded.model.interval_seconds:g} s"
        )


def checked(settings: ScalerSettings, target: TargetSettings, changed: Mapping[str, Any]) -> PolicySettings:
    """The target's policy with these keys changed at run time. Raises ValueError, which names the key."""
    unknown = [key for key in changed if key not in POLICY_KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]}: there is no such setting of a policy")
    try:
        policy = resolve(settings, target, changed)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}") from None
    if policy.min_workers > policy.max_workers:
        raise ValueError(f"min_workers {policy.min_workers} is above max_workers {policy.max_workers}")
    if policy.scale_down_threshold >= policy.scale_up_threshold:
        raise ValueError("scale_down_threshold should be below scale_up_threshold")
    return policy
