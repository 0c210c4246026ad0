"""A small API server with the semantics that matter to writing clients: versions, patches, owners, roles.

`FakeApi.answer` is one request; `Front` of front.py serves it over HTTP. Deployments get pods that
are ready after a while, as in a cluster with nodes. Its behaviour was observed on a real server, or is
documented.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from service.clock import monotonic
from tests.support.kubernetes.fake_objects import (
    condition_of,
    now,
    own_replicas,
    pod_of,
    scale_of,
    set_ready,
    without_version,
)
from tests.support.kubernetes.patches import Json, RefusedError, merged, patched, read_object

Answer: TypeAlias = tuple[int, Mapping[str, str], bytes]

_KINDS: Final = {
    ("", "namespaces"): "Namespace",
    ("", "pods"): "Pod",
    ("", "configmaps"): "ConfigMap",
    ("", "events"): "Event",
    ("", "serviceaccounts"): "ServiceAccount",
    ("apps", "deployments"): "Deployment",
    ("apps", "statefulsets"): "StatefulSet",
    ("autoscaling", "horizontalpodautoscalers"): "HorizontalPodAutoscaler",
    ("coordination.k8s.io", "leases"): "Lease",
    ("rbac.authorization.k8s.io", "roles"): "Role",
    ("rbac.authorization.k8s.io", "rolebindings"): "RoleBinding",
    ("keda.sh", "scaledobjects"): "ScaledObject",
}
_VERSIONS: Final = {
    "": "v1",
    "apps": "apps/v1",
    "autoscaling": "autoscaling/v2",
    "coordination.k8s.io": "coordination.k8s.io/v1",
    "rbac.authorization.k8s.io": "rbac.authorization.k8s.io/v1",
    "keda.sh": "keda.sh/v1alpha1",
}
_PATH: Final = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"/namespaces(?:/(?P<namespace>[^/]+)(?:/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?)?)?$"
)
_APPLY: Final = "application/apply-patch+yaml"


class FakeApi:
    """All objects are in memory. `keda`: ScaledObjects exist; pods are ready after `start_seconds`, and while
    each of their readiness gates is True."""

    def __init__(self, *, keda: bool = False, start_seconds: float = 0.0) -> None:
        self.keda = keda
        self.start_seconds = start_seconds
        self._lock = threading.RLock()
        self._objects: dict[tuple[str, str, str], dict[str, Json]] = {}
        self._version = 100
        self._ready_at: dict[str, float] = {}
        self._owned: dict[str, list[str]] = {}  # names of pods by owner: a thousand workloads stay cheap

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request. Without a bearer token it is an administrator's."""
        split = urlsplit(target)
        with self._lock:
            try:
                data = self._route(method, split.path, parse_qs(split.query), headers, body)
            except RefusedError as error:
                return _json(
                    error.status,
                    {
                        "kind": "Status",
                        "apiVersion": "v1",
                        "status": "Failure",
                        "reason": error.reason,
                        "message": str(error),
                        "code": error.status,
                    },
                )
            return _json(201 if method == "POST" else 200, data)

    # --- routes --------------------------------------------------------------------------------------------

    def _route(
        self, method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> Json:
        match = _PATH.match(path)
        if not match:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        part = {key: unquote(value) for key, value in match.groupdict().items() if value}
        group, namespace = part.get("group", ""), part.get("namespace", "")
        resource, name, sub = part.get("resource", "namespaces"), part.get("name", ""), part.get("sub", "")
        if resource == "namespaces":
            name, namespace = namespace, ""
        verb, key = _verb(method, name), (group, resource, namespace)
        self._authorize(headers.get("Authorization", ""), verb, key, name, sub)  # before it says what it has
        supported = (group, resource) in _KINDS and (group != "keda.sh" or self.keda)
        if not supported or part.get("version", "v1") != _VERSIONS[group].rpartition("/")[2]:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        content = headers.get("Content-Type", "").partition(";")[0].strip()
        dry = "All" in query.get("dryRun", [])
        manager = query.get("fieldManager", [headers.get("User-Agent", "").partition("/")[0] or "unknown"])[0]
        match verb, sub:
            case "list", "":
                return self._list(key, query)
            case "create", "":
                return self._create(key, read_object(body), manager, dry=dry)
            case "create", "token":
                uid = self._object(key, name)["metadata"]["uid"]
                return {"kind": "TokenRequest", "status": {"token": f"{namespace}:{name}:{uid}"}}
            case "get", "":
                return copy.deepcopy(self._object(key, name))
            case "get", "scale":
                return scale_of(self._object(key, name))
            case "update", "":
                return self._update(key, name, read_object(body), manager, dry=dry)
            case "patch", "" if content == _APPLY:
                return self._apply(key, name, read_object(body), manager, dry=dry)
            case "patch", "" | "status":
                data = patched(self._object(key, name), content, body)
                return self._update(key, name, data, manager, dry=dry)
            case "patch", "scale":
                return self._patch_scale(key, name, content, body, manager, dry=dry)
            case "delete", "":
                return self._delete(key, name)
        raise RefusedError(405, "MethodNotAllowed", "the server does not allow this method")

    def _list(self, key: tuple[str, str, str], query: Mapping[str, list[str]]) -> Json:
        selector = query.get("labelSelector", [""])[0]
        items = [
            item
            for _, item in sorted(self._objects.get(key, {}).items())
            if _selected(item["metadata"].get("labels", {}), selector)
        ]
        limit, begin = int(query.get("limit", ["0"])[0]), int(query.get("continue", ["0"])[0])
        page = items[begin : begin + limit] if limit else items
        more = {"continue": str(begin + limit)} if limit and begin + limit < len(items) else {}
        kind = f"{_KINDS[key[:2]]}List"
        meta = {"resourceVersion": str(self._version)} | more
        items = copy.deepcopy(page)
        return {"kind": kind, "apiVersion": _VERSIONS[key[0]], "metadata": meta, "items": items}

    def _apply(self, key: tuple[str, str, str], name: str, data: Json, manager: str, *, dry: bool) -> Json:
        """Server-side apply, of a body that is JSON. A field that is absent stays, and gets no owner."""
        if name not in self._objects.get(key, {}):
            return self._create(key, data, manager, dry=dry, applied=True)
        whole = merged(self._object(key, name), data)
        return self._update(key, name, whole, manager, dry=dry, applied="replicas" in data.get("spec", {}))

    def _create(
        self, key: tuple[str, str, str], data: Json, manager: str, *, dry: bool, applied: bool = False
    ) -> Json:
        name = data.get("metadata", {}).get("name", "")
        objects = self._objects.setdefault(key, {})
        if name in objects:
            raise RefusedError(409, "AlreadyExists", f'{key[1]} "{name}" already exists')
        if key[1] != "namespaces" and key[2] not in self._objects.get(("", "namespaces", ""), {}):
            raise RefusedError(404, "NotFound", f'namespaces "{key[2]}" not found')
        data.setdefault("kind", _KINDS[key[:2]])
        data.setdefault("apiVersion", _VERSIONS[key[0]])
        data["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "namespace": key[2]}
        owns = "replicas" in data.get("spec", {}) or not applied
        if key[1] in {"deployments", "statefulsets"}:
            data["spec"].setdefault("replicas", 1)
        self._validate(key, data)
        sub = "apply" if applied and owns else "" if owns else "nobody"
        return self._stored(key, data, None, manager, dry=dry, sub=sub)

    def _update(
        self,
        key: tuple[str, str, str],
        name: str,
        data: Json,
        manager: str,
        *,
        dry: bool,
        applied: bool = False,
    ) -> Json:
        old = self._object(key, name)
        version = data.get("metadata", {}).get("resourceVersion")
        if version is not None and version != old["metadata"]["resourceVersion"]:
            why = "the object has been modified; please apply your changes to the latest version"
            raise RefusedError(409, "Conflict", f'Operation cannot be fulfilled on {key[1]} "{name}": {why}')
        data["metadata"] = old["metadata"] | data["metadata"]
        self._validate(key, data)
        return self._stored(key, data, old, manager, dry=dry, sub="apply" if applied else "")

    def _patch_scale(
        self, key: tuple[str, str, str], name: str, content: str, body: bytes, manager: str, *, dry: bool
    ) -> Json:
        old = self._object(key, name)
        scale = patched(scale_of(old), content, body)
        version = scale["metadata"].get("resourceVersion")
        if version != old["metadata"]["resourceVersion"]:
            raise RefusedError(409, "Conflict", f'Operation cannot be fulfilled on {key[1]} "{name}"')
        data = copy.deepcopy(old)
        data["spec"]["replicas"] = (scale.get("spec") or {}).get("replicas") or 0
        self._validate(key, data)
        return scale_of(self._stored(key, data, old, manager, sub="scale", dry=dry))

    def _delete(self, key: tuple[str, str, str], name: str) -> Json:
        stored = self._object(key, name)
        del self._objects[key][name]
        if key[1] == "namespaces":
            self._objects = {at: objects for at, objects in self._objects.items() if at[2] != name}
        if key[1] in {"deployments", "statefulsets"}:
            self._reconcile(key, stored | {"spec": stored["spec"] | {"replicas": 0}})
        return {"kind": "Status", "status": "Success"}

    # --- objects in memory ---------------------------------------------------------------------------------

    def _object(self, key: tuple[str, str, str], name: str) -> Json:
        try:
            stored = self._objects.get(key, {})[name]
        except KeyError:
            raise RefusedError(404, "NotFound", f'{key[1]} "{name}" not found') from None
        if key[1] in {"deployments", "statefulsets"}:
            self._reconcile(key, stored)
        return stored

    def _stored(
        self,
        key: tuple[str, str, str],
        data: Json,
        old: Json | None,
        manager: str,
        *,
        dry: bool,
        sub: str = "",
    ) -> Json:
        data = copy.deepcopy(data)
        before = (old or {}).get("spec", {}).get("replicas") if old else None
        after = data.get("spec", {}).get("replicas") if key[0] == "apps" else None
        if key[0] == "apps" and (before != after or sub == "apply"):
            own_replicas(data, manager, sub, after)
        if old is not None and without_version(data) == without_version(old):
            return copy.deepcopy(old)  # a write that changes nothing makes no new version
        self._version += 1
        data["metadata"]["resourceVersion"] = str(self._version)
        if not dry:
            self._objects.setdefault(key, {})[data["metadata"]["name"]] = data
            if key[0] == "apps":
                self._reconcile(key, data)
        return copy.deepcopy(data)

    def _validate(self, key: tuple[str, str, str], data: Json) -> None:
        replicas = data.get("spec", {}).get("replicas", 1) if key[0] == "apps" else 1
        if not isinstance(replicas, int) or replicas < 0:
            why = f"spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0"
            name = data["metadata"].get("name")
            raise RefusedError(422, "Invalid", f'{_KINDS[key[:2]]} "{name}" is invalid: {why}')
        if key[1] == "configmaps":
            texts = [*(data.get("data") or {}).values(), *(data.get("binaryData") or {}).values()]
            if any(not isinstance(text, str) for text in texts):
                raise RefusedError(400, "BadRequest", "ConfigMap in version v1 cannot be handled")
            if sum(len(text) for text in texts) > 1 << 20:
                raise RefusedError(422, "Invalid", "ConfigMap is invalid: Too long")

    # --- a cluster with nodes ------------------------------------------------------------------------------

    def _reconcile(self, key: tuple[str, str, str], workload: Json) -> None:
        """Create or delete pods; those with the lowest deletion cost go first, then the newest."""
        meta, spec = workload["metadata"], workload["spec"]
        place = ("", "pods", key[2])
        pods = self._objects.setdefault(place, {})
        names = self._owned.setdefault(meta["uid"], [])
        names[:] = [name for name in names if name in pods]
        mine = [pods[name] for name in names]
        replicas = spec.get("replicas", 0)
        for _ in range(replicas - len(mine)):
            pod = pod_of(workload, key[2])
            self._ready_at[pod["metadata"]["name"]] = monotonic() + self.start_seconds
            pods[pod["metadata"]["name"]] = pod
            names.append(pod["metadata"]["name"])
            mine.append(pod)
        cost = "controller.kubernetes.io/pod-deletion-cost"
        leaving = sorted(mine, key=lambda pod: int(pod["metadata"].get("annotations", {}).get(cost, 0)))
        for pod in leaving[: max(0, len(mine) - replicas)]:
            del pods[pod["metadata"]["name"]]
            mine.remove(pod)
        for pod in mine:
            set_ready(pod, started=monotonic() >= self._ready_at[pod["metadata"]["name"]])
        ready = sum(1 for pod in mine if condition_of(pod, "Ready") == "True")
        workload["status"] = {"replicas": replicas} | ({"readyReplicas": ready} if ready else {})

    # --- roles ---------------------------------------------------------------------------------------------

    def _authorize(
        self, authorization: str, verb: str, key: tuple[str, str, str], name: str, sub: str
    ) -> None:
        group, resource, namespace = key
        if not authorization:
            return
        home, account, uid = [*authorization.removeprefix("Bearer ").split(":"), "", ""][:3]
        known = self._objects.get(("", "serviceaccounts", home), {}).get(account)
        if known is None or known["metadata"]["uid"] != uid:  # an account that was made again has new tokens
            raise RefusedError(401, "Unauthorized", "Unauthorized")
        permission = f"{resource}/{sub}" if sub else resource
        for rule in self._rules(namespace, home, account):
            names = rule.get("resourceNames")
            if (
                verb in rule["verbs"]
                and group in rule["apiGroups"]
                and permission in rule["resources"]
                and (not names or name in names)
            ):
                return
        user = f"system:serviceaccount:{home}:{account}"
        what = f'{permission}{"." if group else ""}{group} "{name}" is forbidden'
        why = f'User "{user}" cannot {verb} resource "{permission}" in API group "{group}"'
        raise RefusedError(403, "Forbidden", f'{what}: {why} in the namespace "{namespace}"')

    def _rules(self, namespace: str, home: str, account: str) -> Iterable[Json]:
        bindings = self._objects.get(("rbac.authorization.k8s.io", "rolebindings", namespace), {})
        roles = self._objects.get(("rbac.authorization.k8s.io", "roles", namespace), {})
        for binding in bindings.values():
            subjects = binding.get("subjects") or []
            if any(
                subject["name"] == account and subject.get("namespace", namespace) == home
                for subject in subjects
            ):
                yield from roles.get(binding["roleRef"]["name"], {}).get("rules") or []


# --- requests ----------------------------------------------------------------------------------------------


def _selected(labels: Mapping[str, str], selector: str) -> bool:
    parts = [part.partition("=") for part in selector.split(",") if part]
    return all(labels.get(key) == value for key, _, value in parts)


def _verb(method: str, name: str) -> str:
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    return ("get" if name else "list") if method == "GET" else verbs[method]


def _json(status: int, data: Json) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()
