"""Who may do what on the API server in memory: tokens, roles and their bindings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from tests.support.kubernetes.patches import Json, RefusedError
from tests.support.kubernetes.resources import Address

Objects: TypeAlias = Mapping[tuple[str, str, str], Mapping[str, Json]]

_GROUP: Final = "rbac.authorization.k8s.io"


def authorize(objects: Objects, authorization: str, verb: str, address: Address) -> None:
    """Raises RefusedError 401 and 403. Without a token it is an administrator."""
    if not authorization:
        return
    group, resource, namespace = address.key
    home, account, uid = [*authorization.removeprefix("Bearer ").split(":"), "", ""][:3]
    known = objects.get(("", "serviceaccounts", home), {}).get(account)
    if known is None or known["metadata"]["uid"] != uid:  # an account that was made again has new tokens
        raise RefusedError(401, "Unauthorized", "Unauthorized")
    permission = f"{resource}/{address.sub}" if address.sub else resource
    for rule in _rules(objects, namespace, home, account):
        names = rule.get("resourceNames")
        if (
            verb in rule["verbs"]
            and group in rule["apiGroups"]
            and permission in rule["resources"]
            and (not names or address.name in names)
        ):
            return
    user = f"system:serviceaccount:{home}:{account}"
    what = f'{permission}{"." if group else ""}{group} "{address.name}" is forbidden'
    why = f'User "{user}" cannot {verb} resource "{permission}" in API group "{group}"'
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    raise RefusedError(403, "Forbidden", f"{what}: {why} {where}")


def _rules(objects: Objects, namespace: str, home: str, account: str) -> Iterable[Json]:
    """Those of all bindings of the account: in the namespace, and of the whole cluster."""
    for resource, place in (("rolebindings", namespace), ("clusterrolebindings", "")):
        for binding in objects.get((_GROUP, resource, place), {}).values():
            if any(
                subject["name"] == account and subject.get("namespace", place) == home
                for subject in binding.get("subjects") or []
            ):
                kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
                at = ("clusterroles", "") if kind == "ClusterRole" else ("roles", place)
                yield from objects.get((_GROUP, *at), {}).get(name, {}).get("rules") or []
