"""What decides how many workers are needed, by name. Adding a policy is adding a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from scaler.decision.policies.base import Policy
from scaler.decision.policies.threshold import Threshold
from scaler.decision.policies.wait_target import WaitTarget

POLICIES: Final[Mapping[str, Policy[Any]]] = {"wait_target": WaitTarget(), "threshold": Threshold()}
