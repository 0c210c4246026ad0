"""The resources of the API server in memory: their kinds, their paths, and how it lists them for clients."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from tests.support.kubernetes.patches import Json, RefusedError


@dataclass(frozen=True)
class Resource:
    """`subresources`: those that it has; `short`: the short names."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    short: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


_RBAC: Final = "rbac.authorization.k8s.io"
BUILT_IN: Final = (
    Resource("", "v1", "namespaces", "Namespace", namespaced=False),
    Resource("", "v1", "pods", "Pod", subresources=("status", "eviction")),
    Resource("", "v1", "configmaps", "ConfigMap"),
    Resource("", "v1", "events", "Event"),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", subresources=("token",)),
    Resource("apps", "v1", "deployments", "Deployment", subresources=("scale", "status")),
    Resource("apps", "v1", "statefulsets", "StatefulSet", subresources=("scale", "status")),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource(_RBAC, "v1", "roles", "Role"),
    Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject"),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short=("crd", "crds"),
    ),
)


@dataclass(frozen=True)
class Address:
    """What a path names. Without a `name` all, without a `namespace` those of all namespaces."""

    resource: Resource
    namespace: str
    name: str
    sub: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.resource.group, self.resource.plural, self.namespace


_PATH: Final = re.compile(r"^/(?:api/(?P<core>[^/]+)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))(?P<rest>/.+)$")


def address_of(path: str, resources: Iterable[Resource]) -> Address:
    """Raises RefusedError 404."""
    match = _PATH.match(path)
    if match:
        group, version = match["group"] or "", match["version"] or match["core"]
        parts = [unquote(part) for part in match["rest"][1:].split("/")]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        for resource in resources:
            if (resource.group, resource.version, resource.plural) == (group, version, parts[0]):
                name, sub = [*parts[1:], "", ""][:2]
                return Address(resource, namespace, name, sub)
    raise RefusedError(404, "NotFound", "the server could not find the requested resource")


def discovery(path: str, resources: Iterable[Resource]) -> Json | None:
    """What clients ask first: which APIs there are. None: the path is another one's."""
    listed = list(resources)
    parts = path.strip("/").split("/")
    if parts[:2] == ["openapi", "v3"]:
        return _openapi(parts[2:], listed)
    if parts == ["version"]:
        return {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if parts == ["apis"]:
        versions = sorted({(resource.group, resource.version) for resource in listed if resource.group})
        groups = [
            {
                "name": group,
                "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
            }
            for group, version in versions
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if parts[0] not in {"api", "apis"} or len(parts) != (2 if parts[0] == "api" else 3):
        return None
    api_version = "/".join(parts[1:])
    mine = [resource for resource in listed if resource.api_version == api_version]
    if not mine:
        return None
    entries = [entry for resource in mine for entry in _entries(resource)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": entries}


def _openapi(parts: list[str], resources: Iterable[Resource]) -> Json:
    """What kubectl asks before it applies: whether the server validates fields itself."""
    paths: Json = {}
    for resource in resources:
        place = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
        if not parts:
            paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}?hash=1"}
        elif place == "/".join(parts):
            kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
            paths[f"/{place}/{resource.plural}/{{name}}"] = {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                    "responses": {},
                    "x-kubernetes-group-version-kind": kind,
                }
            }
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths}


def _entries(resource: Resource) -> list[Json]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": verbs,
        "shortNames": list(resource.short),
    }
    subs = [
        {
            "name": f"{resource.plural}/{sub}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": "Scale" if sub == "scale" else resource.kind,
            "verbs": ["get", "patch", "update"],
        }
        for sub in resource.subresources
    ]
    return [entry, *subs]
