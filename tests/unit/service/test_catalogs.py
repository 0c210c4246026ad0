"""Both catalogs have exactly the messages that the code uses, with its parameters, and are compiled."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Final

import pytest
from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from service.i18n import LANGUAGES, Language

ROOT: Final = Path(__file__).parents[3]
LOCALE: Final = ROOT / "service" / "locale"
CALLS: Final = frozenset({"Message", "translate"})
ID: Final = re.compile(r"[a-z_]+(\.[a-z0-9_]+)+")


def catalog(language: Language) -> Catalog:
    with (LOCALE / language / "LC_MESSAGES" / "oxherd.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


CATALOGS: Final = {language: catalog(language) for language in LANGUAGES}


def id_of(entry: Entry) -> str:
    return entry.id if isinstance(entry.id, str) else entry.id[0]


def entries(language: Language) -> dict[str, Entry]:
    return {id_of(entry): entry for entry in CATALOGS[language] if entry.id}


def forms(entry: Entry) -> tuple[str, ...]:
    return (entry.string,) if isinstance(entry.string, str) else tuple(entry.string or ())


def parameters(entry: Entry) -> set[str]:
    return {name for form in forms(entry) for _, name, _, _ in Formatter().parse(form) if name is not None}


ENGLISH: Final = entries("en")
SAME: Final = frozenset(
    {
        "endpoint.ok",
        "host.cpu",
        "host.disk",
        "page.host",
        "summary.failovers",
        "table.endpoint",
        "table.host",
        "issue.queue_time",
        "issue.text",
        "page.column.endpoint",
        "page.column.lag",
        "page.column.node",
        "page.column.target",
        "page.column.thread",
        "page.redis",
        "plan.column.min",
        "plan.column.slo",
        "plan.slo",
        "table.lag",
        "table.node",
        "table.shard",
        "table.target",
    }
)
NAMESPACES: Final = frozenset(name.partition(".")[0] for name in ENGLISH)


def trees() -> Iterator[ast.AST]:
    for package in ("exporter", "scaler", "service"):
        for path in (ROOT / package).rglob("*.py"):
            yield ast.parse(path.read_text())


def called(node: ast.Call) -> str:
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def uses() -> tuple[dict[str, list[set[str]]], set[str]]:
    """Ids that are passed to a message or a translator with the parameters' names of each such call; and all
    ids, with those of declared tables."""
    calls: dict[str, list[set[str]]] = {}
    ids = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and ID.fullmatch(node.value):
                ids.add(node.value)
            if isinstance(node, ast.Call) and called(node) in CALLS and node.args:
                (argument,) = node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    names = {str(keyword.arg) for keyword in node.keywords}
                    calls.setdefault(argument.value, []).append(names)
    return calls, calls.keys() | {name for name in ids if name.partition(".")[0] in NAMESPACES}


CALLED, USED = uses()


def test_the_uses_are_found() -> None:
    assert len(CALLED) > 100
    assert {"issue.redis_unreachable.title", "page.link.metrics", "table.wait_p95"} <= USED
    assert "page.link.metrics" not in CALLED, "declared in a table"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalog_has_what_the_code_uses_and_nothing_else(language: Language) -> None:
    assert set(entries(language)) == USED
    assert not CATALOGS[language].obsolete


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_empty_or_fuzzy(language: Language) -> None:
    assert not [name for name, entry in entries(language).items() if entry.fuzzy or not all(forms(entry))]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_parameters_are_those_of_the_code(language: Language) -> None:
    texts = {name: parameters(entry) for name, entry in entries(language).items()}
    assert texts == {name: CALLED.get(name, [set()])[0] for name in USED}
    assert all(names == texts[name] for name, calls in CALLED.items() for names in calls)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_with_a_count_has_every_plural_form(language: Language) -> None:
    for name, entry in entries(language).items():
        assert entry.pluralizable == ("count" in parameters(entry)), name
        if "count" in parameters(entry):
            assert set(entry.id) == {name}
            assert len(forms(entry)) == CATALOGS[language].num_plurals


def test_indonesian_is_translated() -> None:
    """SAME has the terms that Indonesian takes from English, and the frame that has no words."""
    same = {name for name, entry in entries("id").items() if set(forms(entry)) & set(forms(ENGLISH[name]))}
    assert same == SAME


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_read_is_what_the_catalog_compiles_to(language: Language) -> None:
    with (LOCALE / language / "LC_MESSAGES" / "oxherd.mo").open("rb") as file:
        compiled = read_mo(file)
    texts = {id_of(entry): (entry.pluralizable, forms(entry)) for entry in compiled if entry.id}
    source = {name: (entry.pluralizable, forms(entry)) for name, entry in entries(language).items()}
    assert texts == source, "run make translations"
    assert compiled.plural_forms == CATALOGS[language].plural_forms
