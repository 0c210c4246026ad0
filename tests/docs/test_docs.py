from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.metrics.families import FAMILIES
from tools.docs import __main__ as docs

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))


@pytest.mark.parametrize("name", docs.PAGES)
def test_a_generated_page_matches_the_declarations(name: str) -> None:
    assert (docs.DOCS / name).read_text() == docs.PAGES[name](), "run make docs"


def test_every_family_has_its_row() -> None:
    page = docs.PAGES["metrics.md"]()
    assert [family.name for family in FAMILIES if f"| `{family.name}` |" not in page] == []


@pytest.mark.parametrize("name", [name for name in docs.PAGES if name.endswith(".md")])
def test_prose_of_a_generated_page_fits_140_columns(name: str) -> None:
    lines = docs.PAGES[name]().splitlines()
    assert [line for line in lines if len(line) > 140 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_every_page_is_reached_from_the_readme_by_its_links() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#:]+\.md)", page.read_text())
            left += [(page.parent / link).resolve() for link in links]
    assert [page for page in PAGES if page not in reached] == []


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md"]
    assert [page for page in pages if f"({page})" not in index] == []


def test_the_readme_names_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    named |= set(re.findall(r"^make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_wrong_arguments_print_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--write"]) == 2
    assert capsys.readouterr().err == "usage: python -m tools.docs [--check]\n"


def test_check_names_the_pages_that_differ_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs, "DOCS", tmp_path / "docs")
    assert docs.main(["--check"]) == 1
    assert not (tmp_path / "docs").exists()
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    capsys.readouterr()
    (tmp_path / "docs" / "scaler-metrics.md").write_text("")
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/scaler-metrics.md differs from the declarations: run make docs\n"
