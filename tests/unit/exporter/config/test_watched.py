from __future__ import annotations

import pytest

from exporter.config.environment import EXPORTER_VARIABLES
from exporter.config.validation import load_exporter_settings
from exporter.config.watched import database_of, user_of, watched
from exporter.configuration import all_secrets
from exporter.doctor.report import watched_lines
from service.catalogs import ENGLISH, TRANSLATORS
from service.config.load import Given, Loaded

SECRET = "hunter2-hunter2"


def loaded(text: str = "", **variables: object) -> Loaded:  # type: ignore[type-arg]
    given = {EXPORTER_VARIABLES[name]: Given(name, value) for name, value in variables.items()}
    return load_exporter_settings(text, given, file="exporter.yml")


def lines(settings: Loaded) -> dict[str, str]:  # type: ignore[type-arg]
    rows = watched_lines(watched(settings), ENGLISH)
    return {row.name: line for row, line in zip(watched(settings), rows, strict=True)}


def test_defaults() -> None:
    rows = lines(loaded())
    assert rows["redis"].split(maxsplit=2)[2] == "127.0.0.1:6379  (default)"
    assert "any  (default)" in rows["prefixes"]
    assert "all  (default)" in rows["queues"]
    assert "0.0.0.0:9877  (default)" in rows["listen"]
    assert "not set  (default)" in rows["prometheus"]


@pytest.mark.parametrize(
    ("text", "variables", "name", "shown"),
    [
        (
            "",
            {"REDIS_URL": f"rediss://me:{SECRET}@h:1/2"},
            "redis",
            "h:1, TLS, db2  (REDIS_URL, environment)",
        ),
        ("", {"REDIS_HOST": "h", "REDIS_PORT": 7}, "redis", "h:7  (REDIS_HOST, environment)"),
        ("redis:\n  url: redis://h:1\n", {}, "redis", "h:1  (redis.url, exporter.yml, line 2)"),
        (
            "redis: {cluster: ['a:1', 'b:2']}\n",
            {},
            "redis",
            "cluster of a:1, b:2  (redis.cluster, exporter.yml",
        ),
        ("", {"REDIS_SENTINELS": ["a:1"]}, "redis", "master mymaster of the Sentinels a:1"),
        ("", {"REDIS_PASSWORD": SECRET}, "login", "is set  (REDIS_PASSWORD, environment)"),
        ("", {"BULLMQ_PREFIXES": ["a", "b"]}, "prefixes", "a, b  (BULLMQ_PREFIXES, environment)"),
        ("bullmq: {queues: [mail]}\n", {}, "queues", "mail  (bullmq.queues, exporter.yml, line 1)"),
        ("host: {enabled: false}\n", {}, "host", "not watched  (host.enabled, exporter.yml, line 1)"),
        ("probes:\n- {name: shop, url: 'http://h/'}\n", {}, "probes", "shop  (probes, exporter.yml"),
        ("", {"EXPORTER_LISTEN": ":1"}, "listen", ":1  (EXPORTER_LISTEN, environment)"),
        ("", {"ENABLE_SYSTEM_MONITORING": "false"}, "monitoring", "not watched  (ENABLE_SYSTEM_MONITORING"),
    ],
)
def test_what_is_watched_and_from_which_setting(
    text: str, variables: dict[str, object], name: str, shown: str
) -> None:
    line = lines(loaded(text, **variables))[name]
    assert shown in line
    assert SECRET not in line


def test_no_secret_is_shown() -> None:
    secrets = dict.fromkeys(("REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD", "CRON_API_READ_KEY"), SECRET)
    settings = loaded(**secrets, REDIS_URL=f"redis://{SECRET}@h:1", CRON_API_KEY=SECRET + "1")
    assert SECRET in all_secrets(settings.model)
    for translator in TRANSLATORS.values():
        assert SECRET not in "".join(watched_lines(watched(settings), translator))


def test_the_url_counts_before_the_settings() -> None:
    redis = loaded(REDIS_URL="redis://me:x@h:1/2", REDIS_USERNAME="you", REDIS_DB=3).model.redis
    assert (user_of(redis), database_of(redis)) == ("me", 2)
    redis = loaded(REDIS_USERNAME="you", REDIS_DB=3).model.redis
    assert (user_of(redis), database_of(redis)) == ("you", 3)
    assert user_of(loaded().model.redis) == "default"
