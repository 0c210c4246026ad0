"""Texts of real servers and of connections that failed, and the advice for each."""

from __future__ import annotations

import time

import pytest

from exporter.conditions.advice import ADVICE, SILENCE, Context, advice, first_advice
from exporter.conditions.finding import as_reached
from exporter.snapshot.redis import Access
from service.catalogs import ENGLISH, TRANSLATORS
from service.i18n import Message

NODE = "10.0.0.1:7001"
NO_RIGHT = "NOPERM this user has no permissions to run the '{}' command"
FAILURES: list[tuple[str, str, str]] = [
    ("error", "is a Sentinel: set REDIS_SENTINELS and REDIS_SENTINEL_MASTER", "issue.advice.sentinel"),
    (
        "error",
        "SENTINEL MASTER: ERR No such master with that name (it monitors: a)",
        "issue.advice.sentinel_master",
    ),
    ("error", "is not a cluster node: set only REDIS_URL", "issue.advice.no_cluster"),
    ("refused", f"INFO: {NO_RIGHT.format('info')}", "issue.advice.permission"),
    (
        "refused",
        f"CLUSTER NODES: {NO_RIGHT.format('cluster|nodes')} or its subcommand",
        "issue.advice.permission",
    ),
    (
        "refused",
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "issue.candidates_refused.recommendation",
    ),
    ("refused", "NOPERM no", "issue.queue_system_down.recommendation_acl"),
    ("refused", "NOPERM No permissions to access a key", "issue.candidates_refused.recommendation"),
    ("auth", "INFO: NOAUTH Authentication required.", "issue.advice.password"),
    (
        "auth",
        "user name or password refused: WRONGPASS invalid username-password pair or user is disabled.",
        "issue.advice.password",
    ),
    (
        "auth",
        (
            "user name or password refused: ERR AUTH <password> called without any password configured for "
            "the default user. Are you sure your configuration is correct?"
        ),
        "issue.advice.no_password",
    ),
    (
        "auth",
        "user name or password refused: an error that is not shown, as it may repeat the password",
        "issue.advice.password",
    ),
    ("auth", "DENIED Redis is running in protected mode because protected mode", "issue.advice.protected"),
    ("error", "INFO: BUSY Redis is busy running a script.", "issue.advice.busy"),
    ("loading", "INFO: LOADING Redis is loading the dataset in memory", "issue.advice.loading"),
    (
        "refused",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "issue.advice.masterdown",
    ),
    ("refused", "ERR max number of clients reached", "issue.advice.maxclients"),
    (
        "refused",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "issue.advice.wrong_type",
    ),
    ("moved", "ASK 4247 10.0.0.2:7002", "issue.advice.slots"),
    ("moved", "CLUSTERDOWN Hash slot not served", "issue.advice.slots"),
    ("moved", "TRYAGAIN Multiple keys request during rehashing of slot", "issue.advice.slots"),
    ("unreachable", "no node owns its slot", "issue.advice.slots"),
    ("error", "database refused: ERR DB index is out of range", "issue.advice.database"),
    (
        "unreachable",
        "the host name cannot be resolved: Name or service not known",
        "issue.advice.name",
    ),
    ("tls", "tls.ca_file /x: No such file or directory", "issue.advice.tls_file"),
    (
        "tls",
        "the server's certificate: Hostname mismatch, certificate is not valid for 'cache.example'.",
        "issue.advice.tls_name",
    ),
    (
        "tls",
        "the server's certificate: IP address mismatch, certificate is not valid for '10.0.0.1'.",
        "issue.advice.tls_name",
    ),
    ("tls", "the server's certificate: certificate has expired", "issue.advice.tls_expired"),
    (
        "tls",
        "the server's certificate: self-signed certificate in certificate chain",
        "issue.advice.tls_ca",
    ),
    ("tls", "TLS: tlsv1 alert unknown ca", "issue.advice.tls_client"),
    ("tls", "TLS: tlsv13 alert certificate required", "issue.advice.tls_client"),
    (
        "unreachable",
        "the server closed the connection before any reply: does it require a client certificate?",
        "issue.advice.tls_client",
    ),
    (
        "unreachable",
        "the server closed the connection before any reply: a TLS port?",
        "issue.advice.tls_or_not",
    ),
    ("timeout", "no TLS handshake in time: a port without TLS?", "issue.advice.tls_or_not"),
    ("protocol", "the reply is not Redis protocol: another server, or TLS", "issue.advice.tls_or_not"),
]


@pytest.mark.parametrize(("kind", "text", "expected"), FAILURES)
def test_the_advice_for_each_kind_of_error(kind: str, text: str, expected: str) -> None:
    message = advice(Context(kind, text, NODE))
    assert message is not None
    assert message.id == expected
    english, indonesian = ENGLISH.render(message), TRANSLATORS["id"].render(message)
    assert english != indonesian
    for parameter in message.parameters.values():
        assert str(parameter) in english
        assert str(parameter) in indonesian


def test_every_row_is_reached() -> None:
    rows = [[row for row in ADVICE if row.pattern.search(text)] for _, text, _ in FAILURES]
    assert {matching[0].pattern for matching in rows if matching} == {row.pattern for row in ADVICE}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("unreachable", "connection refused"),
        ("timeout", "no connection in time"),
        ("timeout", "no answer in time"),
        ("unreachable", "No route to host"),
        ("timeout", "3 of 20 replies in time"),
    ],
)
def test_where_there_is_no_answer_there_is_nothing_more_to_say(kind: str, text: str) -> None:
    assert advice(Context(kind, text, NODE)) is None


def text_of(context: Context) -> str:
    message = advice(context)
    assert message is not None
    return ENGLISH.render(message)


def test_the_right_is_written_as_acl_setuser_takes_it() -> None:
    text = text_of(Context("refused", f"CLUSTER NODES: {NO_RIGHT.format('cluster|nodes')}", NODE))
    assert "redis-cli -h 10.0.0.1 -p 7001 acl setuser USER '+cluster|nodes';" in text


def test_a_prefix_is_written_as_acl_setuser_takes_it() -> None:
    refused = "NOPERM No permissions to access a key"
    assert "acl setuser USER '%R~bull:*';" in text_of(Context("refused", refused, NODE, key="bull:mail:"))
    text = text_of(Context("refused", refused, NODE, key="{a*b}:eu:mail:"))
    assert r"acl setuser USER '%R~{a\*b}:eu:*';" in text
    assert "acl log" in text_of(Context("refused", refused, NODE))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("connection refused", "issue.advice.refused"),
        ("no connection in time", "issue.advice.no_connection"),
        ("no answer in time", "issue.advice.no_answer"),
        ("no AUTH reply in time", "issue.advice.no_answer"),
    ],
)
def test_what_a_silence_means(text: str, expected: str) -> None:
    message = first_advice([Context("timeout", text, NODE)], SILENCE)
    assert message is not None
    assert message.id == expected
    assert first_advice([Context("timeout", text, NODE)]) is None


def test_commands_are_made_to_work_where_they_are_pasted() -> None:
    access = Access(("--tls", "--cacert /ca.crt", "--askpass"), "the reader")
    message = advice(Context("refused", NO_RIGHT.format("info"), NODE))
    assert message is not None
    reached = as_reached(Message("issue.text", text=(message,)), access)
    text = ENGLISH.render(reached)
    assert (
        "redis-cli --tls --cacert /ca.crt --askpass -h 10.0.0.1 -p 7001 acl setuser 'the reader' +info;"
        in text
    )
    assert "user the reader the right" in text
    asked = advice(Context("auth", "NOAUTH", NODE))
    assert asked is not None
    assert ENGLISH.render(as_reached(asked, access)).count("--askpass") == 1
    assert "redis-cli -h 10.0.0.1" in ENGLISH.render(as_reached(message, Access()))


def test_sentinels_have_a_password_of_their_own() -> None:
    for text in ("NOAUTH Authentication required.", "WRONGPASS invalid username-password pair"):
        assert "REDIS_SENTINEL_PASSWORD" in text_of(Context("auth", text, NODE, sentinel=True))
        assert "REDIS_SENTINEL_PASSWORD" not in text_of(Context("auth", text, NODE))


def test_a_key_is_quoted_for_the_shell() -> None:
    wrong = "WRONGTYPE Operation against a key holding the wrong kind of value"
    assert "type 'bull:$HOME:wait'" in text_of(Context("refused", wrong, NODE, key="bull:$HOME:"))


def test_the_name_that_is_not_known_is_that_which_was_tried() -> None:
    text = (
        "10.0.0.1:7001: no connection in time; cache-1.svc:7001: the host name cannot be resolved: "
        "Name or service not known"
    )
    assert "getent hosts cache-1.svc" in text_of(Context("timeout", text, NODE))


def test_the_first_failure_with_an_advice_counts() -> None:
    contexts = [
        Context("timeout", "no answer in time", NODE),
        Context("loading", "LOADING", "b:1"),
        Context("auth", "NOAUTH", "c:1"),
    ]
    message = first_advice(contexts)
    assert message is not None
    assert message.id == "issue.advice.loading"
    assert first_advice(contexts[:1]) is None


@pytest.mark.fault
@pytest.mark.parametrize(
    "filling", ["a", ":1", "permissions to ", "the host name cannot be resolved ", " ;:1:"]
)
def test_no_text_of_an_error_takes_long_to_advise_on(filling: str) -> None:
    begun = time.process_time()
    for text in (filling * 50_000, "the host name cannot be resolved " + filling * 50_000):
        advice(Context("error", text, "a:1"))
    assert time.process_time() - begun < 5
