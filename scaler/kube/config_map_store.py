"""The state in a ConfigMap: a key a part, so that a person can read and edit one and spoil no other.

Whoever writes sends the version that was read, and begins again where it is another by then. What was learned
is no reading matter and large: it is compressed.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from scaler.kube.api import KubeApi
from scaler.kube.errors import KubeError
from scaler.kube.objects import Json
from scaler.state.model import FORMAT, State, StateError, from_data, merged
from scaler.state.store import StoreError, Update
from service.clock import Deadline

log = logging.getLogger(__name__)

STATE_PARTS: Final = ("enabled", "interval_seconds", "overrides", "paused", "policies", "actions")
LEARNED: Final = "learned.json.gz"

_TRIES: Final = 5
_MOST_BYTES: Final = 900_000  # an object has room for a megabyte
_LARGEST_LEARNED: Final = 64 << 20
_SECONDS: Final = 10.0


class ConfigMapStore:
    """A `scaler.state.store.Store`. The ConfigMap has to be there: roles need not let the scaler make one."""

    def __init__(self, api: KubeApi, name: str) -> None:
        self._api = api
        self._name = name
        self._got: Json | None = None

    @property
    def name(self) -> str:
        """Its name and namespace."""
        return f"configmap {self._api.namespace}/{self._name}"

    def version(self) -> object:
        """Its version. Raises StoreError."""
        self._got = self._get()
        return _version(self._got)

    def read(self) -> tuple[State, list[str]]:
        """The state as of the last `version`, and what of it cannot be used. Raises StateError,
        StoreError."""
        got, self._got = self._got or self._get(), None
        raw, torn = raw_of(got)
        state, problems = from_data(raw)
        return state, torn + problems

    def update(self, update: Callable[[State], State]) -> Update:
        """Raises StateError: a part that has to change cannot be read; and StoreError."""
        for _ in range(_TRIES):
            got = self._get()
            raw, torn = raw_of(got)
            before, _ = from_data(raw)
            after = update(before)
            patch = _patch(got, raw, merged(raw, before, after), torn)
            if patch is None:
                return Update(before, after, _version(got))
            try:
                left = self._api.patch_config_map(self._name, patch, Deadline.after(_SECONDS))
            except KubeError as error:
                if error.kind == "conflict":
                    continue
                raise StoreError(str(error)) from None
            return Update(before, after, _version(left))
        raise StoreError(f"{self.name} changes faster than it can be written")

    def set_aside(self) -> str:
        """Nothing of a ConfigMap has to be: every part is read on its own."""
        return self.name

    def own(self) -> None:
        """The lease sees to it that one scaler acts."""

    def close(self) -> None:
        """Nothing is held."""

    def _get(self) -> Json:
        try:
            return self._api.config_map(self._name, Deadline.after(_SECONDS))
        except KubeError as error:
            raise StoreError(str(error)) from None


def raw_of(config_map: Json) -> tuple[dict[str, Any], list[str]]:
    """The data of a state, and the parts that are torn, a line each."""
    data, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    raw: dict[str, Any] = {"format": FORMAT}
    torn = []
    for part in STATE_PARTS:
        try:
            if data.get(part, "").strip():
                raw[part] = json.loads(data[part])
        except (ValueError, RecursionError, AttributeError):
            torn.append(f"{part}: it is torn, or no JSON")
    try:
        if binary.get(LEARNED):
            raw["learned"] = _unpacked(binary[LEARNED])
    except (ValueError, RecursionError, OSError, EOFError, zlib.error):
        torn.append(f"{LEARNED}: it is torn")
    return raw, torn


def _patch(
    got: Json, raw: Mapping[str, Any], wanted: Mapping[str, Any], torn: list[str]
) -> dict[str, Any] | None:
    """A merge patch of the parts that differ; None where none does. Raises StateError."""
    data = {}
    for part in STATE_PARTS:
        if wanted.get(part) == raw.get(part, _NOTHING[part]):
            continue
        lost = next((one for one in torn if one.startswith(f"{part}:")), None)
        if lost and part != "actions":
            raise StateError(f"{lost}; it has to be mended first")
        data[part] = json.dumps(wanted[part], indent=2)
    binary = {}
    learned = wanted.get("learned", {})
    if learned != raw.get("learned", {}):
        packed = _packed(learned)
        room = _MOST_BYTES - sum(len(text) for text in ((got.get("data") or {}) | data).values())
        if len(packed) <= room:
            binary[LEARNED] = packed
        else:
            log.warning("no room for what was learned", extra={"needs": len(packed), "room": room})
    if not data and not binary:
        return None
    patch: dict[str, Any] = {"metadata": {"resourceVersion": _version(got)}}
    return patch | ({"data": data} if data else {}) | ({"binaryData": binary} if binary else {})


_NOTHING: Final[Mapping[str, Any]] = {
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


def _unpacked(text: str) -> Any:
    unpack = zlib.decompressobj(wbits=31)
    raw = unpack.decompress(base64.b64decode(text, validate=True), _LARGEST_LEARNED)
    return json.loads(raw)


def _version(config_map: Json) -> str:
    return str((config_map.get("metadata") or {}).get("resourceVersion", ""))
