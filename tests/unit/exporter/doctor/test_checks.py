"""Each check as a function of what was read: tables of cases; what was not read is never called good."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.conditions.finding import redis_cli
from exporter.config.validation import load_exporter_settings
from exporter.doctor.checks.monitoring import SHIPPED_ALERTS
from exporter.doctor.checks.servers import parse_buffer_limits
from exporter.doctor.checks.table import CHECKS, diagnose
from exporter.doctor.examination import (
    AlertmanagerLook,
    EventStream,
    Examination,
    KeptJobs,
    LoadedAlert,
    PrometheusLook,
    RedisLook,
    ScalerTarget,
    ScrapedExporter,
    ScrapeTarget,
    ServerConfig,
)
from exporter.doctor.model import CHECK_STATUSES, Diagnosis, Fix, worst_code
from exporter.doctor.peer_readers import parse_duration
from exporter.doctor.rights import MissingRight
from exporter.snapshot.queues import QueueId
from exporter.snapshot.redis import Access, Info, NodeReading, RedisState, Topology, TopologyNode
from service.catalogs import ENGLISH, TRANSLATORS
from service.config.load import Given
from service.config.variables import Notice
from service.outcome import Failed, Ok

ROOT = Path(__file__).parents[4]
NODE = "10.0.0.1:6379"
MAIL = QueueId("bull", "mail")
GOOD_INFO = {
    "redis_version": "7.2.4",
    "maxmemory_policy": "noeviction",
    "maxmemory": "0",
    "aof_enabled": "1",
    "total_system_memory": str(1 << 30),
}
GOOD_CONFIG = ServerConfig(
    {"save": "", "client-output-buffer-limit": "normal 0 0 0 slave 1 1 60 pubsub 33554432 8388608 60"}
)
GOOD_ALERTS = tuple(LoadedAlert(name, 'up{job="oxherd"} == 0') for name in SHIPPED_ALERTS)


def state(*, info: Mapping[str, str] | None = None, clock: float | None = 0.0) -> RedisState:
    reading = NodeReading(Info(GOOD_INFO | dict(info or {})), clock_offset=clock)
    topology = Topology("standalone", (TopologyNode(NODE, "master", ""),))
    return RedisState(topology, {NODE: Ok(reading)}, deployment="d1")


def redis_look(**fields: Any) -> RedisLook:
    look = RedisLook(
        state(),
        configs={NODE: GOOD_CONFIG},
        missing={NODE: ()},
        queues=(MAIL,),
        kept={MAIL: KeptJobs(1, 0, 900.0)},
        streams={MAIL: EventStream(4, 10_000)},
    )
    return replace(look, **fields)


def prometheus_look(**fields: Any) -> PrometheusLook:
    look = PrometheusLook(
        exporters=(ScrapedExporter("oxherd", "h:9877", "d1"),),
        targets=(ScrapeTarget("oxherd", "h:9877", up=True, interval=5.0, age=2.0),),
        alerts=GOOD_ALERTS,
        alertmanagers=(AlertmanagerLook("http://a:9093", answers=True),),
    )
    return replace(look, **fields)


def examination(
    yaml_text: str = "", given: Mapping[str, tuple[str, object]] | None = None, **fields: Any
) -> Examination:
    values = {path: Given(name, value) for path, (name, value) in (given or {}).items()}
    loaded = load_exporter_settings(yaml_text, values, file="exporter.yml")
    good = Examination(
        loaded,
        redis=Ok(redis_look()),
        prometheus=Ok(prometheus_look()),
        scaler=Ok((ScalerTarget("mail", "bull", ("mail",)),)),
    )
    return replace(good, **fields)


def of(check: str, examined: Examination) -> list[Diagnosis]:
    return list(CHECKS[check](examined))


def statuses(check: str, examined: Examination) -> list[str]:
    return [diagnosis.status for diagnosis in of(check, examined)]


@pytest.mark.parametrize(
    ("field", "check"),
    [("redis_version", "version"), ("maxmemory_policy", "eviction"), ("aof_enabled", "persistence")],
)
def test_a_field_that_info_does_not_show(field: str, check: str) -> None:
    info = {name: value for name, value in GOOD_INFO.items() if name != field}
    reading = NodeReading(Info(info), clock_offset=0.0)
    silent = replace(state(), nodes={NODE: Ok(reading)})
    look = redis_look(state=silent, configs={NODE: ServerConfig({}, "ERR unknown command")})
    assert statuses(check, examination(redis=Ok(look))) == ["unchecked"]


def test_rights_that_no_node_told() -> None:
    assert statuses("rights", examination(redis=Ok(redis_look(missing={})))) == ["unchecked"]


def test_a_deployment_as_it_should_be() -> None:
    diagnoses = diagnose(examination())
    assert {diagnosis.status for diagnosis in diagnoses} == {"good"}
    assert worst_code(diagnoses) == 0


def test_what_was_not_read_is_never_good() -> None:
    failed = Failed("timeout", "not read in time")
    nothing = examination(redis=failed, prometheus=failed, scaler=failed)
    assert {diagnosis.check for diagnosis in diagnose(nothing) if diagnosis.status == "good"} == {
        "watched",
        "variables",
    }
    assert worst_code(diagnose(nothing)) == 2
    unknown = examination(redis=failed)
    assert statuses("scrape", unknown) == ["unchecked"], "which of the exporters reads this Redis"
    without = examination(prometheus=None, scaler=None)
    assert [statuses(check, without) for check in ("scrape", "rules", "alertmanager", "scaler")] == [
        ["warning"],
        ["unchecked"],
        ["unchecked"],
        ["unchecked"],
    ]


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({}, "good"),
        ({"maxmemory": "1000"}, "good"),
        ({"maxmemory_policy": "allkeys-lru"}, "warning"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": "1000"}, "wrong"),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": "1000"}, "wrong"),
    ],
)
def test_eviction(info: Mapping[str, str], status: str) -> None:
    assert statuses("eviction", examination(redis=Ok(redis_look(state=state(info=info))))) == [status]


@pytest.mark.parametrize(
    ("aof", "config", "status"),
    [
        ("1", ServerConfig({"save": ""}), "good"),
        ("0", ServerConfig({"save": "3600 1"}), "good"),
        ("0", ServerConfig({"save": ""}), "warning"),
        ("0", ServerConfig({}, "NOPERM"), "unchecked"),
        ("1", ServerConfig({}, "NOPERM"), "good"),
    ],
)
def test_persistence(aof: str, config: ServerConfig, status: str) -> None:
    look = redis_look(state=state(info={"aof_enabled": aof}), configs={NODE: config})
    assert statuses("persistence", examination(redis=Ok(look))) == [status]


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("4.0.14", "wrong"),
        ("5.0.0", "warning"),
        ("6.0.20", "warning"),
        ("6.2.0", "good"),
        ("6.2.21", "good"),
        ("7.0.7", "warning"),
        ("7.0.8", "good"),
        ("7.2.4", "good"),
        ("8.2.1", "good"),
    ],
)
def test_versions_that_bullmq_names(version: str, status: str) -> None:
    look = redis_look(state=state(info={"redis_version": version}))
    assert statuses("version", examination(redis=Ok(look))) == [status]


@pytest.mark.parametrize(
    ("limits", "classes"),
    [
        ("normal 0 0 0 slave 256 64 60 pubsub 32 8 60", {"normal": 0, "slave": 256, "pubsub": 32}),
        ("", {}),
        ("normal x 0 0", {}),
        ("normal 1", {}),
    ],
)
def test_buffer_limits(limits: str, classes: Mapping[str, int]) -> None:
    assert parse_buffer_limits(limits) == classes


@given(st.text())
def test_any_text_as_buffer_limits(text: str) -> None:
    assert all(limit >= 0 for limit in parse_buffer_limits(text).values())


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("normal 0 0 0 pubsub 33554432 8388608 60", ["good"]),
        ("normal 1048576 0 0 pubsub 33554432 8388608 60", ["warning"]),
        ("normal 1048576 0 0 pubsub 1024 0 0", ["warning", "warning"]),
        ("normal 268435456 0 0 pubsub 0 0 0", ["good"]),
    ],
)
def test_output_buffers(limits: str, expected: list[str]) -> None:
    config = ServerConfig({"client-output-buffer-limit": limits})
    assert statuses("output-buffers", examination(redis=Ok(redis_look(configs={NODE: config})))) == expected


@pytest.mark.parametrize(
    ("offset", "status"),
    [(None, "unchecked"), (0.0, "good"), (5.0, "good"), (5.1, "warning"), (-60.0, "warning")],
)
def test_clocks(offset: float | None, status: str) -> None:
    assert statuses("clocks", examination(redis=Ok(redis_look(state=state(clock=offset))))) == [status]


@pytest.mark.parametrize(
    ("missing", "status"),
    [
        ((), "good"),
        ((MissingRight(("+xread",)),), "wrong"),
        ((MissingRight(("+slowlog|len",), "warning"),), "warning"),
        ((MissingRight(("+time",), "warning"), MissingRight(("~bull:*",))), "wrong"),
    ],
)
def test_rights(missing: tuple[MissingRight, ...], status: str) -> None:
    assert statuses("rights", examination(redis=Ok(redis_look(missing={NODE: missing})))) == [status]


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (EventStream(10_000, 10_000, 60.0), "good"),
        (EventStream(10_000, 10_000, 1.0), "warning"),
        (EventStream(10_000, None, 1.0), "warning"),
        (EventStream(9_999, 10_000, 0.001), "good"),  # nothing was trimmed: it says nothing of the rate
        (EventStream(10_000, 10_000, None), "unchecked"),
        (EventStream(100, 10_000, None), "good"),
        (EventStream(100_000, 100_000, 3.0), "good"),
        (EventStream(100, 100, 60.0), "warning"),
    ],
)
def test_event_streams(stream: EventStream, status: str) -> None:
    look = redis_look(streams={MAIL: stream})
    assert statuses("event-streams", examination(redis=Ok(look))) == [status]


def test_event_streams_that_are_not_followed() -> None:
    off = examination("bullmq: {events: false}\n")
    assert statuses("event-streams", off) == ["unchecked"]


@pytest.mark.parametrize(
    ("kept", "status"),
    [
        (KeptJobs(0, 0), "good"),
        (KeptJobs(10, 0), "unchecked"),
        (KeptJobs(10_000, 0, 1000.0), "good"),
        (KeptJobs(90_000, 0, 3000.0), "warning"),
        (KeptJobs(0, 90_000, 3000.0), "warning"),
        (KeptJobs(100_000, 0), "warning"),  # MEMORY USAGE was refused
    ],
)
def test_kept_jobs(kept: KeptJobs, status: str) -> None:
    [diagnosis] = of("kept-jobs", examination(redis=Ok(redis_look(kept={MAIL: kept}))))
    assert diagnosis.status == status
    for line in (line for fix in diagnosis.fixes for line in fix.lines if ".clean(" in line):
        number = int(re.findall(r"clean\(0, (\d+), ", line)[0])
        assert 0 < number < kept.count


def test_old_jobs_are_removed_before_fewer_are_kept() -> None:
    """Else the next job that ends removes all of them in one script."""
    kept = KeptJobs(200_000, 200_000, 1000.0)
    [diagnosis] = of("kept-jobs", examination(redis=Ok(redis_look(kept={MAIL: kept}))))
    lines = [line for fix in diagnosis.fixes for line in fix.lines]
    (limits,) = (number for number, line in enumerate(lines) if "removeOnComplete" in line)
    assert limits > max(number for number, line in enumerate(lines) if ".clean(" in line)


def test_figures_that_could_not_be_read() -> None:
    examined = examination(redis=Ok(redis_look(kept={}, streams={})))
    assert [statuses(check, examined) for check in ("kept-jobs", "event-streams")] == [["unchecked"]] * 2
    empty = examination(redis=Ok(redis_look(queues=(), kept={}, streams={})))
    assert [statuses(check, empty) for check in ("kept-jobs", "event-streams")] == [[], []], (
        "nothing to look at"
    )


def cluster(*queues: QueueId, untagged: tuple[QueueId, ...] = ()) -> Examination:
    reading = Ok(NodeReading(Info(GOOD_INFO)))
    nodes = tuple(
        TopologyNode(f"10.0.0.{number}:1", "master", str(number), slots=((first, first + 5460),))
        for number, first in enumerate((0, 5461, 10922))
    )
    look = RedisLook(
        RedisState(Topology("cluster", nodes), {node.address: reading for node in nodes}),
        queues=queues,
        untagged=untagged,
    )
    return examination(redis=Ok(look))


TAGGED = tuple(QueueId("bull", "{" + name + "}") for name in ("mail", "newsletter", "reminders", "webhooks"))
ON_ONE = tuple(QueueId("{app}", name) for name in ("mail", "newsletter", "reminders"))


@pytest.mark.parametrize(
    ("queues", "status"), [((), "good"), (ON_ONE[:2], "good"), (ON_ONE, "warning"), (TAGGED, "good")]
)
def test_a_hot_shard(queues: tuple[QueueId, ...], status: str) -> None:
    assert statuses("hot-shard", cluster(*queues)) == [status]
    assert statuses("hot-shard", examination()) == [], "not a cluster"


def test_hash_tags() -> None:
    assert statuses("hash-tags", cluster(*TAGGED)) == ["good"]
    [diagnosis] = of("hash-tags", cluster(untagged=(QueueId("bull", "it's"),)))
    assert diagnosis.status == "wrong"
    shell = next(fix for fix in diagnosis.fixes if fix.place == "shell")
    assert shell.lines[0].endswith("""-c del 'bull:it'"'"'s:meta'""")


@pytest.mark.parametrize(
    ("given", "fields", "status"),
    [
        ({}, {}, "good"),
        ({"bullmq.prefixes": ("BULLMQ_PREFIXES", ["bull"])}, {}, "good"),
        ({"bullmq.prefixes": ("BULLMQ_PREFIXES", ["jobs"])}, {}, "wrong"),
        ({"bullmq.queues": ("BULLMQ_QUEUES", ["m*"])}, {}, "good"),
        ({"bullmq.queues": ("BULLMQ_QUEUES", ["x*"])}, {}, "wrong"),
        ({}, {"queues": ()}, "warning"),
        ({}, {"queues": (), "refused": (MAIL,)}, "good"),  # the rights are named
    ],
)
def test_queues(given: Mapping[str, tuple[str, object]], fields: Mapping[str, Any], status: str) -> None:
    examined = examination(given=given, redis=Ok(redis_look(**fields)))
    assert statuses("queues", examined) == [status]


def test_a_search_that_did_not_end() -> None:
    assert statuses("queues", examination(redis=Ok(redis_look(searched=False)))) == ["good", "warning"]
    [unfinished] = of("queues", examination(redis=Ok(redis_look(searched=False, queues=()))))
    assert unfinished.fixes[0].lines == ("monitor doctor --config exporter.yml --timeout 120",)


def test_a_search_that_is_refused_needs_a_right_and_no_time() -> None:
    lacking = redis_look(searched=False, missing={NODE: (MissingRight(("+get", "+scan")),)})
    assert statuses("queues", examination(redis=Ok(lacking))) == ["good", "unchecked"]


def test_variables() -> None:
    notices = (
        Notice("REDIS_ULR", meant="REDIS_URL"),
        Notice("LOG_LEVL", meant="LOG_LEVEL"),
        Notice("REDIS_HOST", reason="REDIS_URL is set"),
        Notice("REDIS_CACHE_SECONDS"),  # of another program
    )
    given = {"log.level": ("LOG_LEVEL", "info")}
    examined = examination(given=given, notices=notices, variables=frozenset({"LOG_LEVEL"}))
    fixes = [diagnosis.fixes[0].lines for diagnosis in of("variables", examined)]
    assert fixes == [
        ('export REDIS_URL="$REDIS_ULR"', "unset REDIS_ULR"),
        ("unset LOG_LEVL",),
        ("unset REDIS_HOST",),
    ]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "good"),
        ({"exporters": ()}, "wrong"),
        ({"exporters": (ScrapedExporter("oxherd", "h:9877", "another"),)}, "wrong"),
        ({"targets": (ScrapeTarget("oxherd", "h:9877", up=True, interval=120.0, age=1.0),)}, "warning"),
        ({"targets": (ScrapeTarget("oxherd", "h:9877", up=False, error="late"),)}, "wrong"),
        (
            {
                "exporters": (
                    ScrapedExporter("oxherd", "h:9877", "d1"),
                    ScrapedExporter("oxherd", "i:1", "d1"),
                ),
                "targets": (
                    ScrapeTarget("oxherd", "h:9877", up=False, error="late"),
                    ScrapeTarget("oxherd", "i:1", up=True, interval=5.0, age=1.0),
                ),
            },
            "good",
        ),
        ({"targets": ()}, "good"),  # a proxy that has no targets, such as Thanos
    ],
)
def test_scrape(fields: Mapping[str, Any], status: str) -> None:
    assert statuses("scrape", examination(prometheus=Ok(prometheus_look(**fields)))) == [status]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "good"),
        ({"alerts": ()}, "wrong"),
        ({"alerts": GOOD_ALERTS[1:]}, "wrong"),
        ({"alerts": (*GOOD_ALERTS, LoadedAlert("Mine", "x", "bad"))}, "good"),
        ({"alerts": (replace(GOOD_ALERTS[0], error="many-to-many"), *GOOD_ALERTS[1:])}, "wrong"),
        ({"exporters": (ScrapedExporter("redis", "h:9877", "d1"),)}, "wrong"),
        ({"exporters": ()}, "good"),
        (  # the job was renamed, and its old series are there for a while
            {
                "exporters": (ScrapedExporter("oxherd", "h:1", "d1"), ScrapedExporter("redis", "h:1", "d1")),
                "targets": (ScrapeTarget("redis", "h:1", up=True),),
            },
            "wrong",
        ),
    ],
)
def test_rules(fields: Mapping[str, Any], status: str) -> None:
    assert statuses("rules", examination(prometheus=Ok(prometheus_look(**fields)))) == [status]


@pytest.mark.parametrize(
    ("managers", "expected"),
    [
        ((), ["wrong"]),
        ((AlertmanagerLook("http://a:1", answers=True),), ["good"]),
        ((AlertmanagerLook("http://a:1", answers=None),), ["good"]),
        ((AlertmanagerLook("http://a:1", answers=False),), ["wrong"]),
        (
            (AlertmanagerLook("http://a:1", answers=False), AlertmanagerLook("http://b:1", answers=True)),
            ["warning"],
        ),
        ((AlertmanagerLook("http://a:1", sent=5, errors=5),), ["wrong"]),
        ((AlertmanagerLook("http://a:1", sent=5, errors=1),), ["good"]),
        ((AlertmanagerLook("http://a:1", answers=False, sent=5, errors=0),), ["good"]),  # it can, we cannot
    ],
)
def test_alertmanager(managers: tuple[AlertmanagerLook, ...], expected: list[str]) -> None:
    examined = examination(prometheus=Ok(prometheus_look(alertmanagers=managers)))
    assert statuses("alertmanager", examined) == expected


@pytest.mark.parametrize(
    ("target", "status", "line"),
    [
        (ScalerTarget("t", "bull", ("mail",)), "good", None),
        (ScalerTarget("t", "bull", ("m*",)), "good", None),
        (ScalerTarget("t", "bull", ("mial",)), "wrong", '    queues: ["mail"]'),
        (ScalerTarget("t", "bull", ("mail", "Mail")), "wrong", '    queues: ["mail", "mail"]'),
        (ScalerTarget("t", "bull", ("x*",)), "wrong", None),
        (ScalerTarget("t", "jobs", ("mail",)), "wrong", None),
        (ScalerTarget("t", "bull", ("mail",), "stale"), "wrong", "scaling explain t"),
    ],
)
def test_targets_of_the_scaler(target: ScalerTarget, status: str, line: str | None) -> None:
    [diagnosis] = of("scaler", examination(scaler=Ok((target,))))
    assert diagnosis.status == status
    assert [line for fix in diagnosis.fixes for line in fix.lines] == ([line] if line else [])


def test_the_hash_tag_is_found() -> None:
    examined = replace(
        examination(redis=Ok(redis_look(queues=(QueueId("bull", "{mail}"),)))),
        scaler=Ok((ScalerTarget("t", "bull", ("mail",)),)),
    )
    [diagnosis] = of("scaler", examined)
    assert diagnosis.fixes[0].lines == ('    queues: ["{mail}"]',)


def test_the_shipped_alerts_are_those_of_the_file() -> None:
    file = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / "oxherd.yml").read_text())
    alerts = {rule["alert"] for group in file["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(SHIPPED_ALERTS) <= alerts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("1m30s", 90.0), ("500ms", 0.5), ("1h", 3600.0), ("", None), ("5", None), ("5s x", None)],
)
def test_durations_of_prometheus(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


def test_the_worst_is_first_and_every_text_is_there() -> None:
    bad = examination(
        redis=Ok(
            redis_look(state=state(info={"aof_enabled": "0"}), missing={NODE: (MissingRight(("+xread",)),)})
        ),
        prometheus=None,
    )
    diagnoses = diagnose(bad)
    order = [CHECK_STATUSES.index(diagnosis.status) for diagnosis in diagnoses]
    assert order == sorted(order)
    for translator in (ENGLISH, TRANSLATORS["id"]):
        assert all(diagnosis.to_json(translator)["seen"] for diagnosis in diagnoses)


def test_every_check_has_its_section() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text()
    sections = re.findall(r"^## (.+)$", page, re.MULTILINE)
    anchors = [title.lower().replace(" ", "-") for title in sections]
    assert [anchor for anchor in anchors if anchor in CHECKS] == list(CHECKS)


def test_commands_reach_the_server_as_the_exporter_does() -> None:
    """What is pasted must not be refused for TLS; a password is asked for by a word, as lines cannot ask."""
    access = Access(("--tls", "--cacert /etc/ca.pem", "--askpass"), "exporter")
    evicts = replace(state(info={"maxmemory_policy": "allkeys-lru"}), access=access)
    [found] = [each for each in diagnose(examination(redis=Ok(redis_look(state=evicts)))) if each.fixes]
    [fix] = found.fixes
    begin = "redis-cli --tls --cacert /etc/ca.pem -h"
    assert (fix.lines[0].startswith(begin), "--askpass" in fix.lines[0], fix.password) == (True, False, True)


def test_a_refused_login_is_tried_as_the_same_user() -> None:
    """As another user the server answers PONG, and nothing would be known."""
    refused = replace(
        state(), nodes={NODE: Failed("auth", "WRONGPASS invalid")}, access=Access(("--askpass",), "exporter")
    )
    found = diagnose(examination(redis=Ok(RedisLook(refused))))[0]
    assert (found.check, found.status) == ("redis", "wrong")
    assert found.fixes[0] == Fix("shell", (f"{redis_cli(NODE)} --user exporter --askpass ping",))
    assert found.effect
    assert "--user exporter" in TRANSLATORS["en"].render(found.effect)
