"""Writes deploy/kubernetes/crd/scaledqueues.yaml from the scaler's settings, or compares it.

`python -m deploy.crd --write` and `--check`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import yaml

from deploy.crd.schema import definition

FILE: Final = Path(__file__).parents[1] / "kubernetes" / "crd" / "scaledqueues.yaml"
_HEAD: Final = (
    "# Written by python -m deploy.crd --write, from the scaler's settings. See docs/scaledqueues.md.\n"
)


class _Written(yaml.SafeDumper):
    """Without anchors: what is the same twice is written twice."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def text() -> str:
    """The file's text."""
    return _HEAD + yaml.dump(definition(), Dumper=_Written, sort_keys=False, width=130)


def main(arguments: list[str]) -> int:
    """The exit code: 0 when written or equal, 1 when it differs, 2 for wrong arguments."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m deploy.crd --check | --write", file=sys.stderr)
        return 2
    if arguments == ["--write"]:
        FILE.write_text(text())
        return 0
    if FILE.exists() and FILE.read_text() == text():
        return 0
    print(f"{FILE.name} differs from the settings: run python -m deploy.crd --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
