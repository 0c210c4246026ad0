"""Objects of the API server in memory: workloads, their scale and owners, their pods."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from tests.support.kubernetes.patches import Json
from tests.support.kubernetes.rollouts import TEMPLATE, template_hash


def scale_of(workload: Json) -> Json:
    meta, replicas = workload["metadata"], workload["spec"].get("replicas", 0)
    fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    labels = workload["spec"].get("selector", {}).get("matchLabels", {})
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in fields if key in meta},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {
            "replicas": workload.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        },
    }


def own_replicas(data: Json, manager: str, sub: str, replicas: int | None) -> None:
    """A change makes the writer the owner of the number. Through /scale: 0 has no owner, since the field is
    absent then; the entry has no time; of an object that was applied without a number nobody is the owner."""
    managed = data["metadata"].get("managedFields", [])
    entries = [entry for entry in managed if "f:replicas" not in entry["fieldsV1"].get("f:spec", {})]
    applied = [entry for entry in managed if entry["operation"] == "Apply"]
    entry: Json = {
        "manager": manager,
        "operation": "Apply" if sub in {"apply", "nobody"} else "Update",
        "apiVersion": "apps/v1",
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}} if sub != "nobody" else {"f:selector": {}}},
    }
    if sub == "scale":
        del entry["time"]
        entry["subresource"] = sub
    unowned = sub == "scale" and (not replicas or (applied and len(entries) == len(managed)))
    data["metadata"]["managedFields"] = entries if unowned else [*entries, entry]


def condition_of(pod: Json, kind: str) -> str:
    return next((entry["status"] for entry in pod["status"]["conditions"] if entry["type"] == kind), "")


def ready_seconds(pod: Json) -> float:
    """For how long it has been ready."""
    [ready] = [entry for entry in pod["status"]["conditions"] if entry["type"] == "Ready"]
    return seconds_since(ready["lastTransitionTime"])


def set_ready(pod: Json, *, started: bool) -> None:
    """Ready once its container has started, while all readiness gates are True."""
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates", ())]
    status = "True" if started and all(condition_of(pod, gate) == "True" for gate in gates) else "False"
    if started:
        pod["status"].setdefault(
            "containerStatuses",
            [{"name": "worker", "restartCount": 0, "state": {"running": {"startedAt": now()}}}],
        )
    if condition_of(pod, "Ready") != status:
        others = [entry for entry in pod["status"]["conditions"] if entry["type"] != "Ready"]
        ready = {"type": "Ready", "status": status, "lastTransitionTime": now()}
        pod["status"]["conditions"] = [*others, ready]


def pod_of(workload: Json, namespace: str) -> Json:
    name = f"{workload['metadata']['name']}-{uuid.uuid4().hex[:10]}"
    labels = workload["spec"].get("selector", {}).get("matchLabels", {})
    spec = workload["spec"].get("template", {}).get("spec", {})
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels) | {TEMPLATE: template_hash(workload)},
            "uid": str(uuid.uuid4()),
            "resourceVersion": "1",
            "creationTimestamp": now(),
            "ownerUid": workload["metadata"]["uid"],
        },
        "spec": {
            "readinessGates": spec.get("readinessGates", []),
            "terminationGracePeriodSeconds": spec.get("terminationGracePeriodSeconds", 30),
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}],
        },
    }


def without_version(data: Json) -> Json:
    meta = {key: value for key, value in data["metadata"].items() if key != "resourceVersion"}
    return (
        data
        | {"metadata": meta}
        | ({"status": None} if "spec" in data and "replicas" in data["spec"] else {})
    )


def seconds_since(text: str) -> float:
    """Seconds since a time as `now` writes it."""
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
