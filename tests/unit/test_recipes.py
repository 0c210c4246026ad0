"""The recipes of CONTRIBUTING.md against the code: each names every file that its example is in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^### (.+?)\n\n(.+?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL))
FOLDERS = ("exporter", "scaler", "service", "deploy", "bench", "docs", "tests")
PROSE = ("docs/", "tests/fixtures/")  # named, but not by a word that only they would contain


def examples(recipe: str) -> re.Pattern[str]:
    """The words of `As ...`, whole."""
    words = re.findall(r"`([^`]+)`", re.findall(r"^As (.+?)\.(?: |$)", recipe, re.MULTILINE)[0])
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words))


def named_files(recipe: str) -> set[str]:
    return set(re.findall(r"`([\w./-]+\.(?:py|md|json|ya?ml|po|mo|acl|mjs|txt|svg))`", recipe))


def files_with(pattern: re.Pattern[str]) -> set[str]:
    return {
        str(file.relative_to(ROOT))
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
        and not {"__pycache__", "node_modules"} & set(file.parts)
        and pattern.search(file.read_bytes().decode(errors="replace"))
    }


def test_there_is_a_recipe_for_each_kind_of_thing() -> None:
    kinds = ["series", "source", "health issue", "text", "policy", "guard", "target", "command", "alert"]
    kinds += ["API action", "condition"]
    assert not [kind for kind in kinds if not any(f" {kind}" in title for title in RECIPES)]


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_names_every_file(title: str) -> None:
    named, with_example = named_files(RECIPES[title]), files_with(examples(RECIPES[title]))
    unnamed = {file for file in with_example - named if not file.startswith("tests/")}
    assert unnamed == set()
    unrelated = {file for file in named - with_example if not file.startswith(PROSE)}
    others = {
        file for file in unrelated if re.search(rf"(?:of .+?: .*`{file}`|`{file}` reads)", RECIPES[title])
    }
    assert unrelated - others == set()
    assert not [file for file in named if not (ROOT / file).is_file()]
