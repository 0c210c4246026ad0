"""The environment variables of the exporter's settings, including those of cluster nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from exporter.address import REDIS_PORT, join_address, split_address
from exporter.config.settings import ExporterSettings
from service.config.load import ConfigError, Given, from_environment, secret_names, to_bool
from service.config.variables import Known, Notice, is_service_url, unknown_variables

EXPORTER_VARIABLES: Final[dict[str, str]] = {
    "REDIS_NAME": "redis.name",
    "REDIS_URL": "redis.url",
    "REDIS_URL_FILE": "redis.url_file",
    "REDIS_HOST": "redis.host",
    "REDIS_PORT": "redis.port",
    "REDIS_DB": "redis.database",
    "REDIS_USERNAME": "redis.username",
    "REDIS_PASSWORD": "redis.password",
    "REDIS_PASSWORD_FILE": "redis.password_file",
    "REDIS_SENTINELS": "redis.sentinels",
    "REDIS_SENTINEL_MASTER": "redis.sentinel_master",
    "REDIS_SENTINEL_USERNAME": "redis.sentinel_username",
    "REDIS_SENTINEL_PASSWORD": "redis.sentinel_password",
    "REDIS_SENTINEL_PASSWORD_FILE": "redis.sentinel_password_file",
    "REDIS_TLS": "redis.tls.enabled",
    "REDIS_TLS_CA_FILE": "redis.tls.ca_file",
    "REDIS_TLS_CERT_FILE": "redis.tls.cert_file",
    "REDIS_TLS_KEY_FILE": "redis.tls.key_file",
    "REDIS_TLS_SERVER_NAME": "redis.tls.server_name",
    "BULLMQ_QUEUES": "bullmq.queues",
    "BULLMQ_PREFIXES": "bullmq.prefixes",
    "BULLMQ_STATE_FILE": "bullmq.state_file",
    "ENABLE_SYSTEM_MONITORING": "monitoring.enabled",
    "MONITORING_INTERVAL_MINUTES": "monitoring.interval_minutes",
    "EXPORTER_LISTEN": "listen",
    "EXPORTER_SHARD": "shard",
    "EXPORTER_WEB_CONFIG": "web_config_file",
    "CRON_API_KEY": "api.key",
    "CRON_API_KEY_FILE": "api.key_file",
    "CRON_API_READ_KEY": "api.read_key",
    "CRON_API_READ_KEY_FILE": "api.read_key_file",
    "SCALER_URL": "api.scaler_url",
    "PROMETHEUS_URL": "api.prometheus_url",
    "OTLP_ENDPOINT": "otlp.endpoint",
    "OTLP_AUTHORIZATION": "otlp.authorization",
    "OTLP_AUTHORIZATION_FILE": "otlp.authorization_file",
    "OTLP_INSTANCE_ID": "otlp.instance_id",
    "LOG_LEVEL": "log.level",
    "LOG_FORMAT": "log.format",
    "LOG_FILE": "log.file",
}
"""Each variable and its setting. A secret may also be given as NAME_FILE, the path of a file to read."""

CLUSTER_VARIABLES: Final[dict[str, str]] = {
    "REDIS_USE_CLUSTER": "true: the nodes below, or REDIS_URL as any node of a cluster; false: ignore them",
    "REDIS_CLUSTER_HOST_n": "host of a cluster node, for any numbers n from 1",
    "REDIS_CLUSTER_PORT_n": "its port, 6379 if absent",
}
"""Variables that together set `redis.cluster`, and their meaning."""

SAME_MEANING: Final[dict[str, str]] = {"REDIS_DATABASE": "REDIS_DB"}
"""Other names of our variables, which count as these."""

_OTHER_NAMES: Final[dict[str, str]] = {
    "REDIS_ADDR": "REDIS_URL",
    "REDIS_ADDRESS": "REDIS_URL",
    "REDIS_AUTH": "REDIS_PASSWORD",
    "REDIS_PASS": "REDIS_PASSWORD",
    "REDIS_USER": "REDIS_USERNAME",
    "REDIS_SSL": "REDIS_TLS",
    "REDIS_USE_TLS": "REDIS_TLS",
    "REDIS_TLS_ENABLED": "REDIS_TLS",
    "REDIS_TLS_CA": "REDIS_TLS_CA_FILE",
    "REDIS_TLS_CERT": "REDIS_TLS_CERT_FILE",
    "REDIS_TLS_KEY": "REDIS_TLS_KEY_FILE",
    "REDIS_NODES": "REDIS_CLUSTER_HOST_1",
    "REDIS_HOSTS": "REDIS_CLUSTER_HOST_1",
    "REDIS_CLUSTER_NODES": "REDIS_CLUSTER_HOST_1",
    "REDIS_CLUSTER_HOSTS": "REDIS_CLUSTER_HOST_1",
    "REDIS_CLUSTER_URLS": "REDIS_CLUSTER_HOST_1",
    "REDIS_CLUSTER_ENABLED": "REDIS_USE_CLUSTER",
    "REDIS_SENTINEL_HOSTS": "REDIS_SENTINELS",
    "REDIS_SENTINEL_NODES": "REDIS_SENTINELS",
    "REDIS_SENTINEL_NAME": "REDIS_SENTINEL_MASTER",
    "REDIS_SENTINEL_MASTER_NAME": "REDIS_SENTINEL_MASTER",
    "REDIS_MASTER_NAME": "REDIS_SENTINEL_MASTER",
    "REDIS_KEY_PREFIX": "BULLMQ_PREFIXES",
    "REDIS_PREFIX": "BULLMQ_PREFIXES",
    "BULL_PREFIX": "BULLMQ_PREFIXES",
    "QUEUE_PREFIX": "BULLMQ_PREFIXES",
    "EXPORTER_PORT": "EXPORTER_LISTEN",
    "EXPORTER_HOST": "EXPORTER_LISTEN",
    "MONITORING_INTERVAL_SECONDS": "MONITORING_INTERVAL_MINUTES",
    "ENABLE_MONITORING": "ENABLE_SYSTEM_MONITORING",
    "OTLP_URL": "OTLP_ENDPOINT",
}
"""What other programs call our settings: suggested in a notice, never read."""

_HOST: Final = "REDIS_CLUSTER_HOST_"
_PORT: Final = "REDIS_CLUSTER_PORT_"
_MOST_DIGITS: Final = 9  # of the number of a node


def variable_name(path: str) -> str:
    """The variable of the setting at a dotted path. Raises StopIteration for a setting without one."""
    return next(name for name, setting in EXPORTER_VARIABLES.items() if setting == path)


def exporter_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The settings from the environment, by dotted path, secret files included. Raises ConfigError."""
    environ = _without_service_port(_under_our_names(environ))
    given = from_environment(ExporterSettings, environ, EXPORTER_VARIABLES)
    raw = environ.get("REDIS_USE_CLUSTER", "").strip()
    use_cluster = to_bool("REDIS_USE_CLUSTER", raw) if raw else None
    nodes = _cluster_nodes(environ) if use_cluster is not False else {}
    if nodes:
        given["redis.cluster"] = Given(next(iter(nodes)), list(nodes.values()))
    elif use_cluster and "redis.host" in given and "redis.url" not in given:
        given["redis.cluster"] = Given("REDIS_HOST", [_host_and_port(environ)])
        del given["redis.host"]
        given.pop("redis.port", None)
    elif use_cluster and "redis.url" not in given:
        why = f"needs {_HOST}1 and {_PORT}1, or REDIS_URL of any node"
        raise ConfigError("REDIS_USE_CLUSTER", raw, "environment", why)
    return given


def environment_notices(environ: Mapping[str, str]) -> list[Notice]:
    """The variables that look like settings and have no effect, whatever the other settings are."""
    files = [f"{name}_FILE" for name in secret_names(ExporterSettings, EXPORTER_VARIABLES)]
    numbered = [name for name in environ if _number(name, _HOST) or _number(name, _PORT)]
    known = Known(
        (
            *(*EXPORTER_VARIABLES, *SAME_MEANING, *files, "REDIS_USE_CLUSTER", f"{_HOST}1", f"{_PORT}1"),
            *("EXPORTER_CONFIG", "EXPORTER_URL", "ENABLE_AUTO_SCALING", *numbered),
        ),
        prefixes=("REDIS_", "BULLMQ_", "EXPORTER_", "ENABLE_", "MONITORING_"),
        shared=("CRON_API_", "SCALER_U", "PROMETHEUS_U", "LOG_", "BULL_", "QUEUE_", "OTLP_"),
        aliases=_OTHER_NAMES,
    )
    return unknown_variables(environ, known)


def service_port_notice(environ: Mapping[str, str], *, located: bool) -> list[Notice]:
    """The notice that REDIS_PORT is Kubernetes' variable for a Service named redis, where that matters:
    `located` is whether other settings say where Redis is."""
    port, host = environ.get("REDIS_PORT", ""), environ.get("REDIS_HOST", "").strip()
    if not is_service_url(port) or _is_service_host(host, port) or (located and not host):
        return []
    why = "Kubernetes sets it for its Service redis"
    return [Notice("REDIS_PORT", reason=why if host else f"{why}; REDIS_HOST=redis would use that Service")]


def _under_our_names(environ: Mapping[str, str]) -> dict[str, str]:
    """Raises ConfigError where both names of a variable are set and differ."""
    variables = dict(environ)
    for other, ours in SAME_MEANING.items():
        value = environ.get(other, "").strip()
        before = environ.get(ours, "").strip()
        if value and before and value != before:
            raise ConfigError(other, value, "environment", f"{ours}={before} is set too: keep one of them")
        if value:
            variables[ours] = value
    return variables


def _without_service_port(environ: dict[str, str]) -> dict[str, str]:
    """REDIS_PORT=tcp://10.0.0.1:6379 is Kubernetes' variable: it counts if REDIS_HOST is that Service."""
    port, host = environ.get("REDIS_PORT", "").strip(), environ.get("REDIS_HOST", "").strip()
    if not is_service_url(port):
        return environ
    return environ | {"REDIS_PORT": str(_service_port(port)) if _is_service_host(host, port) else ""}


def _is_service_host(host: str, service_url: str) -> bool:
    try:
        of_url = urlsplit(service_url).hostname
    except ValueError:  # as tcp://[::1: then the name alone tells
        of_url = None
    return bool(host) and (host.partition(".")[0] == "redis" or host == of_url)


def _service_port(service_url: str) -> int:
    try:
        return urlsplit(service_url).port or REDIS_PORT
    except ValueError:
        return REDIS_PORT


def _host_and_port(environ: Mapping[str, str]) -> str:
    host, port = environ["REDIS_HOST"].strip(), environ.get("REDIS_PORT", "").strip()
    return _joined(host, port, ("REDIS_HOST", "REDIS_PORT"))


def _cluster_nodes(environ: Mapping[str, str]) -> dict[str, str]:
    """host:port by the variable of the host, in the order of their numbers, which may have gaps."""
    for name in sorted(environ):
        number = _number(name, _PORT)
        if number and environ[name].strip() and not environ.get(f"{_HOST}{number}", "").strip():
            raise ConfigError(name, environ[name], "environment", f"{_HOST}{number} is not set")
    hosts = {
        name: int(number) for name in environ if (number := _number(name, _HOST)) and environ[name].strip()
    }
    return {name: _node(environ, name) for name in sorted(hosts, key=hosts.__getitem__)}


def _node(environ: Mapping[str, str], name: str) -> str:
    port_name = name.replace(_HOST, _PORT)
    return _joined(environ[name].strip(), environ.get(port_name, "").strip(), (name, port_name))


def _joined(host: str, port: str, names: tuple[str, str]) -> str:
    """host:port of two variables with these names. Raises ConfigError, which names the wrong one."""
    name, port_name = names
    bare_v6 = host.count(":") > 1 and not host.startswith("[")
    try:
        if not port and not bare_v6:
            return join_address(*split_address(host))
        joined = f"[{host}]" if bare_v6 else host
        if joined.rpartition("]")[2].count(":"):
            raise ConfigError(name, host, "environment", f"has a port, and {port_name} is set too")
        join_address(*split_address(joined))
    except ValueError as error:
        raise ConfigError(name, host, "environment", str(error)) from None
    try:
        return join_address(*split_address(f"{joined}:{port}" if port else joined))
    except ValueError as error:
        raise ConfigError(port_name, port, "environment", str(error)) from None


def _number(name: str, prefix: str) -> str:
    number = name.removeprefix(prefix)
    plain = number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS
    return number if number != name and plain else ""
