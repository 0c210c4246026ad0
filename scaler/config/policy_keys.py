"""The keys of a policy as other documents write them, and those that a policy does not read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic.alias_generators import to_camel

from scaler.config.policy_layers import origins, resolve
from scaler.config.settings import POLICY_KEYS, REMOVED_KEYS, ScalerSettings
from service.config.load import ConfigError, Loaded
from service.config.marked_yaml import Path, dotted
from service.config.variables import Notice

COOLDOWN_PERIOD: Final = "cooldownPeriod"
"""`cooldown_seconds` in minutes, as some write it."""

POLICY_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "wait_target": ("wait_slo_seconds", "start_cost_seconds"),
    "threshold": ("target_waiting_jobs", "scale_up_threshold", "scale_down_threshold", "scaling_step"),
}
"""Keys that only this policy reads."""

_CAMEL: Final = {to_camel(key): key for key in (*POLICY_KEYS, *REMOVED_KEYS) if to_camel(key) != key}


def ignored_keys(policy: str, keys: Iterable[str]) -> dict[str, str]:
    """The keys among these that the policy does not read, each with the policy that does."""
    readers = {key: reader for reader, own in POLICY_OWN.items() for key in own}
    return {key: readers[key] for key in keys if readers.get(key, policy) != policy}


def with_our_names(
    data: dict[str, Any], lines: Mapping[Path, int], file: str
) -> tuple[dict[str, Any], dict[Path, int]]:
    """The settings of a file whose policies may be in camelCase, and the lines of its keys.

    Raises ConfigError for a key that is set under both names, and for one that earlier versions had. `data`
    is changed.
    """
    renamed = dict(lines)
    sections: list[tuple[Path, Any]] = [(("defaults",), data.get("defaults"))]
    for name in ("policies", "targets"):
        entries = data.get(name)
        if isinstance(entries, list):
            sections += [((name, index), entry) for index, entry in enumerate(entries)]
    for path, section in sections:
        if isinstance(section, dict):
            _rename(path, section, renamed, file)
    return data, renamed


def _rename(path: Path, section: dict[str, Any], lines: dict[Path, int], file: str) -> None:
    for written in [key for key in section if key in REMOVED_KEYS or _CAMEL.get(key) in REMOVED_KEYS]:
        line = lines.get((*path, written), 0)
        why = REMOVED_KEYS[_CAMEL.get(written, written)]
        raise ConfigError(dotted((*path, written)), section[written], f"{file}, line {line}", why)
    for written in [key for key in section if key in _CAMEL or key == COOLDOWN_PERIOD]:
        ours, value = _CAMEL.get(written, "cooldown_seconds"), section.pop(written)
        name, line = dotted((*path, written)), lines.pop((*path, written), 0)
        if ours in section:
            raise ConfigError(name, None, f"{file}, line {line}", f"{ours} is set too: keep one of them")
        if written == COOLDOWN_PERIOD and value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(name, value, f"{file}, line {line}", "should be a number of minutes")
            value *= 60
        section[ours], lines[*path, ours] = value, line


def ignored_settings(loaded: Loaded[ScalerSettings]) -> list[Notice]:
    """The keys that are set and that no target to which they apply reads, because of its policy."""
    read: dict[str, bool] = {}
    why: dict[str, str] = {}
    for index, target in enumerate(loaded.model.targets):
        policy = resolve(loaded.model, target).policy
        origin_of = {
            key: origin for key, origin in origins(loaded.model, target).items() if origin != "built in"
        }
        ignored = ignored_keys(policy, origin_of)
        for key, origin in origin_of.items():
            path = f"{f'targets[{index}]' if origin == 'target' else origin}.{key}"
            read[path] = read.get(path, False) or key not in ignored
            if key in ignored:
                why[path] = f"the policy is {policy}; `policy: {ignored[key]}` reads it"
    return [
        Notice(f"{path} ({loaded.source(path)})", reason=why[path]) for path in sorted(why) if not read[path]
    ]
