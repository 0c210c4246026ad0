"""Environment variables that are not settings: unknown ones, and those that are ignored. Pure.

A variable is never an error only because it is not known: an environment is shared with others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Final

_NEAR: Final = 0.8
_VERY_NEAR: Final = 0.9  # one letter of most names
_SERVICE: Final = re.compile(
    r"_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://\S+")


@dataclass(frozen=True, slots=True)
class Notice:
    """A variable that has no effect: `reason` why it is ignored, or it is not known and `meant` is the
    variable that was probably meant, if there is one. Never holds a value, which may be secret."""

    variable: str
    reason: str = ""
    meant: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.variable} is ignored: {self.reason}"
        return f"{self.variable} is not a setting" + (f"; did you mean {self.meant}?" if self.meant else "")


@dataclass(frozen=True)
class Known:
    """The variables of a program. Others are unknown if they begin with one of `prefixes`; if they begin with
    one of `shared`, which other programs use too, only where they are near a known one. What begins otherwise
    is ours only but for a letter. `aliases`: names that other programs use for the same, and ours."""

    names: tuple[str, ...]
    prefixes: tuple[str, ...]
    shared: tuple[str, ...] = ()
    aliases: Mapping[str, str] | None = None


def unknown_variables(environ: Mapping[str, str], known: Known) -> list[Notice]:
    """A notice for each variable that is set and looks like a setting, by name."""
    notices = []
    for name in sorted(environ):
        if name in known.names or not environ[name].strip() or is_of_kubernetes(name, environ[name]):
            continue
        meant = (known.aliases or {}).get(name) or _nearest(name, known.names)
        ours = name.startswith(known.prefixes) or (meant and name.startswith(known.shared))
        if ours or (meant and _is_slip_of(meant, name)):
            notices.append(Notice(name, meant=meant))
    return notices


def is_of_kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes sets the variable, for a Service whose name begins like our settings.

    >>> is_of_kubernetes("REDIS_PORT", "tcp://10.0.0.1:6379")
    True
    """
    return bool(_SERVICE.search(name)) or (name.endswith("_PORT") and is_service_url(value))


def is_service_url(value: str) -> bool:
    """Whether it is the value of NAME_PORT as Kubernetes writes it for a Service."""
    return bool(_SERVICE_URL.fullmatch(value.strip()))


def _is_slip_of(meant: str, name: str) -> bool:
    """Whether the name is ours but for a letter, also where that is at its beginning.

    >>> _is_slip_of("BULLMQ_PREFIXES", "BULMQ_PREFIXES"), _is_slip_of("REDIS_URL", "PREDIS_URL")
    (True, False)
    """
    alike = name[0] == meant[0] and name.count("_") == meant.count("_")
    return alike and SequenceMatcher(None, meant, name).ratio() >= _VERY_NEAR


def _nearest(name: str, names: Iterable[str]) -> str:
    return next(iter(get_close_matches(name, list(names), n=1, cutoff=_NEAR)), "")
