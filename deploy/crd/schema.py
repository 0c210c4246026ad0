"""The CustomResourceDefinition of ScaledQueues, made of the declarations of the scaler's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from scaler.config.scaled_queue import (
    GROUP,
    KIND,
    LONGEST_QUEUE_NAME,
    MOST_DECLARED_QUEUES,
    PLURAL,
    POLICY_NAMES,
    REFERENCE_NAMES,
    TARGET_NAMES,
    VERSION,
)
from scaler.config.settings import TargetSettings

Json = dict[str, Any]

SHORT: Final = "sq"
MOST_DECISIONS: Final = 5
_LONGEST_TEXT: Final = 2048
_KEPT: Final = ("type", "enum", "pattern", "minLength", "maxLength", "minItems", "minimum", "maximum")

_RULES: Final = {
    "minWorkers is above maxWorkers": (
        "!has(self.minWorkers) || !has(self.maxWorkers) || self.minWorkers <= self.maxWorkers"
    ),
    "fallbackWorkers is above maxWorkers": (
        "!has(self.fallbackWorkers) || !has(self.maxWorkers) || self.fallbackWorkers <= self.maxWorkers"
    ),
    "workerConcurrencyPerQueue is above workerConcurrency": (
        "!has(self.workerConcurrencyPerQueue) || !has(self.workerConcurrency) || "
        "self.workerConcurrencyPerQueue <= self.workerConcurrency"
    ),
    "scaleDownThreshold should be below scaleUpThreshold": (
        "!has(self.scaleDownThreshold) || !has(self.scaleUpThreshold) || "
        "self.scaleDownThreshold < self.scaleUpThreshold"
    ),
}
_REFERENCE_RULES: Final = {
    "kind should be Deployment or StatefulSet; of another kind, set its apiVersion": (
        "self.apiVersion != 'apps/v1' || self.kind == 'Deployment' || self.kind == 'StatefulSet'"
    ),
}

_COLUMNS: Final = (
    ("Target", "string", ".spec.targetRef.name"),
    ("Queues", "string", ".spec.queues"),
    ("Current", "integer", ".status.current"),
    ("ReadyWorkers", "integer", ".status.ready"),
    ("Desired", "integer", ".status.desired"),
    ("Recommended", "integer", ".status.recommended"),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
    ("Age", "date", ".metadata.creationTimestamp"),
)


def definition() -> Json:
    """In the form in which the API server stores it: applied again, it is unchanged."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "labels": {"app.kubernetes.io/part-of": "oxherd"},
        },
        "spec": {
            "conversion": {"strategy": "None"},
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "shortNames": [SHORT],
                "singular": KIND.lower(),
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path} for name, kind, path in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": _schema()},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def _schema() -> Json:
    return {
        "type": "object",
        "description": "The workers of one workload, scaled to what its BullMQ queues need.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _spec(),
            "status": _status(),
        },
    }


def _spec() -> Json:
    model = TargetSettings.model_json_schema()
    fields, workload = model["properties"], model["$defs"]["WorkloadSettings"]["properties"]
    reference = {name: structural(workload[key]) for name, key in REFERENCE_NAMES.items()}
    for name in ("apiVersion", "kind"):
        reference[name]["default"] = workload[REFERENCE_NAMES[name]]["default"]
    own = {name: structural(fields[key]) for name, key in TARGET_NAMES.items()}
    queue = {"type": "string", "minLength": 1, "maxLength": LONGEST_QUEUE_NAME}
    own["queues"] |= {"items": queue, "maxItems": MOST_DECLARED_QUEUES, "x-kubernetes-list-type": "set"}
    own["prefix"] |= {"default": fields["prefix"]["default"], "maxLength": LONGEST_QUEUE_NAME}
    own["queueSloSeconds"] |= {"maxProperties": MOST_DECLARED_QUEUES}
    return {
        "type": "object",
        "description": "What is left out is as in the settings of the scaler: its `policies` and `defaults`.",
        "required": ["targetRef", "queues"],
        "properties": {
            "targetRef": {
                "type": "object",
                "description": "the workload, in the namespace of this object",
                "required": ["name"],
                "properties": reference,
                "x-kubernetes-validations": _validations(_REFERENCE_RULES),
            },
            **own,
            "idleFirst": structural(workload["idle_first"]),
            **{name: structural(fields[key]) for name, key in POLICY_NAMES.items()},
        },
        "x-kubernetes-validations": _validations(_RULES),
    }


def _validations(rules: Mapping[str, str]) -> list[Json]:
    return [{"rule": rule, "message": message} for message, rule in rules.items()]


def structural(field: Mapping[str, Any]) -> Json:
    """The schema of a setting as the API server takes and stores it. An optional field may be absent, so it
    need not be null; its default is that of the scaler, which may be set there."""
    field = dict(field)
    for option in field.pop("anyOf", ()):
        if option.get("type") != "null":
            field |= option
    schema: Json = {key: _number(field[key]) for key in _KEPT if key in field}
    if "exclusiveMinimum" in field:
        schema |= {"minimum": _number(field["exclusiveMinimum"]), "exclusiveMinimum": True}
    if isinstance(field.get("items"), dict):
        schema["items"] = structural(field["items"])
    if isinstance(field.get("additionalProperties"), dict):
        schema["additionalProperties"] = structural(field["additionalProperties"])
    if "description" in field:
        schema["description"] = _WORDS.sub(lambda word: _FIELDS[word[0]], field["description"])
    return schema


_FIELDS: Final = {
    key: name for names in (POLICY_NAMES, TARGET_NAMES, REFERENCE_NAMES) for name, key in names.items()
}
_WORDS: Final = re.compile("|".join(rf"\b{key}\b" for key in _FIELDS if "_" in key))


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --- status ----------------------------------------------------------------------------------------------


def _status() -> Json:
    count = {"type": "integer", "minimum": 0}
    text = {"type": "string", "maxLength": _LONGEST_TEXT}
    time = {"type": "string", "format": "date-time"}
    return {
        "type": "object",
        "description": "Written by the scaler that leads.",
        "properties": {
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "the generation of the spec that this status is of",
            },
            "current": count | {"description": "requested replicas of the workload"},
            "ready": count | {"description": "ready replicas; absent: not known"},
            "desired": count | {"description": "replicas that were decided on"},
            "recommended": count
            | {"description": "what the policy would set, also where a pause or an override decides"},
            "reason": text | {"description": "what decided: queue, load, held, cooldown ..."},
            "sentence": text | {"description": "the decision, explained"},
            "decisions": {
                "type": "array",
                "description": "the last changes of the replicas, the newest first",
                "maxItems": MOST_DECISIONS,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["time", "from", "to"],
                    "properties": {
                        "time": time,
                        "from": count,
                        "to": count,
                        "reason": text,
                        "sentence": text,
                    },
                },
            },
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                    "properties": {
                        "type": {"type": "string", "maxLength": 316},
                        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                        "lastTransitionTime": time,
                        "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                        "message": {"type": "string", "maxLength": 32768},
                    },
                },
            },
        },
    }
