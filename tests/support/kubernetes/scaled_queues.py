"""ScaledQueues of a test's namespace, as people and GitOps tools make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaler.config.scaled_queue import API_VERSION, PLURAL
from tests.support.kubernetes.admin import Admin, Json

_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class ScaledQueueAdmin:
    admin: Admin

    def path(self, name: str = "", namespace: str = "") -> str:
        objects = f"/apis/{API_VERSION}/namespaces/{namespace or self.admin.namespace}/{PLURAL}"
        return f"{objects}/{name}" if name else objects

    def apply(self, name: str, **spec: Any) -> Json:
        """Server-side; the least that is needed is there."""
        body = {"apiVersion": API_VERSION, "kind": "ScaledQueue", "metadata": {"name": name}}
        whole = body | {"spec": {"targetRef": {"name": name}, "queues": [name]} | spec}
        return self.admin.ask("PATCH", f"{self.path(name)}?fieldManager=flux&force=true", whole, _APPLY)

    def annotate(self, name: str, **annotations: str | None) -> None:
        """`paused`, `override`, `override_until`; None removes one."""
        named = {f"oxherd.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.admin.ask("PATCH", self.path(name), {"metadata": {"annotations": named}}, _MERGE)

    def get(self, name: str) -> Json:
        return self.admin.ask("GET", self.path(name))

    def delete(self, name: str) -> None:
        self.admin.ask("DELETE", self.path(name))

    def status(self, name: str) -> Json:
        status: Json = self.get(name).get("status", {})
        return status

    def condition(self, name: str, kind: str) -> Json:
        """Empty if it is not there."""
        conditions = self.status(name).get("conditions", [])
        return next((entry for entry in conditions if entry["type"] == kind), {})

    def events(self, name: str) -> list[str]:
        """The reasons of its Events, the oldest first."""
        return [
            event["reason"]
            for event in self.admin.events()
            if event["involvedObject"]["kind"] == "ScaledQueue" and event["involvedObject"]["name"] == name
        ]
