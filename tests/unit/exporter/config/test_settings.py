from __future__ import annotations

from math import inf

import pytest
from pydantic import ValidationError

from exporter.config.environment import EXPORTER_VARIABLES, exporter_environment
from exporter.config.notices import exporter_notices
from exporter.config.settings import ExporterSettings
from exporter.config.validation import load_exporter_settings
from exporter.redis.deployment import Deployment
from service.config.load import ConfigError, Loaded, leaf_type
from tests.support.unbounded import unbounded
from tests.support.waits import text_with, waits_of

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
            "MONITORING_INTERVAL_MINUTES=0 (environment): should be greater than or equal to 0.02",
        ),
    ],
)
def test_variables_that_cannot_be_used(environ: dict[str, str], line: str) -> None:
    assert complaint(**environ) == line


def test_queues_of_the_settings_have_to_have_their_places() -> None:
    names = "[" + ", ".join(f"q{number}" for number in range(11)) + "]"
    line = complaint(f"bullmq:\n  max_queues: 10\n  queues: {names}")
    assert line == (
        "bullmq.max_queues=10 (oxherd.yaml, line 2): is below the number of bullmq.queues, which is 11"
    )
    assert loaded(f"shard: 1/2\nbullmq:\n  max_queues: 10\n  queues: {names}").model.bullmq.max_queues == 10
    assert "should have at most 512 bytes" in complaint(f"bullmq:\n  queues: [{'x' * 513}]")


@pytest.mark.fault
@pytest.mark.parametrize("path", list(waits_of(ExporterSettings)), ids=".".join)
@pytest.mark.parametrize("value", [1e-300, 1e300, inf])
def test_what_is_waited_for_has_a_bound_from_below_and_above(path: tuple[str, ...], value: float) -> None:
    """A thread that waits for nothing takes a core, and one that waits for 1e300 s fails."""
    with pytest.raises(ValidationError, match=path[-1]):
        ExporterSettings.model_validate(text_with(path, value))


@pytest.mark.fault
def test_no_number_of_the_settings_is_without_a_bound() -> None:
    assert unbounded(ExporterSettings) == []


@pytest.mark.fault
def test_jobs_of_a_worker_are_bounded_as_those_of_the_scaler() -> None:
    many = "bullmq:\n  settings: [{match: mail, worker_concurrency: 1000000000}]"
    assert complaint(many).startswith(
        "bullmq.settings[0].worker_concurrency=1000000000 (oxherd.yaml, line 2)"
    )


def test_the_settings_that_are_waited_for_are_found() -> None:
    paths = {".".join(path) for path in waits_of(ExporterSettings)}
    assert {"monitoring.interval_minutes", "probes.interval_seconds", "redis.timeout_seconds"} <= paths


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


# --- Redis as other programs name it -----------------------------------------------------------------------

KUBERNETES = "tcp://10.0.0.1:6380"
OF_KUBERNETES = "REDIS_PORT is ignored: Kubernetes sets it for its Service redis"
NO_SOCKET = "after unix:// (and user:password@) there is the absolute path of a socket"


@pytest.mark.parametrize(
    ("environ", "seed", "database"),
    [
        ({}, "127.0.0.1:6379", 0),
        ({"REDIS_HOST": "cache"}, "cache:6379", 0),
        ({"REDIS_HOST": "cache", "REDIS_PORT": "6390", "REDIS_DB": "3"}, "cache:6390", 3),
        ({"REDIS_HOST": "cache:6390", "REDIS_DATABASE": "3"}, "cache:6390", 3),
        ({"REDIS_DATABASE": "3", "REDIS_DB": "3"}, "127.0.0.1:6379", 3),
        ({"REDIS_PORT": "6390"}, "127.0.0.1:6390", 0),
        ({"REDIS_HOST": "::1"}, "[::1]:6379", 0),
        ({"REDIS_HOST": "fd00::5", "REDIS_PORT": "7"}, "[fd00::5]:7", 0),
        ({"REDIS_HOST": "[::1]:7"}, "[::1]:7", 0),
        ({"REDIS_HOST": "/run/redis.sock", "REDIS_PORT": ""}, "/run/redis.sock", 0),
        ({"REDIS_URL": "unix:///run/redis.sock?db=1"}, "/run/redis.sock", 1),
        ({"REDIS_URL": "redis+unix://u:p@/run/re%20dis.sock"}, "/run/re dis.sock", 0),
        ({"REDIS_URL": "redis-socket:///run/r.sock?database=4"}, "/run/r.sock", 4),
        ({"REDIS_URL": "redis://h/1"}, "h:6379", 1),
        ({"REDIS_URL": "redis://h/0", "REDIS_DB": "5"}, "h:6379", 0),
        ({"REDIS_URL": "redis://h", "REDIS_DB": "5"}, "h:6379", 5),
        ({"REDIS_URL": "redis://h?db=2&family=6"}, "h:6379", 2),
        ({"REDIS_URL": "redis://h:1", "REDIS_HOST": "other", "REDIS_PORT": "2"}, "h:1", 0),
        ({"REDIS_CLUSTER_HOST_1": "c", "REDIS_HOST": "h", "REDIS_DB": "2"}, "c:6379", 0),
        ({"REDIS_USE_CLUSTER": "true", "REDIS_HOST": "h", "REDIS_PORT": "7"}, "h:7", 0),
        ({"REDIS_USE_CLUSTER": "false", "REDIS_CLUSTER_HOST_1": "c", "REDIS_HOST": "h"}, "h:6379", 0),
        ({"REDIS_PORT": KUBERNETES}, "127.0.0.1:6379", 0),
        ({"REDIS_PORT": KUBERNETES, "REDIS_HOST": "redis"}, "redis:6380", 0),
        (
            {"REDIS_PORT": KUBERNETES, "REDIS_HOST": "redis.prod.svc.cluster.local"},
            "redis.prod.svc.cluster.local:6380",
            0,
        ),
        ({"REDIS_PORT": KUBERNETES, "REDIS_HOST": "10.0.0.1"}, "10.0.0.1:6380", 0),
        ({"REDIS_PORT": KUBERNETES, "REDIS_HOST": "cache.example"}, "cache.example:6379", 0),
        ({"REDIS_PORT": KUBERNETES, "REDIS_URL": "redis://h:1"}, "h:1", 0),
    ],
)
def test_where_redis_is(environ: dict[str, str], seed: str, database: int) -> None:
    deployment = Deployment(loaded(**environ).model.redis)
    assert deployment.seeds == (seed,)
    assert deployment._connection_options(seed).database == database


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"REDIS_PORT": "x"}, "REDIS_PORT=x (environment): should be a whole number"),
        ({"REDIS_PORT": "70000"}, "REDIS_PORT=70000 (environment): should be less than or equal to 65535"),
        ({"REDIS_DB": "one"}, "REDIS_DB=one (environment): should be a whole number"),
        (
            {"REDIS_DB": "1", "REDIS_DATABASE": "2"},
            "REDIS_DATABASE=2 (environment): REDIS_DB=1 is set too: keep one of them",
        ),
        (
            {"REDIS_HOST": "redis://:hunter2@h"},
            "REDIS_HOST=(hidden) (environment): is a URL: set REDIS_URL instead",
        ),
        (
            {"REDIS_HOST": "h:1", "REDIS_PORT": "2"},
            "REDIS_HOST=h:1 (environment): has a port, and REDIS_PORT (redis.port) is another one",
        ),
        (
            {"REDIS_HOST": "/run/r.sock", "REDIS_TLS": "true"},
            "REDIS_TLS=true (environment): Redis has no TLS on a unix socket",
        ),
        (
            {"REDIS_URL": "unix://run/redis.sock"},
            f"REDIS_URL (environment): {NO_SOCKET}",
        ),
        ({"REDIS_URL": "redis://h/1?db=2"}, "REDIS_URL (environment): the URL names two databases"),
    ],
)
def test_a_place_of_redis_that_cannot_be_used(environ: dict[str, str], line: str) -> None:
    assert complaint(**environ) == line


@pytest.mark.parametrize(
    ("environ", "notices"),
    [
        ({"REDIS_HOST": "h", "REDIS_PORT": "7", "REDIS_DB": "0", "REDIS_DATABASE": "0"}, []),
        (
            {"REDIS_URL": "redis://h:1", "REDIS_HOST": "other"},
            ["REDIS_HOST is ignored: REDIS_URL is set"],
        ),
        ({"REDIS_URL": "redis://u:p@h:1", "REDIS_HOST": "h", "REDIS_PORT": "1"}, []),
        (
            {"REDIS_CLUSTER_HOST_1": "c", "REDIS_HOST": "h", "REDIS_DB": "2"},
            [
                "REDIS_HOST is ignored: REDIS_CLUSTER_HOST_1 is set",
                "REDIS_DB is ignored: a cluster has only database 0",
            ],
        ),
        (
            {"REDIS_URL": "redis://h/1", "REDIS_DB": "2"},
            ["REDIS_DB is ignored: REDIS_URL names database 1"],
        ),
        ({"REDIS_URL": "redis://h/2", "REDIS_DB": "2"}, []),
        (
            {"REDIS_PORT": KUBERNETES, "REDIS_SERVICE_HOST": "10.0.0.1"},
            [f"{OF_KUBERNETES}; REDIS_HOST=redis would use that Service"],
        ),
        (
            {"REDIS_PORT": KUBERNETES, "REDIS_HOST": "cache.example"},
            [OF_KUBERNETES],
        ),
        ({"REDIS_PORT": KUBERNETES, "REDIS_HOST": "redis"}, []),
        ({"REDIS_PORT": KUBERNETES, "REDIS_URL": "redis://h"}, []),
    ],
)
def test_variables_without_an_effect_are_named(environ: dict[str, str], notices: list[str]) -> None:
    assert [str(notice) for notice in exporter_notices(loaded(**environ), environ)] == notices


def test_unknown_variables_are_named() -> None:
    unknown = {
        "REDIS_PASWORD": "; did you mean REDIS_PASSWORD?",
        "REDIS_URI": "; did you mean REDIS_URL?",
        "REDIS_USER": "; did you mean REDIS_USERNAME?",
        "REDIS_CLUSTER_PORT12": "; did you mean REDIS_CLUSTER_PORT_1?",
        "REDIS_CLUSTER_NODES": "; did you mean REDIS_CLUSTER_HOST_1?",
        "REDIS_MAX_RETRIES": "",
        "BULLMQ_STATEFILE": "; did you mean BULLMQ_STATE_FILE?",
        "BULLMQ_PREFIX": "; did you mean BULLMQ_PREFIXES?",
        "BULLMQ_CONCURRENCY": "",
        "EXPORTER_PORT": "; did you mean EXPORTER_LISTEN?",
        "ENABLE_AUTOSCALING": "; did you mean ENABLE_AUTO_SCALING?",
        "ENABLE_SOMETHING": "",
        "MONITORING_INTERVAL": "; did you mean MONITORING_INTERVAL_MINUTES?",
        "CRON_API_KYE": "; did you mean CRON_API_KEY?",
        "BULMQ_PREFIXES": "; did you mean BULLMQ_PREFIXES?",
        "RDIS_URL": "; did you mean REDIS_URL?",
        "PROMETHUS_URL": "; did you mean PROMETHEUS_URL?",
        "EXPORTR_LISTEN": "; did you mean EXPORTER_LISTEN?",
        "CORN_API_KEY": "; did you mean CRON_API_KEY?",
    }
    fine = {
        **dict.fromkeys(
            ["REDIS_PASSWORD_FILE", "REDIS_CLUSTER_HOST_12", "EXPORTER_URL", "PATH", "LOG_DIR"], "x"
        ),
        "CRON_API_URL": "x",
        "REDIS_UNSET": " ",
        # of other programs
        **dict.fromkeys(["PREDIS_URL", "MY_REDIS_URL", "CERES_URL", "BLOG_LEVEL", "LOGLEVEL"], "x"),
        # what Kubernetes sets for Services named redis, redis-master, exporter
        "REDIS_SERVICE_HOST": "10.0.0.1",
        "REDIS_SERVICE_PORT": "6379",
        "REDIS_SERVICE_PORT_TCP_REDIS": "6379",
        "REDIS_PORT_6379_TCP": "tcp://10.0.0.1:6379",
        "REDIS_PORT_6379_TCP_ADDR": "10.0.0.1",
        "REDIS_PORT_6379_TCP_PROTO": "tcp",
        "REDIS_MASTER_PORT": "tcp://10.0.0.2:6379",
        "REDIS_MASTER_SERVICE_HOST": "10.0.0.2",
        "EXPORTER_PORT_9877_TCP_PORT": "9877",
    }
    notices = exporter_notices(loaded(), dict.fromkeys(unknown, "secret") | fine)
    assert {notice.variable: str(notice) for notice in notices} == {
        name: f"{name} is not a setting{rest}" for name, rest in unknown.items()
    }


def test_the_notice_of_kubernetes_own_port_of_an_exporter() -> None:
    assert exporter_notices(loaded(), {"EXPORTER_PORT": "tcp://10.0.0.3:9877"}) == []


def test_every_error_of_a_file_is_known() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("listen: 1\nredis:\n  databse: 2\nmonitoring:\n  interval_minutes: soon\n")
    error = caught.value
    assert sorted(map(str, [error, *error.more])) == [
        "listen=1 (oxherd.yaml, line 1): should be a text: put it in quotes",
        "monitoring.interval_minutes=soon (oxherd.yaml, line 5): should be a number",
        "redis.databse (oxherd.yaml, line 3): unknown setting; did you mean redis.database?",
    ]


def test_thresholds_of_some_queues() -> None:
    health = loaded("health: {queues: [{match: 'nightly-*', excluded: true}, {match: a, active_ratio: 2}]}")
    first, second = health.model.health.queues
    assert (first.match, first.excluded, first.no_worker_seconds) == ("nightly-*", True, None)
    assert (second.excluded, second.active_ratio) == (False, 2)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("{match: 'a['}", "health.queues[0].match"),
        ("{match: '[!]'}", "a [ has no ]: write [[] for the character"),
        ("{match: ''}", "health.queues[0].match"),
        ("{excluded: true}", "health.queues[0].match"),
        ("{match: a, exclude: true}", "health.queues[0].exclude"),
        ("{match: a, active_ratio: 0}", "health.queues[0].active_ratio"),
        ("{match: a, failed_ratio: 2}", "health.queues[0].failed_ratio"),
        ("{match: a}, {match: b}, {match: a}", "the pattern 'a' is there twice; only the first would count"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rule: str, text: str) -> None:
    assert text in complaint(f"health: {{queues: [{rule}]}}")


@pytest.mark.parametrize("pattern", ["[[]", "[]]", "[!]]", "mail[0-9]*", "a]b", "*"])
def test_a_pattern_with_whole_sets(pattern: str) -> None:
    assert loaded(f"health: {{queues: [{{match: '{pattern}'}}]}}").model.health.queues[0].match == pattern


@pytest.mark.parametrize("shard", ["0/5", "6/5", "2/0", "a"])
def test_a_shard_that_cannot_be_is_named_with_its_setting(shard: str) -> None:
    assert complaint(EXPORTER_SHARD=shard).startswith(f"EXPORTER_SHARD={shard} (environment): ")
    assert complaint(f"shard: {shard}\n").startswith(f"shard={shard} (oxherd.yaml, line 1): ")


def test_a_shard_and_where_the_others_are() -> None:
    urls = "shard_urls: [http://a:9877, http://b:9877]\n"
    model = loaded(urls, EXPORTER_SHARD="2/2").model
    assert (model.queue_shard, model.shard_urls) == ((2, 2), ("http://a:9877", "http://b:9877"))
    assert loaded().model.queue_shard == (1, 1)
    assert complaint("shard: 1/1\nshard_urls: [a:9877]\n") == (
        "shard_urls=a:9877 (oxherd.yaml, line 2): should be http://host:port or https://host:port"
    )
    assert complaint(urls, EXPORTER_SHARD="2/3") == (
        "shard_urls (oxherd.yaml, line 1): has 2 URLs, and EXPORTER_SHARD has 3 shards"
    )
