"""The cluster that the tests use, and the names of the scaler's objects in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from scaler.kube.api import KubeApi

LEASE, STATE, ACCOUNT = "oxherd-scaler", "oxherd-scaler-state", "scaler"

KubeApiOf: TypeAlias = Callable[..., KubeApi]


def real_kubeconfig() -> str:
    """Never the ambient kubeconfig, which may be of a production cluster."""
    return os.environ.get("OXHERD_TEST_KUBECONFIG", "")
