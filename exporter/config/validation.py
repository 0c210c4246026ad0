"""From a settings file and the environment to settings that are checked, each alone and all together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from math import inf
from typing import Final

from exporter.address import is_socket, parse_url, server_at, split_address
from exporter.config.body_pattern import PatternError, body_pattern
from exporter.config.bullmq import LONGEST_NAME
from exporter.config.environment import variable_name
from exporter.config.settings import ExporterSettings
from service.api.settings import check_keys
from service.config.load import Given, Loaded, load
from service.web.address import check_listen


def load_exporter_settings(
    yaml_text: str,
    given: Mapping[str, Given],
    *,
    file: str = "",
    notify: Callable[[str], None] | None = None,
) -> Loaded[ExporterSettings]:
    """The file's settings, overridden by `given`, each validated alone and together. Raises ConfigError;
    with `notify` an unfit API key is reported and left out instead."""
    loaded = load(ExporterSettings, yaml_text, given, file=file)
    check_listen(loaded)
    _check_addresses(loaded)
    _check_together(loaded)
    _check_queues(loaded)
    _check_probes(loaded)
    _check_shards(loaded)
    return check_keys(loaded, notify)


def _check_addresses(loaded: Loaded[ExporterSettings]) -> None:
    redis = loaded.model.redis
    if redis.url is not None:
        try:
            parse_url(redis.url.get_secret_value())
        except ValueError as error:
            raise loaded.error("redis.url", str(error)) from None
    try:
        server_at(redis.host, redis.port)
    except ValueError as error:
        raise loaded.error("redis.host", str(error), redis.host) from None
    lists = {"redis.cluster": redis.cluster, "redis.sentinels": redis.sentinels}
    mapped = {"redis.address_map": (*redis.address_map, *redis.address_map.values())}
    for path, addresses in (lists | mapped).items():
        for address in addresses:
            try:
                split_address(address)
            except ValueError as error:
                raise loaded.error(path, str(error), address) from None


def _check_together(loaded: Loaded[ExporterSettings]) -> None:
    redis = loaded.model.redis
    ways = [
        path
        for path, value in {
            "redis.url": redis.url,
            "redis.cluster": redis.cluster,
            "redis.sentinels": redis.sentinels,
        }.items()
        if value
    ]
    if len(ways) > 1:
        why = f"{loaded.name(ways[0])} is set too: only one of them may locate Redis"
        raise loaded.error(ways[1], why)
    if redis.database and redis.cluster and "redis.database" not in loaded.given:
        raise loaded.error("redis.database", "a cluster has only database 0", redis.database)
    _check_socket(loaded)
    buckets = loaded.model.bullmq.event_buckets
    if any(not earlier < later < inf for earlier, later in pairwise((0.0, *buckets))):
        raise loaded.error("bullmq.event_buckets", "each must be above the previous one", list(buckets))
    pair = {"redis.tls.cert_file": redis.tls.cert_file, "redis.tls.key_file": redis.tls.key_file}
    for path, other in (tuple(pair), tuple(pair)[::-1]):
        if pair[path] and not pair[other]:
            raise loaded.error(path, f"needs {variable_name(other)} ({other}) too", pair[path])


def _check_socket(loaded: Loaded[ExporterSettings]) -> None:
    """A shared REDIS_TLS=true would otherwise look as if it had an effect."""
    redis = loaded.model.redis
    server = parse_url(redis.url.get_secret_value()) if redis.url else server_at(redis.host, redis.port)
    if redis.tls.enabled and not (redis.cluster or redis.sentinels) and is_socket(server.address):
        raise loaded.error("redis.tls.enabled", "Redis has no TLS on a unix socket", value=True)


def _check_queues(loaded: Loaded[ExporterSettings]) -> None:
    """A queue of the settings that is left out would look as if it were not in Redis."""
    bullmq, shards = loaded.model.bullmq, loaded.model.queue_shard.shards
    if len(bullmq.queues) > bullmq.max_queues * shards:
        why = f"is below the number of {loaded.name('bullmq.queues')}, which is {len(bullmq.queues)}"
        raise loaded.error("bullmq.max_queues", why, bullmq.max_queues)
    for name in bullmq.queues:
        if len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
            raise loaded.error("bullmq.queues", f"should have at most {LONGEST_NAME} bytes", name)


_URL: Final = re.compile(r"https?://[^@/?#\s]+/?")


def _check_shards(loaded: Loaded[ExporterSettings]) -> None:
    urls, shard = loaded.model.shard_urls, loaded.model.queue_shard
    if urls and len(urls) != shard.shards:
        why = f"has {len(urls)} URLs, and {loaded.name('shard')} has {shard.shards} shards"
        raise loaded.error("shard_urls", why)
    for url in urls:
        if not _URL.fullmatch(url):
            raise loaded.error("shard_urls", "should be http://host:port or https://host:port", url)


_STATUS: Final = re.compile(r"[1-5](\d\d|xx)")


def _check_probes(loaded: Loaded[ExporterSettings]) -> None:
    names: dict[str, int] = {}
    for index, probe in enumerate(loaded.model.probes):
        path = f"probes[{index}]"
        if probe.name in names:
            why = f"probes[{names[probe.name]}] has this name already"
            raise loaded.error(f"{path}.name", why, probe.name)
        names[probe.name] = index
        for status in probe.expect_status:
            if not _STATUS.fullmatch(status):
                raise loaded.error(f"{path}.expect_status", 'must be statuses such as "204" or "2xx"', status)
        try:
            if probe.expect_body is not None:
                body_pattern(probe.expect_body)
        except PatternError as error:
            why = f"invalid regular expression (RE2): {error}"
            raise loaded.error(f"{path}.expect_body", why, probe.expect_body) from None
