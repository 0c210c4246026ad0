"""Messages for people, by id and parameters, and their text in a language. Pure; service/catalogs.py reads.

What comes from elsewhere stays as it is: names, commands, addresses, and the reasons of failures, in English.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from gettext import NullTranslations
from typing import Any, Final, Literal, TypeAlias

Language: TypeAlias = Literal["en", "id"]
Parameter: TypeAlias = "str | int | float | Message | tuple[str | Message, ...]"
"""A tuple becomes a list with semicolons. The integer `count` chooses the plural form."""

LANGUAGES: Final[Mapping[Language, str]] = {"en": "English", "id": "Bahasa Indonesia"}


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """A text before a language is chosen: an id of the catalogs, and what its {parameters} become."""

    id: str
    parameters: Mapping[str, Parameter]

    def __init__(self, message_id: str, /, **parameters: Parameter) -> None:
        object.__setattr__(self, "id", message_id)
        object.__setattr__(self, "parameters", parameters)

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `message_from_json`."""
        return {
            "id": self.id,
            "parameters": {name: _to_json(parameter) for name, parameter in self.parameters.items()},
        }


@dataclass(frozen=True, slots=True)
class Translator:
    """The texts of one language; `catalog` falls back to English by itself."""

    language: Language
    catalog: NullTranslations

    def translate(self, message_id: str, /, **parameters: Parameter) -> str:
        """The text of an id with these parameters."""
        return self.render(Message(message_id, **parameters))

    def render(self, message: Message) -> str:
        """The text of a message. One that no catalog has is its id, with a warning (an error in tests)."""
        text = self.known(message)
        if text is None:
            warnings.warn(f"no text for {message}", stacklevel=2)
            return message.id
        return text

    def known(self, message: Message) -> str | None:
        """The text; None where no catalog has the id, or has other parameters than these."""
        count = message.parameters.get("count")
        if isinstance(count, int):
            pattern = self.catalog.ngettext(message.id, message.id, count)
        else:
            pattern = self.catalog.gettext(message.id)
        if pattern == message.id:
            return None
        texts: dict[str, object] = {}
        for name, parameter in message.parameters.items():
            items = parameter if isinstance(parameter, tuple) else (parameter,)
            rendered = [self.known(item) if isinstance(item, Message) else _shown(item) for item in items]
            if None in rendered:
                return None
            texts[name] = "; ".join(map(str, rendered)) if isinstance(parameter, tuple) else rendered[0]
        try:
            return pattern.format_map(texts)
        except (KeyError, ValueError, TypeError):
            return None


def _shown(value: Any) -> Any:
    """A parameter as it is; one that another program's answer has no value for as a question mark."""
    return "?" if value is None else value


def message_from_json(data: Any) -> Message | None:
    """What `to_json` made, perhaps in another version of Oxherd; None where it is not a message."""
    match data:
        case {"id": str(message_id), "parameters": {**parameters}}:
            values = {str(name): _from_json(value) for name, value in parameters.items()}
            return None if None in values.values() else Message(message_id, **values)  # type: ignore[arg-type]
        case _:
            return None


def _to_json(parameter: Parameter) -> Any:
    if isinstance(parameter, Message):
        return parameter.to_json()
    return [_to_json(item) for item in parameter] if isinstance(parameter, tuple) else parameter


def _from_json(value: Any) -> Parameter | None:
    if isinstance(value, str | int | float):
        return value
    if not isinstance(value, list):
        return message_from_json(value)
    items = [item if isinstance(item, str) else message_from_json(item) for item in value]
    known = tuple(item for item in items if item is not None)
    return known if len(known) == len(items) else None


def preferred(accept: str | None) -> Language:
    """The best of our languages by an Accept-Language header; English by default."""
    best: tuple[float, Language] = (0.0, "en")
    for part in (accept or "").split(",")[:50]:
        tag, _, parameters = part.strip().partition(";")
        code = tag.partition("-")[0].lower()
        weight = _weight(parameters)
        if code in ("en", "id", "in") and weight > best[0]:  # "in" is the code of Indonesian before 1989
            best = (weight, "en" if code == "en" else "id")
    return best[1]


def of_locale(environ: Mapping[str, str]) -> Language:
    """The language of a command's environment, by LC_ALL, LC_MESSAGES or LANG."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return "id" if environ[name].split("_")[0].split(".")[0].lower() in ("id", "in") else "en"
    return "en"


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, float(value))
    except ValueError:
        return 0.0
