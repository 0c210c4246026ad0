"""The observer with real servers: BullMQ's jobs, Redis, the exporter, Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.ports import free_port
from lab.prometheus import Prometheus, Web, start_prometheus
from lab.redis import RedisServer, start_redis
from lab.tls import Certificates, make_certificates
from scaler.config.prometheus import MOST_QUERIES, QuerySettings
from scaler.config.settings import PolicySettings
from scaler.decision.belief import fresh_sample
from scaler.decision.memory import GuardMemory
from scaler.model import Missing, Observation, QueueSample
from scaler.prometheus.observer import Observer
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey, combine
from service.clock import Deadline, now
from service.outcome import UnreadableError
from tests.support.exposition import exposing
from tests.support.observers import MAIL, ObserverOf, mail, missing, observe

pytestmark = pytest.mark.timeout(120)  # up to 15 s alone, of scrapes and their ages

VIDEO = QueueKey("bull", "video")
IDLE = QueueKey("bull", "idle")
PASSWORD = "hunter2-hunter2"
HASH = "$2b$04$abcdefghijklmnopqrstuuho/ppTcmsBIj2TNMdOGwEUcNR/Zfi5u"

NONE = "scrape_configs: []"


def scraping(*addresses: str, job: str = "oxherd", interval: str = "1s") -> str:
    """A scrape job; the second address and those after it get an `instance` of their own."""
    targets = "".join(
        f"      - targets: ['{address}']\n        labels: {{instance: 'exporter-{n}'}}\n"
        for n, address in enumerate(addresses)
    )
    return (
        f"  - job_name: {job}\n    scrape_interval: {interval}\n    scrape_timeout: 1s\n"
        f"    static_configs:\n{targets}"
    )


def config(*jobs: str) -> str:
    return "scrape_configs:\n" + "".join(jobs)


@contextmanager
def exporting(server: RedisServer) -> Iterator[Exporter]:
    """An exporter that knows three queues by their names."""
    program = Exporter(
        ExporterSettings.model_validate(
            {
                "listen": "127.0.0.1:0",
                "redis": {"url": server.url},
                "bullmq": {"queues": ["mail", "video", "idle"]},
            }
        )
    )
    program.start()
    try:
        yield program
    finally:
        assert program.stop()


@dataclass(frozen=True)
class World:
    bullmq: BullMQ
    exporter: Exporter
    prometheus: Prometheus


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Jobs in every state that counts: 5 waiting and 2 prioritized in `mail`, which is paused after 4 were
    completed and 1 failed; 3 active and 1 waiting in `video`; `idle` never had one."""
    with ExitStack() as stack:
        redis = stack.enter_context(start_redis())
        redis.wait()
        bullmq = stack.enter_context(BullMQ(6, url=redis.url))
        exporter = stack.enter_context(exporting(redis))
        address = exporter.address
        prometheus = stack.enter_context(start_prometheus(config(scraping(address))))
        prometheus.wait_for('bullmq_job_added_total{queue="mail"}')
        worker = bullmq.start_worker("mail", behaviour={"ms": 20})
        bullmq.add_bulk("mail", 4)
        bullmq.wait_for_counts("mail", {"completed": 4})
        bullmq.stop_worker(worker)
        worker = bullmq.start_worker("mail", behaviour={"fail": True})
        bullmq.add("mail")
        bullmq.wait_for_counts("mail", {"failed": 1})
        bullmq.stop_worker(worker)
        bullmq.pause("mail")
        bullmq.add_bulk("mail", 5)
        for _ in range(2):
            bullmq.add("mail", priority=3)
        stack.callback(
            bullmq.stop_worker, bullmq.start_worker("video", concurrency=3, behaviour={"hold": True})
        )
        bullmq.add_bulk("video", 4)
        bullmq.wait_for_counts("video", {"active": 3})
        yield World(bullmq, exporter, prometheus)


def settled(observer: Observer) -> QueueSample:
    """The sample of `mail` once the last of its jobs is scraped."""

    def reached() -> QueueSample | None:
        mail_sample = mail(observer)
        return (
            mail_sample
            if isinstance(mail_sample, QueueSample) and (mail_sample.waiting, mail_sample.added) == (7, 12)
            else None
        )

    sample_of_mail = wait_until(reached, what="7 jobs wait of 12", seconds=60, every=0.2)
    assert sample_of_mail is not None
    return sample_of_mail


def test_the_samples_are_the_counts_of_bullmq(world: World, observer: ObserverOf) -> None:
    under_test = observer(world.prometheus.url, queues={DEFAULT_QUERIES: [MAIL, VIDEO, IDLE]})
    sample = settled(under_test)
    counts = world.bullmq.counts("mail")
    assert sample.waiting == sum(
        counts.get(state, 0) for state in ("wait", "waiting", "paused", "prioritized")
    )
    assert (sample.active, sample.completed, sample.failed, sample.added) == (0, 4, 1, 12)
    assert sample.duration_count == 5
    assert sample.duration_sum is not None
    assert sample.duration_sum >= 4 * 0.02
    assert sample.busy_seconds == pytest.approx(sample.duration_sum, abs=0.001)
    assert sample.oldest_waiting is not None
    assert 0 < sample.oldest_waiting < 60
    assert 0 <= now() - sample.at < 5
    result = observe(under_test)
    video, idle = (result.of([key])[key] for key in (VIDEO, IDLE))
    assert isinstance(video, QueueSample)
    assert (video.waiting, video.active, video.completed, video.added) == (1, 3, 0, 4)
    assert video.busy_seconds is not None
    assert video.busy_seconds > 0  # jobs that still run
    assert isinstance(idle, QueueSample)
    assert (idle.waiting, idle.active, idle.added, idle.oldest_waiting) == (0, 0, 0, None)
    together = combine(result.of([MAIL, VIDEO, IDLE]))
    assert isinstance(together, QueueSample)
    assert (together.waiting, together.active, together.added, together.duration_count) == (8, 3, 16, 5)
    age = result.age()
    assert age is not None
    assert 0 <= age < 5
    assert (result.url, result.took > 0) == (world.prometheus.url, True)


def test_a_scrape_has_the_same_time_whenever_it_is_looked_at(world: World, observer: ObserverOf) -> None:
    under_test = observer(world.prometheus.url)
    settled(under_test)
    result = [mail(under_test) for _ in range(20)]
    times = {sample.at for sample in result if isinstance(sample, QueueSample)}
    scrapes = world.prometheus.query('timestamp(bullmq_job_count{queue="mail",state="active"})')
    assert len(times) < 20
    assert all(0 <= scrapes[0][1] - at < 5 for at in times)


def test_a_step_sends_few_queries(world: World, observer: ObserverOf) -> None:
    custom = [
        QuerySettings(
            waiting=f"bullmq_job_count{{state='waiting'}} + {n}",
            active="0 * bullmq_job_count{state='active'}",
        )
        for n in range(MOST_QUERIES - 1)
    ]
    queues = {queries: [MAIL, VIDEO] for queries in (DEFAULT_QUERIES, *custom)}
    under_test = observer(world.prometheus.url, queues=queues)
    observe(under_test)
    assert under_test.requests == MOST_QUERIES
    with pytest.raises(ValueError, match="at most 10"):
        observer(world.prometheus.url, queues={**queues, QuerySettings(waiting="w", active="a"): [MAIL]})


def test_a_queue_that_no_exporter_knows_is_missing(world: World, observer: ObserverOf) -> None:
    key = QueueKey("bull", "mial")
    under_test = observer(world.prometheus.url, queues={DEFAULT_QUERIES: [MAIL, key]})
    settled(under_test)
    sample = observe(under_test).of([MAIL, key])
    absent = sample[key]
    assert isinstance(absent, Missing)
    assert (absent.kind, "does not know this queue" in absent.message) == ("empty", True)
    assert combine(sample) == absent


@pytest.mark.parametrize(("cluster", "kind"), [("eu", "empty"), (None, "sample")])
def test_every_selector_has_the_matchers(
    world: World, observer: ObserverOf, cluster: str | None, kind: str
) -> None:
    under_test = observer(
        world.prometheus.url, matchers={"cluster": cluster} if cluster else {"job": "oxherd"}
    )
    mail_sample = mail(under_test)
    assert (mail_sample.kind if isinstance(mail_sample, Missing) else "sample") == kind


def test_another_exporters_series(world: World, observer: ObserverOf) -> None:
    """The first example of QuerySettings, with a prefix that is not given."""
    queries = QuerySettings(
        prefix_label=None,
        waiting='sum without (state) (bullmq_job_count{state=~"waiting|prioritized|paused",{selector}})',
        active='sum without (state) (bullmq_job_count{state="active",{selector}})',
        timestamp='max without (state) (timestamp(bullmq_job_count{state="active",{selector}}))',
    )
    under_test = observer(
        world.prometheus.url, queues={DEFAULT_QUERIES: [MAIL], queries: [MAIL]}, matchers={"job": "oxherd"}
    )
    settled(under_test)
    sample = observe(under_test).of([MAIL], queries)[MAIL]
    assert isinstance(sample, QueueSample)
    assert (sample.waiting, sample.active, sample.completed) == (7, 0, None)
    assert 0 <= now() - sample.at < 5


def test_lengths_of_lists(observer: ObserverOf) -> None:
    """The second example of QuerySettings."""
    size = 'redis_key_size{key=~"bull:.+:%s",{matchers}}'
    named = "label_replace(%s, 'queue', '$1', 'key', 'bull:(.+):.+')"
    queries = QuerySettings(
        waiting=f"sum without (key) ({named % size % '(wait|paused|prioritized)'})",
        active=f"sum without (key) ({named % size % 'active'})",
        timestamp=f"min without (key) ({named % f'timestamp({size})' % 'active'})",
    )
    sizes = "".join(
        f'redis_key_size{{db="db0",key="bull:mail:{name}"}} {size}\n'
        for name, size in {"wait": 4, "prioritized": 2, "active": 1}.items()
    )
    with exposing(sizes) as address, start_prometheus(config(scraping(address))) as prometheus:
        prometheus.wait_for("redis_key_size")
        sample = observe(observer(prometheus.url, queues={queries: [MAIL]})).of([MAIL], queries)[MAIL]
    assert isinstance(sample, QueueSample)
    assert (sample.waiting, sample.active) == (6, 1)


def test_a_query_with_a_mistake_costs_only_itself(world: World, observer: ObserverOf) -> None:
    wrong = QuerySettings(waiting="bullmq_job_count", active="sum(by)(", queue_label="queue")
    under_test = observer(world.prometheus.url, queues={DEFAULT_QUERIES: [MAIL], wrong: [MAIL]})
    result = observe(under_test)
    assert isinstance(result.of([MAIL])[MAIL], QueueSample)
    sample = result.of([MAIL], wrong)[MAIL]
    assert isinstance(sample, Missing)
    assert sample.kind == "error"
    assert "parse error" in sample.message
    assert "`active`" in sample.message


def test_a_range_longer_than_prometheus_allows(world: World, observer: ObserverOf) -> None:
    end = float(int(now()))
    under_test = observer(world.prometheus.url)
    series = under_test.range("vector(2)", end - 25_000, end, 1, Deadline.after(20))
    assert series == {frozenset(): [(end - 25_000 + n, 2.0) for n in range(25_001)]}
    assert under_test.requests == 3
    with pytest.raises(UnreadableError, match="parse error"):
        under_test.range("vector(", end - 10, end, 1, Deadline.after(20))


# --- several exporters --------------------------------------------------------------------------------------


def test_two_that_see_the_same_redis_are_not_added_up(world: World, observer: ObserverOf) -> None:
    address = world.exporter.address
    with start_prometheus(config(scraping(address, address))) as prometheus:
        prometheus.wait_for("count(bullmq_up) == 2")
        prometheus.wait_for('count(bullmq_job_added_total{queue="mail"}) == 2')
        under_test = observer(prometheus.url)
        assert settled(under_test).completed == 4


def test_two_jobs_with_such_a_queue_are_not_believed_until_one_is_named(
    world: World, observer: ObserverOf
) -> None:
    address = world.exporter.address
    jobs = config(scraping(address, job="east"), scraping(address, job="west"))
    with start_prometheus(jobs) as prometheus:
        prometheus.wait_for("count(bullmq_up) == 2")
        missing_mail = missing(observer(prometheus.url))
        assert missing_mail.kind == "duplicate"
        assert 'job="east"' in missing_mail.message
        assert settled(observer(prometheus.url, matchers={"job": "west"})).added == 12


# --- what fails ---------------------------------------------------------------------------------------------


@pytest.mark.fault
def test_prometheus_hangs_and_dies_and_another_takes_over_until_it_is_back(
    world: World, observer: ObserverOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scaler.prometheus.observer")
    jobs = config(scraping(world.exporter.address))
    port = free_port()
    with start_prometheus(jobs, port=port) as first:
        first.wait_for("bullmq_job_count")
        alone = observer(first.url, timeout_seconds=0.5)
        under_test = observer(first.url, world.prometheus.url, timeout_seconds=0.5)
        assert observe(under_test).url == first.url
        first.process.suspend()
        result = observe(alone)
        sample = result.of([MAIL])[MAIL]
        assert isinstance(sample, Missing)
        assert sample.kind == "timeout"
        assert 0.4 < result.took < 5
        assert isinstance(mail(under_test), QueueSample)
        first.process.resume()
        assert wait_until(lambda: isinstance(mail(alone), QueueSample), what="it answers again")
    sample = missing(alone)
    assert sample.kind == "unreachable"
    for _ in range(3):
        assert observe(under_test).url == world.prometheus.url
    with start_prometheus(jobs, port=port) as first:
        wait_until(
            lambda: observe(under_test).url == first.url, what="back to the first", seconds=60, every=0.1
        )
    lines = [record.message for record in caplog.records if "another" in record.message]
    assert 1 <= len(lines) <= 2  # it may have been back for a moment between the two


def test_an_exporter_that_is_gone_leaves_no_numbers(
    world: World, fresh_redis: RedisServer, observer: ObserverOf
) -> None:
    with (
        exporting(fresh_redis) as exporter,
        start_prometheus(config(scraping(exporter.address))) as prometheus,
    ):
        under_test = observer(prometheus.url)
        wait_until(lambda: isinstance(mail(under_test), QueueSample), what="a sample", seconds=60, every=0.1)
        fresh_redis.process.suspend()
        reading = wait_until(
            lambda: is_missing(under_test), what="no sample of a Redis that hangs", seconds=60, every=0.1
        )
        assert reading is not None
        fresh_redis.process.resume()
        wait_until(
            lambda: isinstance(mail(under_test), QueueSample), what="a sample again", seconds=60, every=0.1
        )
        exporter.stop()
        reading = wait_until(
            lambda: is_missing(under_test), what="no sample of no exporter", seconds=60, every=0.1
        )
        assert reading is not None
        assert reading.kind == "empty"
        assert "is the exporter up" in reading.message


def is_missing(observer: Observer) -> Missing | None:
    sample = mail(observer)
    return sample if isinstance(sample, Missing) else None


@pytest.mark.fault
def test_a_value_that_prometheus_still_returns_is_as_old_as_its_scrape(observer: ObserverOf) -> None:
    """With timestamps of their own, series are not marked as ended, and are returned for five minutes."""
    at = now() - 100
    states = {"waiting": 3, "prioritized": 1, "active": 2}
    text = "".join(
        f'bullmq_job_count{{prefix="bull",queue="mail",state="{state}"}} {count} {at * 1000:.0f}\n'
        for state, count in states.items()
    )
    with exposing(text) as address, start_prometheus(config(scraping(address))) as prometheus:
        prometheus.wait_for("bullmq_job_count")
        sample = mail(observer(prometheus.url))
    assert isinstance(sample, QueueSample)
    assert (sample.waiting, sample.active) == (4, 2)
    assert sample.at == round(at, 3)
    stale = fresh_sample(PolicySettings(), Observation(now(), 2, 2, sample), GuardMemory())
    assert isinstance(stale, Missing)
    assert stale.kind == "stale"


# --- who asks -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(certificates: Certificates) -> Iterator[Prometheus]:
    """A Prometheus with TLS, that asks for a client's certificate, a user and a password."""
    web = Web(
        config=(
            "tls_server_config:\n"
            f"  cert_file: {certificates.server_certificate}\n  key_file: {certificates.server_key}\n"
            f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {certificates.ca}\n"
            f"basic_auth_users: {{scaler: '{HASH}'}}\n"
        ),
        tls=certificates,
        user=("scaler", PASSWORD),
    )
    with start_prometheus(NONE, web=web) as server:
        yield server


def tls(certificates: Certificates, **other: object) -> dict[str, object]:
    return {
        "ca_file": str(certificates.ca),
        "cert_file": str(certificates.client_certificate),
        "key_file": str(certificates.client_key),
        **other,
    }


def test_a_user_over_tls_is_let_in_and_a_wrong_one_is_not(
    guarded: Prometheus, certificates: Certificates, observer: ObserverOf, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("wrong-password\n")
    prometheus = observer(guarded.url, username="scaler", password_file=str(password), tls=tls(certificates))
    missing_mail = missing(prometheus)
    assert missing_mail.kind == "refused"
    assert "wrong-password" not in missing_mail.message
    password.write_text(f"{PASSWORD}\n")
    assert missing(prometheus).kind == "empty"
    named = observer(
        guarded.url,
        username="scaler",
        password=PASSWORD,
        tls=tls(certificates, server_name="localhost"),
    )
    assert missing(named).kind == "empty"


def test_tls_that_does_not_fit(
    guarded: Prometheus, certificates: Certificates, observer: ObserverOf, tmp_path: Path
) -> None:
    strangers = make_certificates(tmp_path)
    user = {"username": "scaler", "password": PASSWORD}
    cases = {
        "certificate verify failed|self.signed|unable to get": tls(certificates, ca_file=str(strangers.ca)),
        "mismatch|not valid for": tls(certificates, server_name="elsewhere"),
        "TLS": {"ca_file": str(certificates.ca)},
    }
    for why, given in cases.items():
        missing_mail = missing(observer(guarded.url, tls=given, **user))
        assert missing_mail.kind == "unreachable", missing_mail
        assert any(word in missing_mail.message for word in why.split("|")), missing_mail
    unreadable = missing(observer(guarded.url, tls=tls(certificates, ca_file=str(tmp_path / "none")), **user))
    assert unreadable.kind == "error"
    assert "ca_file" in unreadable.message
    unchecked = observer(guarded.url, tls=tls(certificates, ca_file=None, verify=False), **user)
    assert missing(unchecked).kind == "empty"
