"""The manifests as kubectl renders them."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[3]
OVERLAYS: Final = (
    "base",
    "overlays/sample",
    "overlays/prometheus-operator",
    "overlays/shards",
    "overlays/everything",
    "overlays/scaled-queues",
    "overlays/external-metrics",
)


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """All objects of an overlay. They are shared: change none."""
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run(
        [kubectl, "kustomize", ROOT / "deploy" / "kubernetes" / overlay],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return tuple(yaml.safe_load_all(done.stdout))


def of(overlay: str, kind: str) -> list[dict[str, Any]]:
    """The objects of a kind."""
    return [manifest for manifest in rendered(overlay) if manifest["kind"] == kind]


def named(overlay: str, kind: str, name: str) -> dict[str, Any]:
    """The first object whose name begins with `name`."""
    return next(manifest for manifest in of(overlay, kind) if manifest["metadata"]["name"].startswith(name))
