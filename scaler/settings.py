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
    hold_seconds: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="wait_target: workers stay so long after they were last needed, up to 2.5 times as long "
        "where letting them go proved premature",
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


class ProcessSettings(Model):
    """Workers as processes of this machine."""

    command: tuple[str, ...] = Field(min_length=1, description="program and arguments, no shell")
    directory: str | None = Field(None, description="working directory; the scaler's own if absent")
    environment: dict[str, str] = Field(
        default_factory=dict, repr=False, description="added to the scaler's own; never shown"
    )
    user: str | None = Field(None, description="user to run as, where the scaler may change it")
    grace_seconds: float = Field(30.0, ge=0, description="from SIGTERM to SIGKILL when a worker has to go")
    ready_seconds: float = Field(1.0, ge=0, description="a worker that has lived so long counts as ready")


class WorkloadSettings(Model):
    """Workers as the pods of a Kubernetes workload."""

    kind: Literal["Deployment", "StatefulSet"] = Field("Deployment", description="what the pods belong to")
    name: str = Field(pattern=DNS_NAME, max_length=253, description="its name")
    namespace: str | None = Field(
        None, pattern=DNS_NAME, max_length=63, description="its namespace; that of `kubernetes` if absent"
    )
    idle_first: bool = Field(
        False, description="before scaling in, mark pods with jobs in hand so that idle ones go first"
    )

    def workload(self, home: str | None) -> tuple[str, str | None, str]:
        """Kind, namespace and name; `home` is the namespace of those that name none."""
        return self.kind, self.namespace or home, self.name


class KubernetesSettings(Model):
    """The cluster whose workloads are scaled. In a pod nothing of it has to be set."""

    kubeconfig: str | None = Field(None, description="file to reach the cluster with; absent: as a pod of it")
    context: str | None = Field(None, description="context in that file; its current one if absent")
    namespace: str | None = Field(
        None,
        pattern=DNS_NAME,
        max_length=63,
        description="of the lease, the state, and of targets that name none; the pod's own if absent",
    )
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="limit of each request")
    requests_per_second: float = Field(
        50.0, gt=0, le=1000, description="most requests in the long run; four times as many at once"
    )
    lease: str = Field(
        "oxherd-scaler", pattern=DNS_NAME, description="Lease that elects the one scaler that acts"
    )
    lease_seconds: int = Field(
        15, ge=3, le=600, description="a leader that is not heard of for so long is succeeded"
    )
    state: str = Field(
        "oxherd-scaler-state",
        pattern=DNS_NAME,
        description="ConfigMap that holds orders and what was learned, where no state_file is set",
    )
    events: bool = Field(True, description="tell changes and conditions as Events of the workload")
    exporter_url: str | None = Field(
        None,
        pattern=r"^https?://[^@/?#]+/?$",
        description="the exporter, which is asked who is busy before an `idle_first` target scales in",
    )


class PolicyEntry(PolicySettings):
    """Settings for all targets of a kind: those of the first entry that matches count."""

    match: str = Field(min_length=1, description="glob on the target's name, or on one of its queues")


class TargetSettings(PolicySettings):
    """Workers that are scaled together, and the queues that they serve."""

    name: str = Field(min_length=1, description="what commands and series call it")
    prefix: str = Field("bull", description="key prefix of its queues")
    queues: tuple[str, ...] = Field(
        min_length=1, description="names or glob patterns; a target that serves several takes their sum"
    )
    queries: QuerySettings | None = Field(
        None, description="PromQL for these queues alone; else that of `queries`"
    )
    processes: ProcessSettings | None = Field(None, description="the workers are processes of this machine")
    kubernetes: WorkloadSettings | None = Field(None, description="the workers are pods of a workload")


class Settings(Model):
    """Everything. Each field can be set in the file; the environment has names for some (see ENV)."""

    listen: str = Field("0.0.0.0:9878", description="host:port to serve on; [::1]:9878 for IPv6")
    enabled: bool = Field(True, description="false: every number of workers is left as it is")
    dry_run: bool = Field(False, description="decide and publish, and change nothing")
    interval_seconds: float = Field(5.0, ge=1, le=3600, description="seconds between two decisions")
    state_file: str | None = Field(
        None, description="where to keep overrides, pauses and what was learned; absent: a restart forgets"
    )
    prometheus: PrometheusSettings = PrometheusSettings()
    queries: QuerySettings = QuerySettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    defaults: PolicySettings = PolicySettings()
    policies: tuple[PolicyEntry, ...] = Field((), description="settings for targets by their name")
    targets: tuple[TargetSettings, ...] = Field((), description="what is scaled")
    web_config_file: str | None = Field(
        None, description="TLS and users of HTTP, in the web configuration format of Prometheus exporters"
    )
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()


# --- one target's settings, of all the places that say something -------------------------------------------

POLICY_KEYS: Final = tuple(PolicySettings.model_fields)


def origins(
    settings: Settings, target: TargetSettings, changed: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Where each key of the target's policy is set: built in, defaults, policies[i], its own entry, or
    "changed" at run time."""
    said = {key: where for where, keys in _layers(settings, target) for key in keys}
    said |= dict.fromkeys(changed or {}, "changed")
    return {key: said.get(key, "built in") for key in POLICY_KEYS}


def resolve(
    settings: Settings, target: TargetSettings, changed: Mapping[str, Any] | None = None
) -> PolicySettings:
    """The target's policy: its own keys over those of the first of `policies` that matches, over `defaults`.

    `changed` is what was changed at run time. Raises pydantic's ValidationError for that alone.
    """
    said: dict[str, Any] = {}
    for _, keys in _layers(settings, target):
        said |= keys
    return PolicySettings.model_validate(said | dict(changed or {}))


def queries_of(settings: Settings, target: TargetSettings) -> QuerySettings:
    """Where the figures of the target's queues come from."""
    return target.queries or settings.queries


def matching(patterns: Iterable[str], queues: Iterable[str]) -> list[str]:
    """The plain names among the patterns, and the queues that the others match; each once, sorted."""
    listed = list(patterns)
    plain = {one for one in listed if not is_glob(one)}
    globs = [one for one in listed if is_glob(one)]
    return sorted(plain | {queue for queue in queues if any(fnmatchcase(queue, one) for one in globs)})


def is_glob(pattern: str) -> bool:
    """Whether it is a pattern and no name."""
    return any(sign in pattern for sign in "*?[")


def _layers(settings: Settings, target: TargetSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "defaults", _set_keys(settings.defaults)
    for index, entry in enumerate(settings.policies):
        if any(fnmatchcase(name, entry.match) for name in (target.name, *target.queues)):
            yield f"policies[{index}]", _set_keys(entry)
            break
    yield "target", _set_keys(target)


def _set_keys(model: PolicySettings) -> dict[str, Any]:
    return {key: getattr(model, key) for key in POLICY_KEYS if key in model.model_fields_set}


# --- the environment's names -----------------------------------------------------------------------------

ENV: Final[dict[str, str]] = {
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
"""Each variable and the setting it gives. Those of secrets may be given as NAME_FILE, a file to read, too."""

MINUTES: Final = "SCALING_INTERVAL_MINUTES"


def given_by(environ: Mapping[str, str]) -> dict[str, Given]:
    """What the environment says, by dotted path; secret files are read into it before. Raises ConfigError."""
    given = from_environment(Settings, environ, ENV)
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


def load_settings(yaml_text: str, given: Mapping[str, Given], *, file: str = "") -> Loaded[Settings]:
    """The file under what is given outside of it, checked one by one and together. Raises ConfigError."""
    loaded = load(Settings, yaml_text, given, file=file)
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
        why = f"{len(kinds)} different `queries`: at most {MOST_QUERIES} are asked in a step"
        raise loaded.error("targets", why)
    return loaded


def slips(environ: Iterable[str]) -> dict[str, str]:
    """Variables that look like misspelt settings, and the setting that was probably meant."""
    files = [f"{name}_FILE" for name in secret_names(Settings, ENV)]
    known = [*ENV, *files, MINUTES, "SCALER_CONFIG", "SCALER_URL"]
    return suspects(environ, known, ("SCALER_", "SCALING_", "PROMETHEUS_", "ENABLE_AUTO"))


# --- what one setting alone does not show ----------------------------------------------------------------


def _check_targets(loaded: Loaded[Settings]) -> None:
    settings = loaded.model
    names: dict[str, int] = {}
    served: dict[tuple[str, str], str] = {}
    for index, target in enumerate(settings.targets):
        path = f"targets[{index}]"
        if target.name in names:
            why = f"targets[{names[target.name]}] has this name already"
            raise loaded.error(f"{path}.name", why, target.name)
        names[target.name] = index
        _check_place(loaded, path, target)
        for queue in target.queues:
            other = served.setdefault((target.prefix, queue), target.name)
            if other != target.name:
                raise loaded.error(f"{path}.queues", f"{other} serves this queue already", queue)
        _check_policy(loaded, path, target)


def _check_place(loaded: Loaded[Settings], path: str, target: TargetSettings) -> None:
    """One kind of workers, the same for all targets, and each workload once."""
    if (target.processes is None) == (target.kubernetes is None):
        why = "needs either processes or kubernetes: what its workers are"
        raise loaded.error(f"{path}.name", why, target.name)
    first = loaded.model.targets[0]
    if (target.kubernetes is None) != (first.kubernetes is None):
        why = "processes and kubernetes in one scaler: those end with it, these outlive it; run two"
        raise loaded.error(f"{path}.name", why, target.name)
    if target.kubernetes is None:
        return
    url = loaded.model.kubernetes.exporter_url
    if target.kubernetes.idle_first and url is None:
        why = "needs kubernetes.exporter_url, which says who is busy"
        raise loaded.error(f"{path}.kubernetes.idle_first", why, value=True)
    home = loaded.model.kubernetes.namespace
    for other in loaded.model.targets[: loaded.model.targets.index(target)]:
        if other.kubernetes and other.kubernetes.workload(home) == target.kubernetes.workload(home):
            why = f"{other.name} scales this workload already"
            raise loaded.error(f"{path}.kubernetes.name", why, target.kubernetes.name)


def _check_policy(loaded: Loaded[Settings], path: str, target: TargetSettings) -> None:
    """As it results, named by the place that says the value that does not fit."""
    policy, where = resolve(loaded.model, target), origins(loaded.model, target)

    def wrong(key: str, why: str) -> ConfigError:
        place = {"target": path, "built in": path}.get(where[key], where[key])
        return loaded.error(f"{place}.{key}", f"{why} (target {target.name})", getattr(policy, key))

    if policy.min_workers > policy.max_workers:
        key = "max_workers" if where["min_workers"] == "built in" else "min_workers"
        raise wrong(key, f"min_workers {policy.min_workers} is over max_workers {policy.max_workers}")
    if policy.fallback_workers is not None and policy.fallback_workers > policy.max_workers:
        raise wrong("fallback_workers", f"is over max_workers {policy.max_workers}")
    if policy.scale_down_threshold >= policy.scale_up_threshold:
        raise wrong(
            "scale_down_threshold", f"should be below scale_up_threshold {policy.scale_up_threshold:g}"
        )
    if (
        policy.metrics_max_age_seconds < loaded.model.interval_seconds
        and where["metrics_max_age_seconds"] != "built in"
    ):
        raise wrong(
            "metrics_max_age_seconds", f"is below the interval of {loaded.model.interval_seconds:g} s"
        )


def checked(settings: Settings, target: TargetSettings, changed: Mapping[str, Any]) -> PolicySettings:
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
        raise ValueError(f"min_workers {policy.min_workers} is over max_workers {policy.max_workers}")
    if policy.scale_down_threshold >= policy.scale_up_threshold:
        raise ValueError("scale_down_threshold should be below scale_up_threshold")
    return policy
