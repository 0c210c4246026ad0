from __future__ import annotations

import pytest

from exporter.config.environment import (
    EXPORTER_VARIABLES,
    exporter_environment,
    misspelled_exporter_variables,
)
from exporter.config.settings import ExporterSettings
from exporter.config.validation import load_exporter_settings
from service.config.load import ConfigError, Loaded, leaf_type

NO_NODE = "needs REDIS_CLUSTER_HOST_1 and REDIS_CLUSTER_PORT_1, or REDIS_URL of any node"


def loaded(text: str = "", **environ: str) -> Loaded[ExporterSettings]:
    return load_exporter_settings(text, exporter_environment(environ), file="oxherd.yaml")


def complaint(text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(text, **environ)
    return str(caught.value)


def test_every_variable_leads_to_a_setting() -> None:
    assert [leaf_type(ExporterSettings, path) for path in EXPORTER_VARIABLES.values()]
    assert len(set(EXPORTER_VARIABLES.values())) == len(EXPORTER_VARIABLES)


def test_nothing_set() -> None:
    redis = loaded().model.redis
    assert (redis.url, redis.cluster, redis.sentinels) == (None, (), ())


def test_the_nine_original_variables() -> None:
    model = loaded(
        ENABLE_SYSTEM_MONITORING="false",
        ENABLE_AUTO_SCALING="true",
        CRON_API_KEY="a-key-of-tests",
        MONITORING_INTERVAL_MINUTES="3",
        SCALING_INTERVAL_MINUTES="1",
        REDIS_USE_CLUSTER="true",
        REDIS_CLUSTER_HOST_1="a",
        REDIS_CLUSTER_PORT_1="7001",
        REDIS_CLUSTER_HOST_2="b",
        REDIS_CLUSTER_HOST_3="c",
        REDIS_CLUSTER_PORT_3="7003",
        REDIS_PASSWORD="hunter2",
    ).model
    assert (model.monitoring.enabled, model.monitoring.interval_minutes) == (False, 3.0)
    assert model.redis.cluster == ("a:7001", "b:6379", "c:7003")
    assert model.redis.password is not None


def test_everything_else() -> None:
    model = loaded(
        REDIS_SENTINELS="a:26379, b",
        REDIS_SENTINEL_MASTER="m",
        REDIS_SENTINEL_USERNAME="u",
        REDIS_SENTINEL_PASSWORD="p",
        REDIS_USERNAME="v",
        REDIS_TLS="yes",
        REDIS_TLS_CERT_FILE="/c",
        REDIS_TLS_KEY_FILE="/k",
        REDIS_TLS_SERVER_NAME="s",
        BULLMQ_QUEUES="mail,report-*",
        BULLMQ_PREFIXES="bull,{b}",
        EXPORTER_LISTEN="[::1]:0",
        LOG_LEVEL="debug",
        LOG_FORMAT="json",
    ).model
    assert (model.redis.sentinels, model.redis.sentinel_master) == (("a:26379", "b"), "m")
    assert (model.redis.tls.enabled, model.redis.tls.server_name) == (True, "s")
    assert (model.bullmq.queues, model.bullmq.prefixes) == (("mail", "report-*"), ("bull", "{b}"))
    assert (model.listen, model.log.level, model.log.format) == ("[::1]:0", "debug", "json")


@pytest.mark.parametrize(
    ("environ", "cluster"),
    [
        ({"REDIS_CLUSTER_HOST_1": "a"}, ("a:6379",)),
        ({"REDIS_CLUSTER_HOST_10": "b", "REDIS_CLUSTER_HOST_9": "a"}, ("a:6379", "b:6379")),
        ({"REDIS_CLUSTER_HOST_7": "a:7", "REDIS_CLUSTER_HOST_2": ""}, ("a:7",)),
        ({"REDIS_CLUSTER_HOST_1": "::1", "REDIS_CLUSTER_PORT_1": "7"}, ("[::1]:7",)),
        ({"REDIS_CLUSTER_HOST_1": "[::1]", "REDIS_CLUSTER_PORT_1": "7"}, ("[::1]:7",)),
        ({"REDIS_CLUSTER_HOST_1": "::1"}, ("[::1]:6379",)),
        ({"REDIS_CLUSTER_HOST_1": "a", "REDIS_USE_CLUSTER": "false"}, ()),
        ({"REDIS_CLUSTER_PORT_1": "7", "REDIS_USE_CLUSTER": "0"}, ()),
        ({"REDIS_URL": "redis://a:1", "REDIS_USE_CLUSTER": "true"}, ()),
    ],
)
def test_cluster_nodes(environ: dict[str, str], cluster: tuple[str, ...]) -> None:
    assert loaded(**environ).model.redis.cluster == cluster


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"REDIS_USE_CLUSTER": "true"},
            f"REDIS_USE_CLUSTER=true (environment): {NO_NODE}",
        ),
        ({"REDIS_USE_CLUSTER": "maybe"}, "REDIS_USE_CLUSTER=maybe (environment): should be true or false"),
        (
            {"REDIS_CLUSTER_HOST_1": "a", "REDIS_CLUSTER_PORT_3": "1"},
            "REDIS_CLUSTER_PORT_3=1 (environment): REDIS_CLUSTER_HOST_3 is not set",
        ),
        (
            {"REDIS_CLUSTER_HOST_1": "a", "REDIS_CLUSTER_PORT_1": "abc"},
            "REDIS_CLUSTER_PORT_1=abc (environment): the port is not a number from 1 to 65535",
        ),
        (
            {"REDIS_CLUSTER_HOST_1": "a:1", "REDIS_CLUSTER_PORT_1": "1"},
            "REDIS_CLUSTER_HOST_1=a:1 (environment): has a port, and REDIS_CLUSTER_PORT_1 is set too",
        ),
        ({"REDIS_CLUSTER_HOST_1": "a/b"}, "REDIS_CLUSTER_HOST_1=a/b (environment): expected host:port"),
        (
            {"REDIS_CLUSTER_HOST_1": "a", "REDIS_URL": "redis://b"},
            "REDIS_CLUSTER_HOST_1 (environment): REDIS_URL is set too: only one of them may locate Redis",
        ),
        (
            {"REDIS_SENTINELS": "a", "REDIS_URL": "redis://b"},
            "REDIS_SENTINELS (environment): REDIS_URL is set too: only one of them may locate Redis",
        ),
        (
            {"REDIS_TLS_KEY_FILE": "/k"},
            "REDIS_TLS_KEY_FILE=/k (environment): needs REDIS_TLS_CERT_FILE (redis.tls.cert_file) too",
        ),
        (
            {"REDIS_SENTINELS": "a:1,b:x"},
            "REDIS_SENTINELS=b:x (environment): the port is not a number from 1 to 65535",
        ),
        (
            {"EXPORTER_LISTEN": "9877"},
            "EXPORTER_LISTEN=9877 (environment): should be host:port, like 0.0.0.0:9877, or :9877",
        ),
        (
            {"LOG_LEVEL": "loud"},
            "LOG_LEVEL=loud (environment): should be 'debug', 'info', 'warning' or 'error'",
        ),
        (
            {"MONITORING_INTERVAL_MINUTES": "0"},
            "MONITORING_INTERVAL_MINUTES=0 (environment): should be greater than 0",
        ),
    ],
)
def test_variables_that_cannot_be_used(environ: dict[str, str], line: str) -> None:
    assert complaint(**environ) == line


def test_settings_of_file_and_environment_that_exclude_each_other() -> None:
    line = complaint("redis:\n  url: redis://a", REDIS_CLUSTER_HOST_4="b")
    why = "redis.url is set too: only one of them may locate Redis"
    assert line == f"REDIS_CLUSTER_HOST_4 (environment): {why}"
    line = complaint("bullmq:\n  event_buckets: [1, 2, 2]")
    assert line.endswith("(oxherd.yaml, line 2): each must be above the previous one")
    line = complaint("redis:\n  database: 3", REDIS_CLUSTER_HOST_1="b")
    assert line == "redis.database=3 (oxherd.yaml, line 2): a cluster has only database 0"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host:port",
        "redis://:hun/ter2@host:1",
        "redis://:hun#ter2@host:1",
        "redis://:ter2@host:1/x",
        "http://:ter2@host:1",
        "host:1",
        "redis://",
        "redis://:ter2@",
        "redis://host:70000",
        ":ter2@host",
    ],
)
def test_an_invalid_url_is_never_repeated(url: str) -> None:
    line = complaint(REDIS_URL=url)
    assert line.startswith("REDIS_URL (environment): ")
    assert "ter2" not in line
    assert "hun" not in line.removeprefix("REDIS_URL (environment): ")
    assert complaint(f"redis:\n  url: '{url}'").startswith("redis.url (oxherd.yaml, line 2): ")


@pytest.mark.parametrize("name", ["REDIS_CLUSTER_HOST_1", "REDIS_SENTINELS", "EXPORTER_LISTEN"])
def test_a_url_in_the_place_of_an_address_is_hidden(name: str) -> None:
    assert "hunter2" not in complaint(**{name: "redis://:hunter2@host:1"})


def test_misspelled_variables() -> None:
    wrong = ["REDIS_PASWORD", "REDIS_URI", "REDIS_CLUSTER_PORT12"]
    right = ["REDIS_PASSWORD_FILE", "REDIS_CLUSTER_HOST_12"]
    shared = ["REDIS_HOST", "REDIS_PORT", "REDIS_SERVICE_HOST", "REDIS_PORT_6379_TCP_ADDR", "BULLMQ_VERSION"]
    assert misspelled_exporter_variables([*wrong, *right, *shared]) == {
        "REDIS_PASWORD": "REDIS_PASSWORD",
        "REDIS_URI": "REDIS_URL",
        "REDIS_CLUSTER_PORT12": "REDIS_CLUSTER_PORT_1",
    }
