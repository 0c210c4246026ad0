"""The release's list of parts (SBOM) in CycloneDX JSON: what requirements/image.txt pins, which is what runs.

    python -m tools.sbom VERSION TIME       prints it; TIME is that of the commit, in ISO 8601

Licenses, and what needs what, are read from the packages that are installed in these versions here.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements" / "image.txt"
EXTRAS: Final = ("kubernetes",)
"""Extras of ours that the image has."""

_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^ \\;]+)", re.MULTILINE)


def pinned(lock: str) -> dict[str, str]:
    """Version by normalized name, of a requirements file in which everything is pinned."""
    return {str(canonicalize_name(name)): version for name, version in _PIN.findall(lock)}


def bill_of_materials(version: str, lock: str, time: str) -> dict[str, Any]:
    """A CycloneDX 1.6 document of this version of Oxherd with the packages of `lock`; the same for the same
    arguments. Raises ValueError for a lock without packages, or a time that is none."""
    pins = pinned(lock)
    if not pins:
        raise ValueError("nothing is pinned")
    moment = datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ours = _reference("oxherd", version)
    application = {"type": "application", "bom-ref": ours, "name": "oxherd", "version": version, "purl": ours}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'{ours} {sorted(pins.items())}')}",
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "component": application | {"licenses": [{"license": {"id": "Apache-2.0"}}]},
        },
        "components": [_component(name, pins[name]) for name in sorted(pins)],
        "dependencies": [
            _dependencies(ours, _needs("oxherd", EXTRAS), pins),
            *(_dependencies(_reference(name, pins[name]), _needs(name), pins) for name in sorted(pins)),
        ],
    }


def _component(name: str, version: str) -> dict[str, Any]:
    reference = _reference(name, version)
    component = {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}
    installed = _installed(name)
    expression = installed.metadata.json.get("license_expression") if installed else None
    if installed and installed.version == version and expression:
        component["licenses"] = [{"expression": expression}]  # type: ignore[assignment]
    return component


def _dependencies(reference: str, needs: Iterator[str], pins: Mapping[str, str]) -> dict[str, Any]:
    on = sorted({_reference(name, pins[name]) for name in needs if name in pins})
    return {"ref": reference, "dependsOn": on}


def _needs(name: str, extras: tuple[str, ...] = ()) -> Iterator[str]:
    """The packages that an installed one requires here, of those that its extras add too."""
    installed = _installed(name)
    for text in (installed.requires or []) if installed else []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield str(canonicalize_name(requirement.name))


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _reference(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def main(arguments: list[str]) -> int:
    """The exit code: 2 for wrong arguments."""
    match arguments:
        case [version, time]:
            document = bill_of_materials(version, LOCK.read_text(), time)
            sys.stdout.write(json.dumps(document, indent=1) + "\n")
            return 0
    sys.stderr.write("usage: python -m tools.sbom VERSION TIME\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
