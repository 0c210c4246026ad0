from __future__ import annotations

import json
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.sbom import EXTRAS, LOCK, bill_of_materials, main, pinned

TIME = "2026-11-28T12:00:00+07:00"


def runtime_dependencies(name: str, extras: tuple[str, ...], found: dict[str, str]) -> dict[str, str]:
    """Version by name of what is installed because the package needs it."""
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            continue
        needed = str(canonicalize_name(requirement.name))
        if needed not in found:
            found[needed] = distribution(needed).version
            runtime_dependencies(needed, tuple(requirement.extras), found)
    return found


def test_it_names_every_runtime_dependency_that_is_installed() -> None:
    document = bill_of_materials("1.2.3", LOCK.read_text(), TIME)
    listed = {part["name"]: part["version"] for part in document["components"]}
    needed = runtime_dependencies("oxherd", EXTRAS, {})
    assert {"hiredis", "pydantic-core", "uvicorn", "kubernetes", "bcrypt"} <= needed.keys()
    assert needed.items() <= listed.items()


def test_it_is_what_the_image_installs() -> None:
    document = bill_of_materials("1.2.3", LOCK.read_text(), TIME)
    lines = [line for line in LOCK.read_text().splitlines() if "==" in line]
    assert len(document["components"]) == len(lines) == len(pinned(LOCK.read_text()))
    references = [part["bom-ref"] for part in document["components"]]
    assert len(set(references)) == len(references)
    known = {*references, document["metadata"]["component"]["bom-ref"]}
    for entry in document["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= known
    ours = next(entry for entry in document["dependencies"] if entry["ref"] == "pkg:pypi/oxherd@1.2.3")
    assert {on.rpartition("@")[0] for on in ours["dependsOn"]} >= {"pkg:pypi/hiredis", "pkg:pypi/kubernetes"}
    assert document["metadata"]["timestamp"] == "2026-11-28T05:00:00Z"


def test_the_same_release_has_the_same_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["1.2.3", TIME]), main(["1.2.3", TIME])] == [0, 0]
    printed = capsys.readouterr().out
    assert printed[: len(printed) // 2] == printed[len(printed) // 2 :]
    assert json.loads(printed[: len(printed) // 2])["bomFormat"] == "CycloneDX"


def test_wrong_arguments_and_an_empty_lock(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1.2.3"]) == 2
    assert capsys.readouterr().err == "usage: python -m tools.sbom VERSION TIME\n"
    with pytest.raises(ValueError, match="nothing is pinned"):
        bill_of_materials("1.2.3", "# empty\n", TIME)
