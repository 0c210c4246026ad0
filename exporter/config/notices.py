"""The variables of a valid configuration that have no effect, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.address import RedisUrl, parse_url, server_at
from exporter.config.environment import environment_notices, service_port_notice
from exporter.config.redis import RedisSettings
from exporter.config.settings import ExporterSettings
from service.config.load import Loaded
from service.config.variables import Notice

_WAYS = ("redis.url", "redis.cluster", "redis.sentinels")


def exporter_notices(loaded: Loaded[ExporterSettings], environ: Mapping[str, str]) -> list[Notice]:
    """What a user should know before the start: unknown variables, and those that others override."""
    redis = loaded.model.redis
    way = next((path for path in _WAYS if getattr(redis, path.removeprefix("redis."))), "")
    return [
        *environment_notices(environ),
        *service_port_notice(environ, located=bool(way)),
        *_overridden(loaded, way),
    ]


def _overridden(loaded: Loaded[ExporterSettings], way: str) -> Iterator[Notice]:
    """REDIS_HOST is only read where nothing else says where Redis is; a database may be in the URL too."""
    redis = loaded.model.redis
    url = parse_url(redis.url.get_secret_value()) if redis.url else None
    if way and (redis.host or redis.port) and not _same_server(redis, url):
        path = "redis.host" if redis.host else "redis.port"
        yield Notice(loaded.name(path), reason=f"{loaded.name(way)} is set")
    if url and url.database is not None and loaded.is_set("redis.database"):
        if url.database != redis.database:
            yield Notice(
                loaded.name("redis.database"),
                reason=f"{loaded.name('redis.url')} names database {url.database}",
            )
    elif redis.cluster and redis.database:
        yield Notice(loaded.name("redis.database"), reason="a cluster has only database 0")


def _same_server(redis: RedisSettings, url: RedisUrl | None) -> bool:
    address = server_at(redis.host, redis.port).address
    return address == url.address if url else address in (*redis.cluster, *redis.sentinels)
