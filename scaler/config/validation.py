"""The settings of the file and the environment together, and the checks that concern several settings.

Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scaler.config.environment import MINUTES
from scaler.config.globs import globs_overlap
from scaler.config.inherited import variable_problem
from scaler.config.policy_keys import with_our_names
from scaler.config.policy_layers import origins, resolve
from scaler.config.prometheus import MOST_QUERIES
from scaler.config.settings import ScalerSettings, TargetSettings, is_glob, queries_of
from scaler.config.target_checks import idle_problem, policy_problem, slo_problem
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
    _check_engines(loaded)
    loaded = check_keys(loaded, notify)
    _check_targets(loaded)
    _check_total(loaded)
    kinds = {queries_of(loaded.model, target) for target in loaded.model.targets}
    if len(kinds) > MOST_QUERIES:
        why = f"{len(kinds)} different `queries`: at most {MOST_QUERIES} are sent in a step"
        raise loaded.error("targets", why)
    return loaded


def _check_engines(loaded: Loaded[ScalerSettings]) -> None:
    """Where other engines are answered, if they are: each on a port of its own."""
    settings = loaded.model
    ports = {parse_listen(settings.listen)[1]: ("listen", settings.listen)}
    for name in ("keda", "external_metrics"):
        engine, setting = getattr(settings, name), f"{name}.listen"
        if engine.listen is None:
            if engine.tls.cert_file is not None:
                raise loaded.error(f"{name}.tls.cert_file", f"needs {setting}", engine.tls.cert_file)
            continue
        check_address(loaded, setting, engine.listen)
        port = parse_listen(engine.listen)[1]
        if port and port in ports:
            other, address = ports[port]
            why = f"has the port of {other}, {address}: it needs another one"
            raise loaded.error(setting, why, engine.listen)
        ports[port] = setting, engine.listen
    _check_external_metrics(loaded)


def _check_external_metrics(loaded: Loaded[ScalerSettings]) -> None:
    """The API server asks by TLS only, and for the numbers of workloads."""
    settings, setting = loaded.model, "external_metrics.listen"
    if settings.external_metrics.listen is None:
        return
    if settings.external_metrics.tls.cert_file is None:
        why = "needs external_metrics.tls.cert_file and key_file: the API server asks by TLS"
        raise loaded.error(setting, why, settings.external_metrics.listen)
    if any(target.processes is not None for target in settings.targets):
        why = "targets have processes: an HPA sets the replicas of workloads in Kubernetes"
        raise loaded.error(setting, why, settings.external_metrics.listen)


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
        if (slo := slo_problem(target)) is not None:
            raise loaded.error(f"{path}.{slo.key}", slo.why, slo.value)


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


def _check_backend(loaded: Loaded[ScalerSettings], path: str, target: TargetSettings) -> None:
    """One backend for each target, the same for all, and each workload once."""
    if (target.processes is None) == (target.kubernetes is None):
        why = "needs either processes or kubernetes, the backend of its workers"
        raise loaded.error(f"{path}.name", why, target.name)
    if target.processes is not None and loaded.model.kubernetes.scaled_queues is not None:
        why = (
            "is set, and targets have processes: these end with the scaler, pods outlive it; run two scalers"
        )
        raise loaded.error("kubernetes.scaled_queues", why)
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
    if (idle := idle_problem(loaded.model, target)) is not None:
        raise loaded.error(f"{path}.{idle.key}", idle.why, idle.value)
    home = loaded.model.kubernetes.namespace
    for other in loaded.model.targets[: loaded.model.targets.index(target)]:
        if other.kubernetes and other.kubernetes.workload(home) == target.kubernetes.workload(home):
            why = f"{other.name} scales this workload already"
            raise loaded.error(f"{path}.kubernetes.name", why, target.kubernetes.name)


def _check_policy(loaded: Loaded[ScalerSettings], path: str, target: TargetSettings) -> None:
    """Checks the merged policy; an error names the origin of the invalid value."""
    problem = policy_problem(loaded.model, target)
    if problem is not None:
        origin = origins(loaded.model, target)[problem.key]
        section = {"target": path, "built in": path}.get(origin, origin)
        why = f"{problem.why} (target {target.name})"
        raise loaded.error(f"{section}.{problem.key}", why, problem.value)
