"""A ScaledQueue as the API server sends it, without what the scaler does not use. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scaler.config.scaled_queue import API_VERSION, GROUP, KIND, target_name
from scaler.kube.errors import of_object
from scaler.kube.objects import Json, Ref

MOST_SPEC_BYTES: Final = 256 << 10
"""Of a spec as JSON. The schema allows 110 KiB of names."""

_MOST_ANNOTATION: Final = 1024  # letters: the longest that says anything is a time


@dataclass(frozen=True, slots=True)
class ScaledQueue:
    """`created` is a time as the server writes it; `spec` is None where it is too large to be read;
    `annotations` are the scaler's own."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: str
    spec: Json | None
    annotations: Mapping[str, str]
    status: Json

    @property
    def key(self) -> str:
        """The name of its target."""
        return target_name(self.namespace, self.name)

    @property
    def ref(self) -> Ref:
        return Ref(KIND, self.namespace, self.name, API_VERSION)

    def declares_as(self, other: ScaledQueue) -> bool:
        """Whether both declare the same target with the same orders."""
        return (self.uid, self.generation, self.annotations) == (
            other.uid,
            other.generation,
            other.annotations,
        )


@of_object
def scaled_queue_of(data: Json) -> ScaledQueue:
    """From an object of a list or a watch. Raises ValueError where it lacks what every object has."""
    meta = data["metadata"]
    spec, annotations = data.get("spec"), meta.get("annotations") or {}
    too_large = len(json.dumps(spec)) > MOST_SPEC_BYTES
    status = data.get("status")
    return ScaledQueue(
        namespace=str(meta["namespace"]),
        name=str(meta["name"]),
        uid=str(meta["uid"]),
        generation=int(meta.get("generation", 0)),
        created=str(meta.get("creationTimestamp", "")),
        spec=None if too_large or not isinstance(spec, Mapping) else spec,
        annotations={
            key: str(value)[:_MOST_ANNOTATION]
            for key, value in sorted(annotations.items())
            if key.startswith(f"{GROUP}/")
        },
        status=status if isinstance(status, Mapping) else {},
    )
