"""What can be set about Prometheus, and what is refused without being repeated."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from scaler.config.prometheus import PrometheusSettings, PrometheusTlsSettings, QuerySettings

SECRET = "hunter2"


def test_a_url_may_have_a_path_and_loses_its_last_slash() -> None:
    settings = PrometheusSettings.model_validate({"urls": ["https://mimir:8080/prometheus/", "http://[::1]"]})
    assert settings.urls == ("https://mimir:8080/prometheus", "http://[::1]")


def test_parameters_belong_into_a_setting_of_their_own() -> None:
    with pytest.raises(ValidationError, match=r"must not contain parameters: set prometheus\.parameters"):
        PrometheusSettings.model_validate({"urls": ["http://host/?deny_partial_response=1"]})
    with pytest.raises(ValidationError, match="'query' cannot be set"):
        PrometheusSettings.model_validate({"parameters": {"query": "up"}})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "prometheus:9090",
        "ftp://prometheus",
        "http://",
        "http://host:0",
        "http://host:99999",
        "http://host:x",
        "http://[::1",
        "http://host/#a",
        "http://ho st",
        "http://host/\r\nX: y",
        "http://hößt",
    ],
)
def test_an_invalid_url(url: str) -> None:
    with pytest.raises(ValidationError, match="has to be http://host:port"):
        PrometheusSettings.model_validate({"urls": [url]})


@pytest.mark.parametrize("user", [SECRET, f"me:{SECRET}", f":{SECRET}"])
def test_a_user_in_a_url_is_refused_and_not_repeated(user: str) -> None:
    with pytest.raises(ValidationError, match="must not contain a user or password") as error:
        PrometheusSettings.model_validate({"urls": [f"http://{user}@prometheus:9090"]})
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"urls": []}, "at least 1 item"),
        ({"timeout_seconds": 0}, "greater than or equal to 0.01"),
        ({"username": "me"}, "have to be set together"),
        ({"password": SECRET}, "have to be set together"),
        (
            {"username": "me", "password": SECRET, "password_file": "f"},
            "password and password_file are both set",
        ),
        (
            {"bearer_token": SECRET, "bearer_token_file": "f"},
            "bearer_token and bearer_token_file are both set",
        ),
        (
            {"username": "me", "password": SECRET, "bearer_token": SECRET},
            "username and bearer_token are both set",
        ),
        ({"bearer_token": SECRET, "headers": {"authorization": SECRET}}, "bearer_token and a header Auth"),
        ({"headers": {"X-A": SECRET}, "header_files": {"x-a": "f"}}, "is in headers and in header_files"),
        ({"headers": {"Host": "x"}}, "'Host' cannot be set"),
        ({"header_files": {"a b": "x"}}, "'a b' cannot be set"),
        ({"headers": {"X-A": f"{SECRET}\r\nX-B: c"}}, "the value of X-A is not valid in a header"),
        ({"matchers": {"a-b": "x"}}, "is not a label name"),
        ({"tls": {"cert_file": "x"}}, "have to be set together"),
    ],
)
def test_invalid_settings(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as error:
        PrometheusSettings.model_validate(given)
    assert SECRET not in str(error.value)


def test_secrets_are_not_shown() -> None:
    settings = PrometheusSettings.model_validate(
        {"username": "me", "password": SECRET, "headers": {"X-Scope-OrgID": SECRET}}
    )
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_a_pair_of_files_is_taken() -> None:
    assert PrometheusTlsSettings(cert_file="a", key_file="b").key_file == "b"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"waiting": "w"}, "waiting needs waiting and active"),
        ({"completed": "c"}, "completed needs waiting and active"),
        ({"queue_label": "a-b"}, "is not a label name"),
        ({"prefix_label": ""}, "is not a label name"),
    ],
)
def test_queries_that_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        QuerySettings.model_validate(given)


def test_queries_that_are_the_same_are_one_key() -> None:
    queries = QuerySettings(waiting="w", active="a")
    assert {queries: 1, QuerySettings(waiting="w", active="a"): 2} == {queries: 2}
    assert QuerySettings().is_default
    assert not queries.is_default
