"""The settings of the file and the environment together, and the checks that concern several settings.

Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from scaler.config.environment import MINUTES
from scaler.config.globs import globs_overlap
from scaler.config.inherited import variable_problem
from scaler.config.policy_keys import with_our_names
from scaler.config.policy_layers import origins, resolve
from scaler.config.prometheus import MOST_QUERIES
from scaler.config.settings import ScalerSettings, TargetSettings, exporter_url_of, is_glob, queries_of
from service.api.settings import check_keys
from service.config.load import ConfigError, Given, Loaded, load
from service.web.address import check_address, check_listen, parse_listen


def load_scaler_settings(
    yaml_text: str,
    given: Mapping[str, Given],
    *,
    file: str = "",
    notify: Callable[[str], None] | None = None,
) -> Loaded[ScalerSettings]:
    """The settings of the file, overridden by `given`, checked singly and together. Raises ConfigError;
    with `notify` an unfit API key is reported and left out instead."""
    loaded = load(ScalerSettings, yaml_text, given, file=file, rename=with_our_names)
    check_listen(loaded)
    line = loaded.lines.get(("interval_seconds",))
    if line and loaded.name("interval_seconds") == MINUTES:
        why = f"{MINUTES} is set too: keep one of them"
        raise ConfigError("interval_seconds", None, f"{file}, line {line}", why)
    _check_keda(loaded)
    loaded = check_keys(loaded, notify)
    _check_targets(loaded)
    _check_total(loaded)
    kinds = {queries_of(loaded.model, target) for target in loaded.model.targets}
    if len(kinds) > MOST_QUERIES:
        why = f"{len(kinds)} different `queries`: at most {MOST_QUERIES} are sent in a step"
        raise loaded.error("targets", why)
    return loaded


def _check_keda(loaded: Loaded[ScalerSettings]) -> None:
    """Where KEDA is answered, if it is."""
    keda, setting = loaded.model.keda, "keda.listen"
    if keda.listen is None:
        if keda.tls.cert_file is not None:
            raise loaded.error("keda.tls.cert_file", "needs keda.listen", keda.tls.cert_file)
        return
    check_address(loaded, setting, keda.listen)
    port = parse_listen(keda.listen)[1]
    if port and port == parse_listen(loaded.model.listen)[1]:
        why = f"has the port of listen, {loaded.model.listen}: gRPC needs another one"
        raise loaded.error(setting, why, keda.listen)


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
            for (prefix, pattern), other in served.items():
                if other != target.name and prefix == target.prefix and globs_overlap(pattern, queue):
                    raise loaded.error(f"{path}.queues", _served_twice(other, pattern, queue), queue)
            served[target.prefix, queue] = target.name
        _check_policy(loaded, path, target)
        for queue, slo in target.queue_slo_seconds.items():
            if not _may_serve(target, queue):
                why = f"the target serves no such queue: {', '.join(target.queues)}"
                raise loaded.error(f"{path}.queue_slo_seconds.{queue}", why, slo)


def _served_twice(other: str, pattern: str, queue: str) -> str:
    if pattern == queue and not is_glob(queue):
        return f"{other} serves this queue already"
    return f"{other} serves {pattern}: a queue of both would be counted twice"


def _check_total(loaded: Loaded[ScalerSettings]) -> None:
    most = loaded.model.max_total_workers
    least = sum(resolve(loaded.model, target).min_workers for target in loaded.model.targets)
    if most is not None and least > most:
        why = f"is below the sum of all min_workers, which is {least}"
        raise loaded.error("max_total_workers", why, most)


def _may_serve(target: TargetSettings, queue: str) -> bool:
    """Whether a name or pattern can be of one of its queues; of two patterns that is not known."""
    return any(
        fnmatchcase(queue, served) or fnmatchcase(served, queue) or (is_glob(queue) and is_glob(served))
        for served in target.queues
    )


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
    for name in target.processes.environment_from if target.processes else ():
        if problem := variable_problem(name):
            raise loaded.error(f"{path}.processes.environment_from", problem, name)
    if target.kubernetes is None:
        return
    url = exporter_url_of(loaded.model)
    if target.kubernetes.idle_first and url is None:
        why = "needs exporter_url: the exporter reports the busy workers"
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
    each, whole = policy.worker_concurrency_per_queue, policy.worker_concurrency
    if each is not None and whole is not None and each > whole:
        raise invalid("worker_concurrency_per_queue", f"is above worker_concurrency {whole}")
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
