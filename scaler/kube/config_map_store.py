"""The state in a ConfigMap: one key for each part, so that a person can read and edit one without the others.

A write sends the resourceVersion that was read, and starts again on a conflict. What was learned is large
and not meant for reading: it is compressed.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json
from scaler.state.model import FORMAT, ORDERS, State, StateError, from_data, merged, to_data, without_doubts
from scaler.state.store import Discarded, StoreError, Update
from service.clock import Deadline

log = logging.getLogger(__name__)

STATE_PARTS: Final = ("enabled", "interval_seconds", "overrides", "paused", "policies", "actions")
LEARNED: Final = "learned.json.gz"

_ATTEMPTS: Final = 5
_MAX_BYTES: Final = 900_000  # an object holds at most a megabyte
_MAX_LEARNED_BYTES: Final = 64 << 20
_TIMEOUT_SECONDS: Final = 10.0


class ConfigMapStore:
    """A `scaler.state.store.Store`. The ConfigMap has to exist: the role need not permit to create one."""

    def __init__(self, api: KubeApi, name: str) -> None:
        self._api = api
        self._name = name
        self._config_map: Json | None = None

    @property
    def name(self) -> str:
        """The ConfigMap's namespace and name."""
        return f"configmap {self._api.namespace}/{self._name}"

    def version(self) -> object:
        """The ConfigMap's version. Raises StoreError."""
        self._config_map = self._get()
        return _version(self._config_map)

    def read(self) -> tuple[State, list[str]]:
        """The state as of the last `version`, and what of it cannot be used. Raises StateError,
        StoreError."""
        config_map, self._config_map = self._config_map or self._get(), None
        raw, invalid = raw_state(config_map)
        state, problems = from_data(raw, _parts(invalid))
        return state, invalid + problems

    def update(self, update: Callable[[State], State], *, gone: State | None = None) -> Update:
        """Raises StateError if a part that has to change is invalid; and StoreError, also where the ConfigMap
        is `gone`: it is not this process' to make."""
        del gone
        for _ in range(_ATTEMPTS):
            config_map = self._get()
            raw, invalid = raw_state(config_map)
            before, _ = from_data(raw, _parts(invalid))
            after = update(before)
            patch = _patch(config_map, raw, merged(raw, before, after), invalid)
            if patch is None:
                return Update(before, after, _version(config_map))
            try:
                written = self._api.patch_config_map(self._name, patch, Deadline.after(_TIMEOUT_SECONDS))
            except KubeError as error:
                if error.kind == "conflict":
                    continue
                raise StoreError(str(error)) from None
            return Update(before, after, _version(written))
        raise StoreError(f"{self.name} changes faster than it can be written: conflict after conflict")

    def discard(self) -> Discarded | None:
        """What a part was is kept in the ConfigMap as PART.unusable."""
        config_map = self._get()
        raw, invalid = raw_state(config_map)
        before, _ = from_data(raw, _parts(invalid))
        if not before.operator.doubted:
            return None
        kept = replace(before, operator=without_doubts(before.operator))
        data, texts = to_data(kept), config_map.get("data") or {}
        changed = {
            part: text for part, text in texts.items() if part in ORDERS and _parsed(text) != data[part]
        }
        patch: dict[str, Any] = {"metadata": {"resourceVersion": _version(config_map)}, "data": {}}
        for part, text in changed.items():
            patch["data"] |= {part: json.dumps(data[part], indent=2), f"{part}.unusable": text}
        try:
            self._api.patch_config_map(self._name, patch, Deadline.after(_TIMEOUT_SECONDS))
        except KubeError as error:
            raise StoreError(str(error)) from None
        return Discarded(kept, f"{', '.join(f'{part}.unusable' for part in changed)} of {self.name}")

    def own(self) -> None:
        """Does nothing: leader election makes one scaler act."""

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def _get(self) -> Json:
        try:
            return self._api.config_map(self._name, Deadline.after(_TIMEOUT_SECONDS))
        except KubeError as error:
            raise StoreError(str(error)) from None


def raw_state(config_map: Json) -> tuple[dict[str, Any], list[str]]:
    """The data of a state, and a line for each part that is invalid."""
    data, binary = _mapping(config_map.get("data")), _mapping(config_map.get("binaryData"))
    raw: dict[str, Any] = {"format": FORMAT}
    invalid = []
    for part in STATE_PARTS:
        try:
            if data.get(part, "").strip():
                raw[part] = json.loads(data[part])
        except (ValueError, RecursionError, AttributeError):
            invalid.append(f"{part}: invalid JSON")
    try:
        if binary.get(LEARNED):
            raw["learned"] = _unpacked(binary[LEARNED])
    except (ValueError, TypeError, RecursionError, OSError, EOFError, zlib.error):
        invalid.append(f"{LEARNED}: invalid data")
    return raw, invalid


def _parts(invalid: list[str]) -> list[str]:
    return [line.partition(":")[0] for line in invalid]


def _parsed(text: str) -> Any:
    """None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _patch(
    config_map: Json, raw: Mapping[str, Any], new: Mapping[str, Any], invalid: list[str]
) -> dict[str, Any] | None:
    """A merge patch of the parts that differ; None if none does. Raises StateError."""
    data = {}
    for part in STATE_PARTS:
        if new.get(part) == raw.get(part, _DEFAULTS[part]):
            continue
        problem = next((line for line in invalid if line.startswith(f"{part}:")), None)
        if problem and part != "actions":
            raise StateError(f"{problem}; it has to be repaired first")
        data[part] = json.dumps(new[part], indent=2)
    binary = {}
    learned = new.get("learned", {})
    if learned != raw.get("learned", {}):
        packed = _packed(learned)
        room = _MAX_BYTES - sum(len(text) for text in ((config_map.get("data") or {}) | data).values())
        if len(packed) <= room:
            binary[LEARNED] = packed
        else:
            log.warning("learned state too large to save", extra={"needs": len(packed), "room": room})
    if not data and not binary:
        return None
    patch: dict[str, Any] = {"metadata": {"resourceVersion": _version(config_map)}}
    return patch | ({"data": data} if data else {}) | ({"binaryData": binary} if binary else {})


_DEFAULTS: Final[Mapping[str, Any]] = {
    "enabled": None,
    "interval_seconds": None,
    "overrides": {},
    "paused": [],
    "policies": {},
    "actions": [],
}


def _packed(learned: Any) -> str:
    return base64.b64encode(
        gzip.compress(json.dumps(learned, separators=(",", ":")).encode(), mtime=0)
    ).decode()


def _mapping(part: Any) -> Json:
    return part if isinstance(part, Mapping) else {}


def _unpacked(text: str) -> Any:
    decompressor = zlib.decompressobj(wbits=31)
    raw = decompressor.decompress(base64.b64decode(text, validate=True), _MAX_LEARNED_BYTES)
    return json.loads(raw)


def _version(config_map: Json) -> str:
    return str((config_map.get("metadata") or {}).get("resourceVersion", ""))
