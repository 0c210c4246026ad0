from __future__ import annotations

import json
from gettext import NullTranslations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.catalogs import ENGLISH, TRANSLATORS
from service.i18n import Message, Translator, message_from_json, of_locale, preferred

INDONESIAN = TRANSLATORS["id"]
NODES = Message("issue.more_nodes", count=2)


def test_an_id_and_its_parameters() -> None:
    message = Message("summary.process_limited", resident="1 MiB", limit="{resident}")
    assert ENGLISH.render(message) == "1 MiB resident of {resident}"
    assert INDONESIAN.render(message) == "1 MiB residen dari {resident}"
    assert ENGLISH.translate(message.id, **message.parameters) == ENGLISH.render(message)


@pytest.mark.parametrize(
    ("count", "english", "indonesian"),
    [(0, "0 issues", "0 masalah"), (1, "1 issue", "1 masalah"), (2, "2 issues", "2 masalah")],
)
def test_plurals(count: int, english: str, indonesian: str) -> None:
    assert ENGLISH.translate("issues.count", count=count) == english
    assert INDONESIAN.translate("issues.count", count=count) == indonesian


def test_a_list_of_texts_and_messages() -> None:
    message = Message("issue.text", text=("a:1: late", NODES))
    assert ENGLISH.render(message) == "a:1: late; and 2 more nodes"
    assert INDONESIAN.render(message) == "a:1: late; dan 2 node lagi"


def test_a_figure_that_is_null_is_no_missing_text() -> None:
    """Of an answer of another program, which may have anything."""
    assert ENGLISH.translate("scaling.bounds", min=None, max=10) == "? to 10"  # type: ignore[arg-type]
    assert ENGLISH.known(Message("scaling.bounds", min=Message("issue.nowhere"), max=10)) is None


def test_a_missing_id_is_its_own_text_and_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"no text for Message\(id='issue.nowhere'"):
        assert INDONESIAN.translate("issue.nowhere") == "issue.nowhere"


def test_what_indonesian_lacks_is_in_english() -> None:
    partial = NullTranslations()
    partial.add_fallback(ENGLISH.catalog)
    assert Translator("id", partial).translate("issues.count", count=2) == "2 issues"


@pytest.mark.parametrize(
    "message",
    [
        Message("issue.nowhere"),
        Message("issues.count"),
        Message("issues.none", count=2),
        Message("issues.threshold", limit="0"),
        Message("page.rows", first="a", last=2, count=3),
        Message("issue.text", text=Message("issue.nowhere")),
        Message("issue.text", text=("a", Message("issue.nowhere"))),
    ],
)
def test_a_message_that_this_version_does_not_know(message: Message) -> None:
    assert ENGLISH.known(message) is None


texts = st.text(max_size=5)
parameters = st.one_of(texts, st.integers(), st.floats(allow_nan=False))
messages = st.recursive(
    st.builds(lambda name, values: Message(name, **values), texts, st.dictionaries(texts, parameters)),
    lambda inner: st.builds(
        lambda name, items, message: Message(name, items=tuple(items), message=message),
        texts,
        st.lists(st.one_of(texts, inner), max_size=3),
        inner,
    ),
    max_leaves=5,
)


@given(messages)
def test_a_message_survives_json(message: Message) -> None:
    assert message_from_json(json.loads(json.dumps(message.to_json()))) == message


@pytest.mark.parametrize(
    "data",
    [
        None,
        "issue.text",
        {},
        {"id": "issue.text"},
        {"id": 1, "parameters": {}},
        {"id": "issue.text", "parameters": []},
        {"id": "issue.text", "parameters": {"text": None}},
        {"id": "issue.text", "parameters": {"text": {"id": 1}}},
        {"id": "issue.text", "parameters": {"text": ["a", 1]}},
    ],
)
def test_what_is_not_a_message(data: object) -> None:
    assert message_from_json(data) is None


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (None, "en"),
        ("id", "id"),
        ("id-ID,id;q=0.9,en-US;q=0.8", "id"),
        ("en-US,en;q=0.9,id;q=0.8", "en"),
        ("fr,de;q=0.9", "en"),
        ("fr,id;q=0.1", "id"),
        ("id;q=0", "en"),
        ("id;q=x, en;q=0.1", "en"),
        ("," * 1000, "en"),
    ],
)
def test_the_language_of_a_browser(accept: str | None, language: str) -> None:
    assert preferred(accept) == language


def test_the_language_of_a_shell() -> None:
    assert of_locale({"LANG": "id_ID.UTF-8"}) == "id"
    assert of_locale({"LANG": "id_ID.UTF-8", "LC_ALL": "C"}) == "en"
    assert of_locale({}) == "en"


def test_a_parameter_that_is_not_there_is_a_question_mark() -> None:
    nobody: Any = None  # as in the answer of another program
    text = ENGLISH.translate("scaling.overridden", target="mail", count=5, author=nobody, reason="a")
    assert text == "mail: 5 workers, by ?: a"
