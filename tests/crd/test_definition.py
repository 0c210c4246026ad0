"""The CustomResourceDefinition: written from the settings, structural, as the API server stores it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import celpy
import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate
import pytest
import yaml
from celpy.adapter import json_to_cel

from deploy.crd.__main__ import FILE, text
from deploy.crd.__main__ import main as write_or_check
from deploy.crd.schema import definition, structural
from scaler.config.scaled_queue import SpecError, target_of
from scaler.config.settings import PolicySettings
from tests.support.kubernetes.atomic import left_to_defaulting

NEWEST = kubernetes_validate.latest_version().rpartition(".")[0]
VERSION = definition()["spec"]["versions"][0]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
SPEC: dict[str, Any] = SCHEMA["properties"]["spec"]
REFERENCE: dict[str, Any] = SPEC["properties"]["targetRef"]
LEAST: dict[str, Any] = {"targetRef": {"name": "mail"}, "queues": ["mail"]}

# As https://kubernetes.io/docs documents structural schemas.
FORBIDDEN = {
    "$ref",
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
} | {*("readOnly", "writeOnly", "xml", "uniqueItems", "anyOf", "oneOf", "allOf", "not", "title", "$defs")}


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in it."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[{key}]")


def test_the_file_is_that_of_the_settings() -> None:
    assert FILE.read_text() == text()
    assert write_or_check(["--check"]) == 0
    assert write_or_check([]) == 2
    assert yaml.safe_load(text()) == definition()


def test_kubernetes_takes_it() -> None:
    for minor in range(28, int(NEWEST.split(".")[1]) + 1):
        kubernetes_validate.validate(definition(), f"1.{minor}", strict=True)


def test_it_is_structural() -> None:
    for path, schema in nodes(SCHEMA):
        assert schema.get("type"), path
        assert not FORBIDDEN & schema.keys(), path
        assert not {"properties", "additionalProperties"} <= schema.keys(), path
        assert "null" not in str(schema["type"]), path
        if schema.get("x-kubernetes-list-type") == "map":
            assert set(schema["x-kubernetes-list-map-keys"]) <= set(schema["items"]["required"]), path
        if schema.get("x-kubernetes-list-type") == "set":
            assert schema["items"]["type"] == "string", path
        for name in schema.get("required", ()):
            assert name in schema["properties"], path
        if "default" in schema:
            jsonschema.Draft4Validator(schema).validate(schema["default"])
        if schema.get("exclusiveMinimum") is not None:
            assert schema["exclusiveMinimum"] is True, path
            assert "minimum" in schema, path


def test_every_text_and_list_of_the_spec_has_a_bound() -> None:
    for path, schema in nodes(SPEC):
        if schema["type"] == "string" and "enum" not in schema:
            assert "maxLength" in schema, path
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        if schema["type"] in {"integer", "number"}:
            assert {"minimum", "maximum"} <= schema.keys(), path


def test_nothing_is_left_to_defaulting_or_to_another_form() -> None:
    """The server stores it as it is, so that who applies it again changes nothing."""
    written = definition()
    left = {path.rpartition(".")[2] for path in left_to_defaulting(written, NEWEST)}
    assert left <= {"deprecated", "default", "x-kubernetes-list-type"}, "these are not stored where absent"
    assert written["spec"]["conversion"] == {"strategy": "None"}
    assert written["spec"]["names"].keys() == {"kind", "listKind", "plural", "singular", "shortNames"}
    for value in values(written):
        assert value is not False, "not stored"
        assert value not in (None, "", []), "not stored"
        assert not (isinstance(value, float) and value.is_integer()), "stored as a whole number"


def values(data: object) -> Iterator[object]:
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield value
        yield from values(value)


def test_settings_of_the_policy_have_no_default_of_their_own() -> None:
    """A stored default would be nearer than those of the scaler's settings."""
    with_default = {path for path, schema in nodes(SPEC) if "default" in schema}
    assert with_default == {".targetRef.apiVersion", ".targetRef.kind", ".prefix"}


def test_the_columns() -> None:
    columns = {column["name"]: column["jsonPath"] for column in VERSION["additionalPrinterColumns"]}
    assert [*columns] == [
        *("Target", "Queues", "Current", "ReadyWorkers", "Desired", "Recommended", "Ready", "Age")
    ]
    assert columns["Target"] == ".spec.targetRef.name"
    for path in columns.values():
        schema = SCHEMA
        for name in path.partition("[")[0].split(".")[1:]:
            if name != "creationTimestamp":
                schema = schema["properties"][name]


def test_a_limit_of_a_setting_is_that_of_its_field() -> None:
    field = PolicySettings.model_json_schema()["properties"]["wait_slo_seconds"]
    assert structural(field) == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 31622400,
        "description": field["description"],
    }


@pytest.mark.parametrize(
    ("changed", "valid"),
    [
        ({}, True),
        ({"minWorkers": 0, "maxWorkers": 1}, True),
        ({"maxWorkers": 0}, False),
        ({"waitSloSeconds": 0}, False),
        ({"waitSloSeconds": 0.5}, True),
        ({"maxWorkers": 2.5}, False),
        ({"policy": "other"}, False),
        ({"queues": []}, False),
        ({"queues": [""]}, False),
        ({"mode": "off"}, False),
        ({"targetRef": {"name": "UP"}}, False),
        ({"targetRef": {"name": "a", "apiVersion": "v1"}}, False),
        ({"queueSloSeconds": {"a": 0}}, False),
        ({"prefix": "x" * 513}, False),
    ],
)
def test_the_schema_refuses_what_the_scaler_refuses(changed: dict[str, Any], *, valid: bool) -> None:
    spec = LEAST | changed
    assert jsonschema.Draft4Validator(SPEC).is_valid(spec) is valid
    if valid or changed.get("prefix"):
        target_of("shop", "mail", LEAST | {key: changed[key] for key in changed if valid})
    else:
        with pytest.raises(SpecError):
            target_of("shop", "mail", spec)


# --- rules -------------------------------------------------------------------------------------------------


def broken_rules(schema: dict[str, Any], value: dict[str, Any]) -> list[str]:
    """The messages of the rules that a value breaks, by an implementation of CEL."""
    environment = celpy.Environment()
    context = {"self": json_to_cel(value)}
    return [
        entry["message"]
        for entry in schema["x-kubernetes-validations"]
        if not environment.program(environment.compile(entry["rule"])).evaluate(context)
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, None),
        ({"minWorkers": 3}, None),
        ({"minWorkers": 3, "maxWorkers": 3}, None),
        ({"minWorkers": 4, "maxWorkers": 3}, "minWorkers is above maxWorkers"),
        ({"fallbackWorkers": 3, "maxWorkers": 3}, None),
        ({"fallbackWorkers": 4, "maxWorkers": 3}, "fallbackWorkers is above maxWorkers"),
        ({"workerConcurrency": 5}, None),
        (
            {"workerConcurrencyPerQueue": 6, "workerConcurrency": 5},
            "workerConcurrencyPerQueue is above workerConcurrency",
        ),
        ({"scaleDownThreshold": 0.3, "scaleUpThreshold": 2.0}, None),
        (
            {"scaleDownThreshold": 2.0, "scaleUpThreshold": 2.0},
            "scaleDownThreshold should be below scaleUpThreshold",
        ),
    ],
)
def test_the_rules_of_the_spec(changed: dict[str, Any], message: str | None) -> None:
    assert broken_rules(SPEC, LEAST | changed) == ([] if message is None else [message])


@pytest.mark.parametrize(
    ("api_version", "kind", "valid"),
    [
        ("apps/v1", "Deployment", True),
        ("apps/v1", "StatefulSet", True),
        ("apps/v1", "DaemonSet", False),
        ("argoproj.io/v1alpha1", "Rollout", True),
    ],
)
def test_the_rule_of_the_reference(api_version: str, kind: str, *, valid: bool) -> None:
    broken = broken_rules(REFERENCE, {"apiVersion": api_version, "kind": kind, "name": "a"})
    assert bool(broken) is not valid
