"""An API as tables of actions: what each reports or does, and the models of its body and data. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ApiRequest:
    """An authorized request. `key` is the one that it came with, for another process that it is forwarded to;
    `address` is the client's."""

    action: str
    query: Mapping[str, str]
    body: Mapping[str, Any]
    key: str
    address: str


@dataclass(frozen=True)
class Query:
    """An action of GET: what it reports, and the model of its data."""

    summary: str
    model: Any
    answer: Callable[[ApiRequest], Any]


@dataclass(frozen=True)
class Command:
    """An action of POST: what it does, the models of its body and of its data."""

    summary: str
    body: Any
    model: Any
    answer: Callable[[ApiRequest, Any], Any]


@dataclass(frozen=True)
class Api:
    """`overall` answers where no action is named. `parameters`: further ones of GET, and what they mean."""

    queries: Mapping[str, Query]
    commands: Mapping[str, Command]
    overall: Query | None = None
    parameters: Mapping[str, str] | None = None
