"""What these settings make the exporter watch, and from which setting each part is. Pure; holds no secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from exporter.address import parse_url, server_at
from exporter.config.redis import RedisSettings
from exporter.config.settings import ExporterSettings
from service.config.load import Loaded
from service.i18n import Message

_LOCATORS: Final = ("redis.cluster", "redis.sentinels", "redis.url", "redis.host", "redis.port")


class Watched(NamedTuple):
    """A part of what is watched. `source` is the setting as the user wrote it and where; a text or None: the
    default."""

    name: str
    value: Message
    source: str | None


def watched(loaded: Loaded[ExporterSettings]) -> tuple[Watched, ...]:
    """All parts, in the order in which a person asks for them."""
    return tuple(_rows(loaded))


def source_of(loaded: Loaded[ExporterSettings], *paths: str) -> str | None:
    """The first of the settings that is set, as the user wrote it, and where; None: all have defaults."""
    for path in paths:
        if loaded.is_set(path):
            return f"{loaded.name(path)}, {loaded.source(path)}"
    return None


def database_of(redis: RedisSettings) -> int:
    """The number of the database that is read; a cluster has only 0."""
    url = parse_url(redis.url.get_secret_value()) if redis.url else None
    if redis.cluster:
        return 0
    return redis.database if url is None or url.database is None else url.database


def user_of(redis: RedisSettings) -> str:
    """The Redis user that the exporter logs in as."""
    url = parse_url(redis.url.get_secret_value()) if redis.url else None
    return (url.username if url else None) or redis.username or "default"


def _rows(loaded: Loaded[ExporterSettings]) -> Iterator[Watched]:
    settings = loaded.model
    if not settings.monitoring.enabled:
        off = source_of(loaded, "monitoring.enabled")
        yield Watched("monitoring", Message("watched.off"), off)
    yield Watched("redis", _place(settings.redis), source_of(loaded, *_LOCATORS))
    if loaded.is_set("redis.username") or loaded.is_set("redis.password"):
        login = source_of(loaded, "redis.password", "redis.username")
        yield Watched("login", Message("watched.login"), login)
    bullmq = settings.bullmq
    prefixes = _list(bullmq.prefixes) if bullmq.prefixes else Message("watched.any_prefix")
    yield Watched("prefixes", prefixes, source_of(loaded, "bullmq.prefixes"))
    queues = _list(bullmq.queues) if bullmq.queues else Message("watched.all_queues")
    yield Watched("queues", queues, source_of(loaded, "bullmq.queues"))
    if settings.queue_shard.divided:
        yield Watched("shard", Message("issue.text", text=settings.shard), source_of(loaded, "shard"))
    yield Watched("events", _switch(on=bullmq.events), source_of(loaded, "bullmq.events"))
    section = "host"
    yield Watched(section, _switch(on=settings.host.enabled), source_of(loaded, f"{section}.enabled"))
    probes = tuple(probe.name for probe in settings.probes)
    yield Watched("probes", _list(probes), source_of(loaded, "probes") if probes else None)
    yield Watched("listen", Message("issue.text", text=settings.listen), source_of(loaded, "listen"))
    for name, url in (("prometheus", settings.api.prometheus_url), ("scaler", settings.api.scaler_url)):
        value = Message("issue.text", text=url) if url else Message("watched.not_set")
        yield Watched(name, value, source_of(loaded, f"api.{name}_url"))


def _place(redis: RedisSettings) -> Message:
    if redis.cluster:
        return Message("watched.cluster", nodes=", ".join(redis.cluster))
    if redis.sentinels:
        nodes = ", ".join(redis.sentinels)
        return Message("watched.sentinels", master=redis.sentinel_master, nodes=nodes)
    server = parse_url(redis.url.get_secret_value()) if redis.url else server_at(redis.host, redis.port)
    tls, database = server.tls or redis.tls.enabled, database_of(redis)
    parts = [server.address, *(["TLS"] if tls else []), *([f"db{database}"] if database else [])]
    return Message("issue.text", text=", ".join(parts))


def _switch(*, on: bool) -> Message:
    return Message("watched.on") if on else Message("watched.off")


def _list(items: tuple[str, ...]) -> Message:
    return Message("issue.text", text=", ".join(items)) if items else Message("watched.none")
