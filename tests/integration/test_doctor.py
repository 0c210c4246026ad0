"""`monitor doctor` on real servers: each fault is named, and gone once the printed fix is pasted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bull import Bull
from lab.bullmq import BullMQ
from lab.cluster import start_cluster
from lab.ports import free_port
from lab.redis import RedisServer, start_redis
from lab.sentinel import SentinelSet
from tests.support.acl import READER, rules
from tests.support.doctor import MONITOR, doctor, look_and_mend, own_environment, paste

pytestmark = pytest.mark.timeout(120)  # commands as processes on a busy machine

NODE = Path(__file__).parents[2] / "lab" / "node"
SECRET = "hunter2-hunter2"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server as it should be, with a queue."""
    with start_redis(config=("appendonly yes",)) as server:
        with BullMQ(6, url=server.url) as bullmq:
            bullmq.add("mail")
        yield server


def as_reader(url: str) -> dict[str, str]:
    """The variables of the exporter's own user, as the shipped ACL makes it."""
    username, password = str(READER["username"]), str(READER["password"])
    return {"REDIS_URL": url, "REDIS_USERNAME": username, "REDIS_PASSWORD": password}


def run_in_node(lines: list[str], connection: dict[str, object]) -> None:
    """The lines of an application's fix, with BullMQ 6 and this connection."""
    head = 'import { Queue } from "bullmq6";'
    body = "\n".join(
        line if line.startswith(("const", "await", "//")) else f"const queue = {line};" for line in lines
    )
    end = "await queue.waitUntilReady();\nawait queue.close();\nprocess.exit(0);"
    script = f"{head}\nconst connection = {json.dumps(connection)};\n{body}\n{end}"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        cwd=NODE,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_eviction(server: RedisServer) -> None:
    server.cli("config", "set", "maxmemory-policy", "allkeys-lru")
    found = doctor({"REDIS_URL": server.url})
    assert found.status("eviction") == "warning", "no limit yet"
    server.cli("config", "set", "maxmemory", "64mb")
    found, again = look_and_mend({"REDIS_URL": server.url}, "eviction", status="wrong")
    assert found.code == 2
    assert "allkeys-lru" in found.of("eviction")["seen"]
    assert (again.code, again.bad) == (1, {"scrape"})
    server.cli("config", "set", "maxmemory", "0")


def test_nothing_is_written_to_disk() -> None:
    with start_redis() as server:
        look_and_mend({"REDIS_URL": server.url}, "persistence", status="warning")
        server.cli("config", "set", "appendonly", "no")
        server.cli("config", "set", "save", "3600 1")
        assert doctor({"REDIS_URL": server.url}).status("persistence") == "good"


@pytest.mark.parametrize("prefixes", ["jobs", "jobs,shop"])
def test_a_wrong_prefix(server: RedisServer, prefixes: str) -> None:
    """The commonest fault of a set-up: no queue is seen, and nothing says why."""
    own = {"REDIS_URL": server.url, "BULLMQ_PREFIXES": prefixes}
    found, _ = look_and_mend(own, "queues", "environment", status="wrong")
    assert found.code == 2
    assert "BULLMQ_PREFIXES, environment" in found.of("queues")["seen"]
    assert "have bull" in found.of("queues")["seen"] or "has bull" in found.of("queues")["seen"]


def test_a_queue_that_is_not_there(server: RedisServer) -> None:
    for names, status in (("mail,male", "warning"), ("male", "wrong")):
        own = {"REDIS_URL": server.url, "BULLMQ_QUEUES": names}
        look_and_mend(own, "queues", "environment", status=status)


@pytest.mark.parametrize("database", ["", "/1"])
def test_another_database(database: str) -> None:
    with start_redis() as server, BullMQ(5, url=f"{server.url}/3") as bullmq:
        bullmq.add("mail")
        found, _ = look_and_mend(
            {"REDIS_URL": server.url + database}, "queues", "environment", status="warning"
        )
        assert "db3" in found.of("queues")["seen"]


@pytest.mark.parametrize("refused", ["+xread", "+hmget", "+scan", "+client|list", "%R~bull:*"])
def test_an_acl_that_lacks_a_right(server: RedisServer, refused: str) -> None:
    """The user is refused something, and a person would have to guess what to grant."""
    version = server.facts("info", "server")["redis_version"]
    server.cli("acl", "deluser", "exporter")
    server.cli("acl", "setuser", *(word for word in rules(version=version) if word != refused))
    found, again = look_and_mend(as_reader(server.url), "rights")
    [line] = found.lines("rights", "shell")
    assert refused in line
    assert str(READER["password"]) not in found.text
    assert "--timeout" not in found.text, "no search lacks time: one is refused"
    assert again.status("queues") == "good"


@pytest.mark.parametrize("refused", ["+psubscribe", "&bull:*:active@*", "+hstrlen"])
def test_an_acl_that_hides_what_bull_publishes(refused: str) -> None:
    with start_redis(config=("appendonly yes",)) as server:
        with Bull(4, url=server.url) as bull:
            bull.add("old")
        version = server.facts("info", "server")["redis_version"]
        server.cli("acl", "setuser", *(word for word in rules(version=version) if word != refused))
        found, _ = look_and_mend(as_reader(server.url), "rights")
        [line] = found.lines("rights", "shell")
        assert refused in line


def test_a_prefix_that_the_user_may_not_read() -> None:
    with start_redis(config=("appendonly yes",)) as server:
        with BullMQ(6, url=server.url, prefix="shop:eu") as bullmq:
            bullmq.add("mail")
        version = server.facts("info", "server")["redis_version"]
        server.cli("acl", "setuser", *rules(version=version))
        found, again = look_and_mend(as_reader(server.url), "rights")
        [line] = found.lines("rights", "shell")
        assert "'%R~shop:eu:*'" in line
        assert again.status("queues") == "good"


def test_sentinels(sentinel_set: SentinelSet) -> None:
    found = doctor({"REDIS_SENTINELS": ",".join(sentinel.address for sentinel in sentinel_set.sentinels)})
    assert found.status("redis") == "good"
    assert found.status("rights") == "good"
    assert found.bad == {"persistence", "queues", "scrape"}


@pytest.mark.parametrize("refused", ["+xread", "~*"])
def test_rights_by_dry_run(server: RedisServer, refused: str) -> None:
    """A user that may ask: ACL DRYRUN says it of commands that are not run."""
    server.cli("acl", "deluser", "asking")
    grant = {"+xread": ("~*", "+@all", "-xread"), "~*": ("~other:*", "+@all")}[refused]
    server.cli("acl", "setuser", "asking", "on", f">{SECRET}", *grant)
    server.cli("config", "resetstat")
    own = {"REDIS_URL": server.url, "REDIS_USERNAME": "asking", "REDIS_PASSWORD": SECRET}
    found, _ = look_and_mend(own, "rights")
    assert "xread" not in server.facts("info", "commandstats")
    assert len(found.lines("rights", "shell")) == 1


def test_rights_in_a_cluster_on_all_nodes() -> None:
    with start_cluster(masters=3) as cluster:
        with BullMQ(6, cluster=cluster.addresses) as bullmq:
            bullmq.add("{mail}")
        for node in cluster.nodes:
            version = node.facts("info", "server")["redis_version"]
            node.cli("acl", "setuser", *(word for word in rules(version=version) if word != "+xread"))
        own = as_reader(cluster.nodes[0].url)
        found, _ = look_and_mend(own, "rights")
        assert "on 6 nodes" in found.of("rights")["seen"]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("REDIS_ULR", "REDIS_URL"), ("REDIS_URI", "REDIS_URL"), ("REDIS_ADDR", "REDIS_URL")],
)
def test_a_misspelt_variable(variable: str, meant: str) -> None:
    """A variable with another name, as other exporters have: the default is watched instead."""
    with start_redis(password=SECRET, config=("appendonly yes",)) as server:
        own = {variable: server.url, "REDIS_PORT": str(free_port())}
        found = doctor(own)
        assert found.code == 2, "the default is watched, where nothing listens"
        assert variable in found.of("variables")["seen"]
        assert meant in found.of("variables")["seen"]
        assert SECRET not in found.text
        again = doctor(own, before=[*found.lines("variables", "environment"), "unset REDIS_PORT"])
        assert again.status("variables") == "good"
        assert again.status("redis") == "good"
        assert SECRET not in again.text


def test_a_variable_that_another_one_overrides(server: RedisServer) -> None:
    own = {
        "REDIS_URL": server.url,
        "REDIS_HOST": "elsewhere.invalid",
        "EXPORTER_LISTN": ":1",
        "REDIS_CACHE": "x",
    }
    found = doctor(own)
    named = [finding for finding in found.findings if finding["check"] == "variables"]
    assert [finding["seen"].split()[0] for finding in named] == ["EXPORTER_LISTN", "REDIS_HOST"]
    fixes = [line for finding in named for fix in finding["fixes"] for line in fix["lines"]]
    assert doctor(own, before=fixes).status("variables") == "good"


def test_a_file_is_named_with_its_line(server: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "exporter.yml"
    file.write_text(f"redis:\n  url: {server.url}\n  host: elsewhere.invalid\nbullmq:\n  prefixes: [jobs]\n")
    found = doctor({}, "--config", str(file))
    assert f"{file}, line 5" in found.of("queues")["seen"]
    assert found.lines("variables", "settings") == [f"# redis.host: {file}, line 3"]


def test_output_buffers(server: RedisServer) -> None:
    server.cli("config", "set", "client-output-buffer-limit", "normal 1mb 0 0 pubsub 100kb 0 0")
    for _ in range(2):
        found = doctor({"REDIS_URL": server.url})
        assert found.status("output-buffers") == "warning"
        paste(found.lines("output-buffers", "shell"))
    assert doctor({"REDIS_URL": server.url}).status("output-buffers") == "good"


def test_kept_jobs_and_their_weight() -> None:
    with start_redis(config=("appendonly yes", "maxmemory 16mb")) as server:
        with BullMQ(6, url=server.url) as bullmq:
            worker = bullmq.start_worker("mail", concurrency=50)
            bullmq.queue(
                "mail", "addBulk", [{"name": "job", "data": {"text": "x" * 2000}} for _ in range(2500)]
            )
            bullmq.wait_for_counts("mail", {"completed": 2500}, seconds=60)
            bullmq.stop_worker(worker)
        found = doctor({"REDIS_URL": server.url})
        assert found.status("kept-jobs") == "warning", found.of("kept-jobs")
        assert "2,500 completed" in found.of("kept-jobs")["seen"]
        run_in_node(found.lines("kept-jobs", "application"), {"host": server.host, "port": server.port})
        assert server.cli("zcard", "bull:mail:completed") == "1000"
        assert doctor({"REDIS_URL": server.url}).status("kept-jobs") == "good"


def test_an_event_stream_that_is_too_short() -> None:
    with start_redis() as server:
        with BullMQ(6, url=server.url) as bullmq:
            bullmq.add("mail")
            server.cli("hset", "bull:mail:meta", "opts.maxLenEvents", "100")
            bullmq.add_bulk("mail", 2000)
        found = doctor({"REDIS_URL": server.url})
        assert found.status("event-streams") == "warning"
        run_in_node(found.lines("event-streams", "application"), {"host": server.host, "port": server.port})
        assert int(server.cli("hget", "bull:mail:meta", "opts.maxLenEvents")) >= 10_000
        assert doctor({"REDIS_URL": server.url}).status("event-streams") == "good"


def test_a_cluster_without_hash_tags_and_with_a_hot_shard() -> None:
    with start_cluster(masters=3, config=("appendonly yes",)) as cluster:
        own = {"REDIS_URL": cluster.nodes[0].url}
        with BullMQ(6, cluster=cluster.addresses, prefix="{app}") as bullmq:
            for name in ("a", "b", "c"):
                bullmq.add(name)
        cluster_connection = BullMQ(6, cluster=cluster.addresses)
        with cluster_connection as bullmq, pytest.raises(Exception, match="CROSSSLOT"):
            bullmq.add("plain")
        found = doctor(own)
        assert (found.status("hash-tags"), found.status("hot-shard")) == ("wrong", "warning")
        assert found.lines("hash-tags", "application") == [
            'new Queue("{plain}", { connection, prefix: "bull" })'
        ]
        assert found.lines("hot-shard", "application") == ['new Queue("{a}", { connection, prefix: "app" })']
        paste(found.lines("hash-tags", "shell"))
        with BullMQ(6, cluster=cluster.addresses) as bullmq:
            for name in ("{plain}", "{mail}", "{newsletter}", "{reminders}", "{thumbnails}"):
                bullmq.add(name)
            bullmq.start_worker("{mail}")  # its client has a name that could be that of a queue without a tag
            again = doctor(own)
        assert (again.status("hash-tags"), again.status("hot-shard")) == ("good", "good")


def test_a_redis_that_is_not_there_and_one_that_hangs(fresh_redis: RedisServer) -> None:
    found = doctor({"REDIS_URL": f"redis://127.0.0.1:{free_port()}"})
    assert (found.code, found.status("redis")) == (2, "wrong")
    assert {finding["check"] for finding in found.findings if finding["status"] == "good"} == {
        "watched",
        "variables",
    }, "nothing that could not be seen is called good"
    fresh_redis.suspend()
    found = doctor({"REDIS_URL": fresh_redis.url}, "--timeout", "2")
    assert (found.code, found.status("redis")) == (2, "wrong")
    fresh_redis.resume()


def test_a_wrong_password_is_named_and_shown_nowhere() -> None:
    with start_redis(password="other") as server:
        found = doctor({"REDIS_URL": f"redis://:{SECRET}@{server.address}"})
        assert found.status("redis") == "wrong"
        assert "REDIS_PASSWORD" in found.of("redis")["effect"]
        assert SECRET not in found.text


def test_a_managed_redis_without_config(server: RedisServer) -> None:
    with start_redis(config=('rename-command CONFIG ""', "maxmemory-policy volatile-lru")) as managed:
        found = doctor({"REDIS_URL": managed.url})
        assert (found.status("persistence"), found.status("output-buffers")) == ("unchecked", "unchecked")
        assert "provider" in found.of("eviction")["effect"]


def test_for_people(server: RedisServer) -> None:
    own = {"REDIS_URL": server.url, "BULLMQ_PREFIXES": "jobs"}
    done = subprocess.run(
        [str(MONITOR), "doctor"], env=own_environment() | own, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "\n    export BULLMQ_PREFIXES=bull\n  docs/doctor.md#queues\n" in done.stdout
    indonesian = subprocess.run(
        [str(MONITOR), "doctor"],
        env=own_environment() | own | {"LANG": "id_ID.UTF-8"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert "tidak ada antrean dengan prefiks jobs" in indonesian.stdout
