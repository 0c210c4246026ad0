"""Facts that the code and its tests rest on: of the API server, whichever it is."""

from __future__ import annotations

import json
from typing import Any

from tests.support.kubernetes.admin import Admin, RefusedError


def owners(admin: Admin, name: str) -> list[dict[str, Any]]:
    """The entries of the managers of the replicas."""
    entries = admin.get(name)["metadata"].get("managedFields", [])
    return [entry for entry in entries if "f:replicas" in entry["fieldsV1"].get("f:spec", {})]


def test_a_write_through_the_scale_has_its_manager_and_no_time(admin: Admin) -> None:
    admin.workload("mail", 2)
    assert ["time" in entry for entry in owners(admin, "mail")] == [True]
    admin.set_replicas("mail", 5, manager="hpa")
    [entry] = owners(admin, "mail")
    assert (entry["manager"], entry["subresource"], "time" in entry) == ("hpa", "scale", False)


def test_nobody_owns_a_zero_that_was_written_through_the_scale(admin: Admin) -> None:
    admin.workload("mail", 2)
    admin.set_replicas("mail", 0)
    assert owners(admin, "mail") == []


def test_nobody_owns_the_replicas_of_what_was_applied_without_them(admin: Admin) -> None:
    admin.workload("mail", None, manager="flux")
    admin.set_replicas("mail", 5, manager="hpa")
    assert owners(admin, "mail") == []


def test_who_applies_replicas_owns_them_zero_too(admin: Admin) -> None:
    admin.workload("mail", 0, manager="flux")
    [entry] = owners(admin, "mail")
    assert (entry["manager"], entry["operation"]) == ("flux", "Apply")


def test_the_tokens_of_an_account_that_was_made_again_are_other_ones(admin: Admin, token: str) -> None:
    assert admin.new_account("scaler") != token


def test_what_it_does_not_know_is_refused(admin: Admin) -> None:
    admin.workload("mail", 0)
    path = f"/apis/apps/v1/namespaces/{admin.namespace}/deployments/mail/scale"
    assert admin.ask("GET", path)["spec"] == {}

    def patch(content: str, body: object) -> int:
        try:
            admin.ask("PATCH", path, body, content)
        except RefusedError as error:
            return error.status
        return 200

    def test_of(value: object) -> list[dict[str, object]]:
        return [
            {"op": "test", "path": "/spec/replicas", "value": value},
            {"op": "add", "path": "/spec/replicas", "value": 1},
        ]

    assert patch("application/json-patch+json", test_of(0)) == 422
    assert patch("application/unknown+json", {}) == 415
    stale = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 3}}
    assert patch("application/merge-patch+json", stale) == 409
    assert patch("application/json-patch+json", test_of(None)) == 200
    assert json.loads(json.dumps(admin.ask("GET", path)["spec"])) == {"replicas": 1}
