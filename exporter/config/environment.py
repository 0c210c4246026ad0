"""The environment variables of the exporter's settings, including those of cluster nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from exporter.address import join_address, split_address
from exporter.config.settings import ExporterSettings
from service.config.load import ConfigError, Given, from_environment, secret_names, suspects, to_bool

EXPORTER_VARIABLES: Final[dict[str, str]] = {
    "REDIS_URL": "redis.url",
    "REDIS_URL_FILE": "redis.url_file",
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
    "EXPORTER_WEB_CONFIG": "web_config_file",
    "CRON_API_KEY": "api.key",
    "CRON_API_READ_KEY": "api.read_key",
    "SCALER_URL": "api.scaler_url",
    "PROMETHEUS_URL": "api.prometheus_url",
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

_HOST: Final = "REDIS_CLUSTER_HOST_"
_PORT: Final = "REDIS_CLUSTER_PORT_"


def variable_name(path: str) -> str:
    """The variable of the setting at a dotted path. Raises StopIteration for a setting without one."""
    return next(name for name, setting in EXPORTER_VARIABLES.items() if setting == path)


def exporter_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The settings from the environment, by dotted path, secret files included. Raises ConfigError."""
    given = from_environment(ExporterSettings, environ, EXPORTER_VARIABLES)
    raw = environ.get("REDIS_USE_CLUSTER", "").strip()
    use_cluster = to_bool("REDIS_USE_CLUSTER", raw) if raw else None
    nodes = _cluster_nodes(environ) if use_cluster is not False else {}
    if nodes:
        given["redis.cluster"] = Given(next(iter(nodes)), list(nodes.values()))
    elif use_cluster and "redis.url" not in given:
        why = f"needs {_HOST}1 and {_PORT}1, or REDIS_URL of any node"
        raise ConfigError("REDIS_USE_CLUSTER", raw, "environment", why)
    return given


def misspelled_exporter_variables(environ: Iterable[str]) -> dict[str, str]:
    """Variables that look like misspelled settings, and the setting that was probably meant."""
    files = [f"{name}_FILE" for name in secret_names(ExporterSettings, EXPORTER_VARIABLES)]
    known = [*EXPORTER_VARIABLES, *files, "REDIS_USE_CLUSTER", "EXPORTER_CONFIG", f"{_HOST}1", f"{_PORT}1"]
    numbered = [name for name in environ if _number(name, _HOST) or _number(name, _PORT)]
    rest = [name for name in environ if name not in numbered]
    return suspects(rest, known, ("REDIS_", "BULLMQ_", "ENABLE_", "MONITORING_", "EXPORTER_", "CRON_API_"))


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
    host = environ[name].strip()
    port_name = name.replace(_HOST, _PORT)
    port = environ.get(port_name, "").strip()
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
    return number if number != name and number.isascii() and number.isdigit() else ""
