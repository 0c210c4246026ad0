"""A test's operations as an administrator of the cluster, over the same HTTP as all clients."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from tests.support.kubernetes.front import Front

Json: TypeAlias = dict[str, Any]

_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_GATE = "oxherd.test/ready"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


class RefusedError(Exception):
    """The server's status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status


@dataclass(frozen=True)
class Admin:
    """Works in the test's own namespace."""

    front: Front
    namespace: str
    image: str
    settles: float = 0.0  # seconds until a changed role applies everywhere

    def ask(
        self, method: str, path: str, body: object = None, content: str = _JSON, agent: str = "admin"
    ) -> Json:
        """One request without injected faults. Raises RefusedError."""
        headers = {"Content-Type": content, "User-Agent": agent}
        data = b"" if body is None else json.dumps(body).encode()
        status, _, reply = self.front.backend(method, path, headers, data)
        document: Json = json.loads(reply if isinstance(reply, bytes) else b"".join(reply))
        if status >= 300:
            raise RefusedError(status, str(document.get("message")))
        return document

    # --- workloads -----------------------------------------------------------------------------------------

    def workload(
        self,
        name: str,
        replicas: int | None,
        kind: str = "Deployment",
        *,
        gated: bool = False,
        manager: str | None = None,
        api_version: str = "apps/v1",
        grace: int = 0,
        **spec_of: Any,
    ) -> Json:
        """Create a workload whose pods do nothing, and take `grace` seconds to end. `gated`: a pod is ready
        while `gate` has opened it; `manager`: by server-side apply; `spec_of`: more fields of its spec."""
        path = self._workloads(kind, api_version)
        labels = {"app": name}
        spec: Json = {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": grace,
                    "containers": [{"name": "worker", "image": self.image, "command": ["sleep", "86400"]}],
                },
            },
        }
        if replicas is not None:
            spec["replicas"] = replicas
        if gated:
            spec["template"]["spec"]["readinessGates"] = [{"conditionType": _GATE}]
        if kind == "StatefulSet":
            spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
        spec |= spec_of
        body = {"metadata": {"name": name}, "spec": spec, "apiVersion": api_version, "kind": kind}
        if manager is not None:
            return self.ask("PATCH", f"{path}/{name}?fieldManager={manager}&force=true", body, _APPLY)
        return self.ask("POST", path, body)

    def get(self, name: str, kind: str = "Deployment", api_version: str = "apps/v1") -> Json:
        return self.ask("GET", f"{self._workloads(kind, api_version)}/{name}")

    def replicas(self, name: str, kind: str = "Deployment", api_version: str = "apps/v1") -> int:
        count: int = self.get(name, kind, api_version)["spec"].get("replicas", 0)
        return count

    def set_replicas(self, name: str, replicas: int, *, manager: str = "kubectl") -> None:
        """As `kubectl scale` does."""
        path = f"{self._workloads('Deployment')}/{name}/scale?fieldManager={manager}"
        self.ask("PATCH", path, {"spec": {"replicas": replicas}}, _MERGE)

    def change(self, name: str, spec: Json) -> None:
        """Merge into the spec of a Deployment; with another template a rollout begins."""
        self.ask("PATCH", f"{self._workloads('Deployment')}/{name}", {"spec": spec}, _MERGE)

    def roll_out(self, name: str, version: str = "2") -> None:
        """As `kubectl rollout restart` does."""
        self.change(name, {"template": {"metadata": {"annotations": {"oxherd.test/version": version}}}})

    def gate(self, name: str, *, ready: bool) -> None:
        """Open or close the gates of a workload's pods."""
        condition = {"type": _GATE, "status": "True" if ready else "False"}
        for pod in self.pods(name):
            others = [entry for entry in pod["status"].get("conditions", ()) if entry["type"] != _GATE]
            path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
            self.ask("PATCH", path, {"status": {"conditions": [*others, condition]}}, _MERGE)

    def delete_pod(self, name: str) -> None:
        """As a rollout or a drain does: another pod takes its place."""
        self.ask("DELETE", f"/api/v1/namespaces/{self.namespace}/pods/{name}")

    def budget(self, name: str, **spec: int | str) -> None:
        """A PodDisruptionBudget for the pods of a workload: `minAvailable` or `maxUnavailable`."""
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
        selector = {"matchLabels": {"app": name}}
        self.ask("POST", path, {"metadata": {"name": name}, "spec": {"selector": selector, **spec}})

    def evict(self, pod: str) -> bool:
        """As a drain does; False: a budget does not allow it."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        try:
            self.ask("POST", path, body)
        except RefusedError as error:
            if error.status != 429:
                raise
            return False
        return True

    def delete(self, name: str, kind: str = "Deployment") -> None:
        self.ask("DELETE", f"{self._workloads(kind)}/{name}")

    def pods(self, name: str) -> list[Json]:
        pods = self.ask("GET", f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=app%3D{name}")
        return [pod for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]]

    # --- custom resources ----------------------------------------------------------------------------------

    def define(self, definition: Json) -> None:
        """Apply a CustomResourceDefinition, and wait until the server serves it."""
        spec = definition["spec"]
        path = f"{_CRDS}/{definition['metadata']['name']}"
        self.ask("PATCH", f"{path}?fieldManager=admin&force=true", definition, _APPLY)
        listed = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        for _ in range(50):
            with suppress(RefusedError):
                self.ask("GET", listed)
                return
            time.sleep(0.2)
        raise TimeoutError(listed)

    def undefine(self, definition: Json) -> None:
        """Delete it, and all objects of its kind."""
        self.ask("DELETE", f"{_CRDS}/{definition['metadata']['name']}")

    # --- other controllers ---------------------------------------------------------------------------------

    def autoscaler(self, name: str, target: str) -> None:
        body = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "minReplicas": 1,
                "maxReplicas": 5,
            },
        }
        self.ask("POST", self._hpas(), body)

    def remove_autoscaler(self, name: str) -> None:
        self.ask("DELETE", f"{self._hpas()}/{name}")

    def has_keda(self) -> bool:
        """Whether the server has ScaledObjects."""
        try:
            self.ask("GET", f"/apis/keda.sh/v1alpha1/namespaces/{self.namespace}/scaledobjects")
        except RefusedError as error:
            if error.status != 404:
                raise
            return False
        return True

    # --- the scaler's objects ------------------------------------------------------------------------------

    def config_map(self, name: str) -> Json:
        return self.ask("GET", f"/api/v1/namespaces/{self.namespace}/configmaps/{name}")

    def edit_config_map(self, name: str, data: Json) -> Json:
        """As `kubectl edit` does."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{name}"
        return self.ask("PATCH", path, {"data": data}, _MERGE)

    def delete_config_map(self, name: str) -> None:
        self.ask("DELETE", f"/api/v1/namespaces/{self.namespace}/configmaps/{name}")

    def lease(self, name: str) -> Json:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{name}"
        return self.ask("GET", path)

    def events(self) -> list[Json]:
        """The scaler's events, the oldest first."""
        items = self.ask("GET", f"/api/v1/namespaces/{self.namespace}/events")["items"]
        events = [event for event in items if event.get("reportingComponent") == "oxherd-scaler"]
        return sorted(events, key=lambda event: int(event["metadata"]["resourceVersion"]))

    # --- permissions ---------------------------------------------------------------------------------------

    def account(self, name: str, rules: Sequence[Json]) -> str:
        """A service account with these rules; its token."""
        accounts = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        self.ask("POST", accounts, {"metadata": {"name": name}})
        self.ask("POST", self._rbac("roles"), {"metadata": {"name": name}, "rules": list(rules)})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        }
        self.ask("POST", self._rbac("rolebindings"), binding)
        return self._token(name)

    def new_account(self, name: str) -> str:
        """Delete the account and make it again, so that its tokens are refused; a new token."""
        accounts = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        self.ask("DELETE", f"{accounts}/{name}")
        self.ask("POST", accounts, {"metadata": {"name": name}})
        time.sleep(self.settles)
        return self._token(name)

    def _token(self, name: str) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token: str = self.ask("POST", path, request)["status"]["token"]
        return token

    def rules(self, name: str, rules: Sequence[Json]) -> None:
        """Set the rules of the account."""
        path = f"{self._rbac('roles')}/{name}"
        self.ask("PATCH", path, {"rules": list(rules)}, _MERGE)
        time.sleep(self.settles)  # a real server does not say when; 0 with the fake

    def kubeconfig(self, file: Path, token: str, *, server: str | None = None) -> str:
        """Write a kubeconfig for the front; its path."""
        named = {"cluster": {"server": server or self.front.url}, "name": "test"}
        context = {"cluster": "test", "user": "test", "namespace": self.namespace}
        data = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [named],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        file.write_text(yaml.safe_dump(data))
        return str(file)

    def _workloads(self, kind: str, api_version: str = "apps/v1") -> str:
        return f"/apis/{api_version}/namespaces/{self.namespace}/{kind.lower()}s"

    def _hpas(self) -> str:
        return f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers"

    def _rbac(self, resource: str) -> str:
        return f"{_RBAC}/namespaces/{self.namespace}/{resource}"
