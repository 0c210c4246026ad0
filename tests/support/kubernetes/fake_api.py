"""A small API server with the semantics that matter to writing clients: versions, patches, owners, roles.

`FakeApi.answer` is one request; `Front` of front.py serves it over HTTP. Deployments get pods that
are ready after a while, as in a cluster with nodes. Its behaviour was observed on a real server, or is
documented.
"""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from itertools import compress
from operator import not_
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from service.clock import monotonic
from tests.support.kubernetes.custom import CustomResource
from tests.support.kubernetes.fake_objects import (
    condition_of,
    now,
    own_replicas,
    pod_of,
    ready_seconds,
    scale_of,
    set_ready,
    without_version,
)
from tests.support.kubernetes.patches import Json, RefusedError, merged, patched, read_object
from tests.support.kubernetes.resources import BUILT_IN, Address, Resource, address_of, discovery
from tests.support.kubernetes.roles import Objects, authorize
from tests.support.kubernetes.rollouts import (
    TEMPLATE,
    Counted,
    Rollout,
    evictions_allowed,
    plan,
    status_of,
    template_hash,
)
from tests.support.kubernetes.watching import Change, History

Answer: TypeAlias = tuple[int, Mapping[str, str], bytes | Iterator[bytes]]

_APPLY: Final = "application/apply-patch+yaml"
_ROLLED_OUT: Final = frozenset({"deployments", "rollouts"})
_LOOKS: Final = 100  # of a controller, one after another
_COST: Final = "controller.kubernetes.io/pod-deletion-cost"


class FakeApi:
    """All objects are in memory. `keda`: ScaledObjects exist; pods are ready after `start_seconds`, and while
    each of their readiness gates is True."""

    def __init__(self, *, keda: bool = False, start_seconds: float = 0.0) -> None:
        self.keda = keda
        self.start_seconds = start_seconds
        self._lock = threading.RLock()
        self._objects: dict[tuple[str, str, str], dict[str, Json]] = {}
        self._version = 100
        self._strict = False
        self._ready_at: dict[str, float] = {}
        self._owned: dict[str, list[str]] = {}  # names of pods by owner: a thousand workloads stay cheap
        self._leaving: dict[str, dict[str, float]] = {}  # terminating ones, and when they are gone
        self._rollouts: dict[str, Rollout] = {}
        self._custom: dict[tuple[str, str], CustomResource] = {}
        self.history = History(self._lock)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request. Without a bearer token it is an administrator's."""
        split = urlsplit(target)
        with self._lock:
            try:
                data = self._answer(method, split.path, parse_qs(split.query), headers, body)
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
            if isinstance(data, Iterator):
                return 200, {"Content-Type": "application/json"}, data
            return _json(201 if method == "POST" else 200, data)

    @property
    def objects(self) -> Objects:
        """All of them, by API group, resource and namespace."""
        return self._objects

    def expire(self) -> None:
        """Forget all earlier versions, as etcd's compaction does."""
        with self._lock:
            self._version += 1
            self.history.compact(self._version)

    # --- routes --------------------------------------------------------------------------------------------

    @property
    def _resources(self) -> list[Resource]:
        built_in = [resource for resource in BUILT_IN if resource.group != "keda.sh" or self.keda]
        return [*built_in, *(custom.resource for custom in self._custom.values())]

    def _answer(
        self, method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> Json | Iterator[bytes]:
        described = discovery(path, self._resources) if method == "GET" else None
        if described is not None:
            return described
        known = {resource.plural: resource for resource in (*BUILT_IN, *self._resources)}
        address = address_of(path, known.values())
        watch = method == "GET" and query.get("watch", ["false"])[0] in {"true", "1"}
        verb = "watch" if watch else _verb(method, address.name)
        token = headers.get("Authorization", "")
        authorize(self._objects, token, verb, address)  # before it says what it has
        if address.resource not in self._resources:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        custom = self._custom.get((address.resource.group, address.resource.plural))
        table = custom if custom and "as=Table" in headers.get("Accept", "") else None
        if watch:
            return self._watch(address, query, table)
        data = self._route(verb, address, query, headers, body)
        if table is None or verb not in {"get", "list"} or address.sub:
            return data
        return table.table(data.get("items", [data]), data["metadata"] if "items" in data else {})

    def _route(
        self,
        verb: str,
        address: Address,
        query: Mapping[str, list[str]],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Json:
        key, name, sub = address.key, address.name, address.sub
        if sub and sub not in address.resource.subresources:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        content = headers.get("Content-Type", "").partition(";")[0].strip()
        dry = "All" in query.get("dryRun", [])
        manager = query.get("fieldManager", [headers.get("User-Agent", "").partition("/")[0] or "unknown"])[0]
        self._strict = "Strict" in query.get("fieldValidation", [])
        match verb, sub:
            case "list", "":
                return self._list(address, query)
            case "create", "":
                return self._create(key, read_object(body), manager, dry=dry)
            case "create", "eviction":
                return self._evict(key, name)
            case "create", "token":
                uid = self._object(key, name)["metadata"]["uid"]
                return {"kind": "TokenRequest", "status": {"token": f"{address.namespace}:{name}:{uid}"}}
            case "get", "" | "status":
                return copy.deepcopy(self._object(key, name))
            case "get", "scale":
                return scale_of(self._object(key, name))
            case "update", "" | "status":
                return self._update(key, name, read_object(body), manager, dry=dry, sub=sub)
            case "patch", "" | "status" if content == _APPLY:
                return self._apply(key, name, read_object(body), manager, dry=dry, sub=sub)
            case "patch", "" | "status":
                data = patched(self._object(key, name), content, body)
                return self._update(key, name, data, manager, dry=dry, sub=sub)
            case "patch", "scale":
                return self._patch_scale(key, name, content, body, manager, dry=dry)
            case "delete", "":
                return self._delete(key, name)
        raise RefusedError(405, "MethodNotAllowed", "the server does not allow this method")

    def _places(self, address: Address) -> list[tuple[str, str, str]]:
        """Where its objects are: in its namespace, or in all."""
        if address.namespace or not address.resource.namespaced:
            return [address.key]
        return sorted(key for key in self._objects if key[:2] == address.key[:2])

    def _list(self, address: Address, query: Mapping[str, list[str]]) -> Json:
        items = [
            item
            for key in self._places(address)
            for _, item in sorted(self._objects.get(key, {}).items())
            if _selected(item, query)
        ]
        limit = int(query.get("limit", ["0"])[0])
        since, _, begun = query.get("continue", [f"{self._version}.0"])[0].partition(".")
        if int(since) < self.history.oldest:
            why = "The provided continue parameter is too old to display a consistent list result."
            raise RefusedError(410, "Expired", why)
        begin = int(begun)
        page = items[begin : begin + limit] if limit else items
        more = {"continue": f"{since}.{begin + limit}"} if limit and begin + limit < len(items) else {}
        return {
            "kind": f"{address.resource.kind}List",
            "apiVersion": address.resource.api_version,
            "metadata": {"resourceVersion": since} | more,
            "items": copy.deepcopy(page),
        }

    def _watch(
        self, address: Address, query: Mapping[str, list[str]], table: CustomResource | None
    ) -> Iterator[bytes]:
        def selected(change: Change) -> bool:
            here = change.key == address.key or (not address.namespace and change.key[:2] == address.key[:2])
            return here and _selected(change.data, query)

        def bookmark(version: int) -> Json:
            return {
                "kind": address.resource.kind,
                "apiVersion": address.resource.api_version,
                "metadata": {"resourceVersion": str(version)},
            }

        since = query.get("resourceVersion", [""])[0]
        return self.history.stream(
            selected,
            int(since) if since not in {"", "0"} else self._version,
            float(query.get("timeoutSeconds", ["600"])[0]),
            bookmarks=bookmark if query.get("allowWatchBookmarks", [""])[0] in {"true", "True"} else None,
            shown=(lambda data: data) if table is None else (lambda data: table.table([data], {})),
            initial=self._list(address, query)["items"] if "sendInitialEvents" in query else None,
        )

    def _apply(
        self, key: tuple[str, str, str], name: str, data: Json, manager: str, *, dry: bool, sub: str = ""
    ) -> Json:
        """Server-side apply, of a body that is JSON. A field that is absent stays, and gets no owner."""
        if name not in self._objects.get(key, {}):
            return self._create(key, data, manager, dry=dry, applied=True)
        whole = merged(self._object(key, name), data)
        applied = "replicas" in data.get("spec", {})
        return self._update(key, name, whole, manager, dry=dry, applied=applied, sub=sub)

    def _create(
        self, key: tuple[str, str, str], data: Json, manager: str, *, dry: bool, applied: bool = False
    ) -> Json:
        name = data.get("metadata", {}).get("name", "")
        objects = self._objects.setdefault(key, {})
        if name in objects:
            raise RefusedError(409, "AlreadyExists", f'{key[1]} "{name}" already exists')
        resource = self._resource(key)
        if resource.namespaced and key[2] not in self._objects.get(("", "namespaces", ""), {}):
            raise RefusedError(404, "NotFound", f'namespaces "{key[2]}" not found')
        data.setdefault("kind", resource.kind)
        data.setdefault("apiVersion", resource.api_version)
        data["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        data["metadata"] |= {"namespace": key[2]} if resource.namespaced else {}
        owns = "replicas" in data.get("spec", {}) or not applied
        if self._scales(key):
            data["spec"].setdefault("replicas", 1)
        data = self._validate(key, data, None, "")
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
        sub: str = "",
    ) -> Json:
        old = self._object(key, name)
        version = data.get("metadata", {}).get("resourceVersion")
        if version is not None and version != old["metadata"]["resourceVersion"]:
            why = "the object has been modified; please apply your changes to the latest version"
            raise RefusedError(409, "Conflict", f'Operation cannot be fulfilled on {key[1]} "{name}": {why}')
        data["metadata"] = old["metadata"] | data.get("metadata", {})
        data = self._validate(key, data, old, sub)
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
        data = self._validate(key, data, old, "scale")
        return scale_of(self._stored(key, data, old, manager, sub="scale", dry=dry))

    def _evict(self, key: tuple[str, str, str], name: str) -> Json:
        """As a drain asks for it; refused where a budget does not allow it."""
        pod = self._object(key, name)
        owned = next((names for names in self._owned.values() if name in names), [])
        pods = self._objects.get(key, {})
        healthy = sum(1 for other in owned if other in pods and condition_of(pods[other], "Ready") == "True")
        for budget in self._objects.get(("policy", "poddisruptionbudgets", key[2]), {}).values():
            labels = budget["spec"]["selector"]["matchLabels"].items()
            covers = all(pod["metadata"]["labels"].get(label) == value for label, value in labels)
            if covers and not evictions_allowed(budget, expected=len(owned), healthy=healthy):
                why = "Cannot evict pod as it would violate the pod's disruption budget."
                raise RefusedError(429, "TooManyRequests", why)
        return self._delete(key, name)

    def _delete(self, key: tuple[str, str, str], name: str) -> Json:
        stored = self._object(key, name)
        owner = stored["metadata"].get("ownerUid", "")
        if key[:2] == ("", "pods") and self._ends(key, stored, owner):
            return copy.deepcopy(stored)
        del self._objects[key][name]
        self._changed("DELETED", key, stored)
        if key[1] == "namespaces":
            gone = [
                (at, item) for at, items in self._objects.items() if at[2] == name for item in items.values()
            ]
            self._objects = {at: objects for at, objects in self._objects.items() if at[2] != name}
            for at, item in gone:
                self._changed("DELETED", at, item)
        if key[1] == "customresourcedefinitions":
            self._custom.pop((stored["spec"]["group"], stored["spec"]["names"]["plural"]), None)
        if self._scales(key):
            place, owner = ("", "pods", key[2]), stored["metadata"]["uid"]
            pods = self._objects.get(place, {})
            self._remove(place, [pods[one] for one in self._owned.get(owner, []) if one in pods], owner)
        return {"kind": "Status", "status": "Success"}

    # --- objects in memory ---------------------------------------------------------------------------------

    def _object(self, key: tuple[str, str, str], name: str) -> Json:
        try:
            stored = self._objects.get(key, {})[name]
        except KeyError:
            raise RefusedError(404, "NotFound", f'{key[1]} "{name}" not found') from None
        if self._scales(key):
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
        if self._scales(key) and key[:2] not in self._custom:
            generation = old["metadata"].get("generation", 1) if old else 0
            changed = old is None or old["spec"] != data["spec"]
            data["metadata"]["generation"] = generation + changed
        before = (old or {}).get("spec", {}).get("replicas") if old else None
        after = data.get("spec", {}).get("replicas") if self._scales(key) else None
        if self._scales(key) and (before != after or sub == "apply"):
            own_replicas(data, manager, sub, after)
        if old is not None and without_version(data) == without_version(old):
            return copy.deepcopy(old)  # a write that changes nothing makes no new version
        self._version += 1
        data["metadata"]["resourceVersion"] = str(self._version)
        if not dry:
            self._objects.setdefault(key, {})[data["metadata"]["name"]] = data
            if self._scales(key):
                self._reconcile(key, data)
            self.history.add(Change(self._version, "MODIFIED" if old else "ADDED", key, copy.deepcopy(data)))
            if key[1] == "customresourcedefinitions":
                custom = CustomResource(data)
                self._custom[custom.resource.group, custom.resource.plural] = custom
        return copy.deepcopy(data)

    def _changed(self, kind: str, key: tuple[str, str, str], data: Json) -> None:
        self._version += 1
        data = copy.deepcopy(data)
        data["metadata"]["resourceVersion"] = str(self._version)
        self.history.add(Change(self._version, kind, key, data))

    def _scales(self, key: tuple[str, str, str]) -> bool:
        """Whether it has replicas and pods, as a Deployment has them."""
        return "scale" in self._resource(key).subresources

    def _resource(self, key: tuple[str, str, str]) -> Resource:
        return next(resource for resource in self._resources if (resource.group, resource.plural) == key[:2])

    def _validate(self, key: tuple[str, str, str], data: Json, old: Json | None, sub: str) -> Json:
        """What is stored of it. Raises RefusedError."""
        if (custom := self._custom.get(key[:2])) is not None:
            return custom.admitted(data, old, sub, strict=self._strict)
        if key[1] == "customresourcedefinitions":
            data["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        replicas = data.get("spec", {}).get("replicas", 1) if self._scales(key) else 1
        if not isinstance(replicas, int) or replicas < 0:
            why = f"spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0"
            name = data["metadata"].get("name")
            raise RefusedError(422, "Invalid", f'{self._resource(key).kind} "{name}" is invalid: {why}')
        if key[1] == "configmaps":
            texts = [*(data.get("data") or {}).values(), *(data.get("binaryData") or {}).values()]
            if any(not isinstance(text, str) for text in texts):
                raise RefusedError(400, "BadRequest", "ConfigMap in version v1 cannot be handled")
            if sum(len(text) for text in texts) > 1 << 20:
                raise RefusedError(422, "Invalid", "ConfigMap is invalid: Too long")
        return data

    # --- a cluster with nodes ------------------------------------------------------------------------------

    def _ends(self, place: tuple[str, str, str], pod: Json, owner: str) -> bool:
        """Whether the pod has a grace period, at whose end it will be gone; else it is gone at once."""
        meta = pod["metadata"]
        grace = pod["spec"].get("terminationGracePeriodSeconds", 0)
        if not grace or not owner:
            return False
        self._leaving.setdefault(owner, {}).setdefault(meta["name"], monotonic() + grace)
        if meta["name"] in self._owned.get(owner, ()):
            self._owned[owner].remove(meta["name"])
        meta.setdefault("deletionTimestamp", now())
        return True

    def _remove(self, place: tuple[str, str, str], pods: list[Json], owner: str) -> None:
        for pod in pods:
            if not self._ends(place, pod, owner):
                del self._objects[place][pod["metadata"]["name"]]

    def _reconcile(self, key: tuple[str, str, str], workload: Json) -> None:
        """Create or delete pods, and set the status. Of Deployments as their controller does: by rollouts."""
        place, owner = ("", "pods", key[2]), workload["metadata"]["uid"]
        pods = self._objects.setdefault(place, {})
        leaving = self._leaving.setdefault(owner, {})
        for name in [name for name, at in leaving.items() if monotonic() >= at]:
            del leaving[name]
            pods.pop(name, None)
        rollout = self._rollouts.setdefault(owner, Rollout())
        template = template_hash(workload) if key[1] in _ROLLED_OUT else ""
        for _ in range(_LOOKS):
            new, old = self._pods_of(place, workload, template)
            counted = self._counted(workload, new), self._counted(workload, old)
            planned = plan(workload["spec"], rollout, *counted, leaving=len(leaving))
            if (planned.new, planned.old) == (0, 0):
                break
            self._change(place, workload, new, planned.new)
            self._change(place, workload, old, planned.old)
        new, old = self._pods_of(place, workload, template)
        workload["status"] = status_of(
            workload,
            rollout,
            self._counted(workload, new),
            self._counted(workload, old),
            ready=sum(1 for pod in [*new, *old] if condition_of(pod, "Ready") == "True"),
            leaving=len(leaving),
            now=monotonic(),
        )
        if not template:
            del workload["status"]["terminatingReplicas"], workload["status"]["conditions"]

    def _pods_of(
        self, place: tuple[str, str, str], workload: Json, template: str
    ) -> tuple[list[Json], list[Json]]:
        """Those of its template, and the others."""
        pods = self._objects.setdefault(place, {})
        names = self._owned.setdefault(workload["metadata"]["uid"], [])
        names[:] = [name for name in names if name in pods]
        mine = [pods[name] for name in names]
        for pod in mine:
            set_ready(pod, started=monotonic() >= self._ready_at[pod["metadata"]["name"]])
        is_new = [template in {"", pod["metadata"]["labels"].get(TEMPLATE)} for pod in mine]
        return list(compress(mine, is_new)), list(compress(mine, map(not_, is_new)))

    def _counted(self, workload: Json, pods: list[Json]) -> Counted:
        least = workload["spec"].get("minReadySeconds", 0)
        ready = [pod for pod in pods if condition_of(pod, "Ready") == "True"]
        return Counted(len(pods), sum(1 for pod in ready if not least or ready_seconds(pod) >= least))

    def _change(self, place: tuple[str, str, str], workload: Json, pods: list[Json], number: int) -> None:
        """Those that are not ready go first, then those with the lowest deletion cost, then the newest."""
        owner = workload["metadata"]["uid"]
        newest_first = pods[::-1]
        newest_first.sort(key=_going)
        self._remove(place, newest_first[: max(0, -number)], owner)
        for _ in range(number):
            pod = pod_of(workload, place[2])
            if pods:  # of the same template
                pod["metadata"]["labels"] = dict(pods[0]["metadata"]["labels"])
            name = pod["metadata"]["name"]
            self._ready_at[name] = monotonic() + self.start_seconds
            self._objects[place][name] = pod
            self._owned[owner].append(name)


# --- requests ----------------------------------------------------------------------------------------------


def _selected(item: Json, query: Mapping[str, list[str]]) -> bool:
    labels = item["metadata"].get("labels", {})
    selector, fields = query.get("labelSelector", [""])[0], query.get("fieldSelector", [""])[0]
    wanted = [part.partition("=") for part in selector.split(",") if part]
    paths = [part.partition("=") for part in fields.split(",") if part]
    return all(labels.get(key) == value for key, _, value in wanted) and all(
        _field(item, path.rstrip("=")) == value.lstrip("=") for path, _, value in paths
    )


def _going(pod: Json) -> tuple[bool, int]:
    cost = int(pod["metadata"].get("annotations", {}).get(_COST, 0))
    return condition_of(pod, "Ready") == "True", cost


def _field(item: Json, path: str) -> object:
    value: object = item
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _verb(method: str, name: str) -> str:
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    return ("get" if name else "list") if method == "GET" else verbs[method]


def _json(status: int, data: Json) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()
