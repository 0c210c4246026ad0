"""YAML text and environment to one checked model, or one line naming the setting, its value and source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from difflib import get_close_matches
from typing import Any, Final, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from service.config.marked_yaml import NotYamlError, Path, dotted, parse, undotted

M = TypeVar("M", bound=BaseModel)

_LONGEST_VALUE: Final = 80
HIDDEN: Final = "(hidden)"


class ConfigError(Exception):
    """An invalid setting, as one line: its name as the user wrote it, its value (None: not to be shown), its
    source, and why. Never created with a secret. `more` has further errors of the same text."""

    def __init__(self, setting: str, value: object, source: str, why: str) -> None:
        self.setting = setting
        self.value = value
        self.source = source
        self.why = why
        self.more: tuple[ConfigError, ...] = ()
        super().__init__(setting, source, why)

    def __str__(self) -> str:
        shown = "" if self.value is None else f"={_shown(self.value)}"
        return f"{self.setting}{shown} ({self.source}): {self.why}".replace("\n", "\\n")


@dataclass(frozen=True)
class Given:
    """A setting from the environment or the command line; `name` is what the user wrote."""

    name: str
    value: object = dataclass_field(repr=False)
    source: str = "environment"


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """The model, and the sources of its values, so that a later error names what the user wrote.

    Paths are dotted: `redis.url`, `targets[1].name`.
    """

    model: M
    given: Mapping[str, Given]
    lines: Mapping[Path, int]
    file: str

    def is_set(self, path: str) -> bool:
        return path in self.given or undotted(path) in self.lines

    def name(self, path: str) -> str:
        """The setting as the user wrote it, or would in the file."""
        return self.given[path].name if path in self.given else path

    def source(self, path: str) -> str:
        if path in self.given:
            return self.given[path].source
        line = self.lines.get(undotted(path))
        return f"{self.file}, line {line}" if line else "not set"

    def error(self, path: str, why: str, value: object = None) -> ConfigError:
        return ConfigError(self.name(path), value, self.source(path), why)


def load(
    model: type[M],
    yaml_text: str,
    given: Mapping[str, Given],
    *,
    file: str = "",
    rename: Callable[[dict[str, Any], Mapping[Path, int], str], tuple[dict[str, Any], dict[Path, int]]]
    | None = None,
) -> Loaded[M]:
    """The file's settings, overridden by `given` (dotted path -> value). Raises ConfigError.

    Types are strict in the file (a number in quotes is a text); the environment has only text. `rename` gets
    the file's data, the lines of its keys and its name, and returns both with our names.
    """
    try:
        data, lines = parse(yaml_text)
    except NotYamlError as error:
        source = f"{file}, {error.where}" if error.setting else error.where
        raise ConfigError(error.setting or file, None, source, error.why) from None
    if rename is not None:
        data, lines = rename(data, lines, file)
    data = _without_empty_sections(model, data)
    _validate(model, data, lines, given={}, file=file)
    for path, setting in given.items():
        _put(data, path.split("."), setting.value)
    return Loaded(_validate(model, data, lines, given=given, file=file), given, lines, file)


def from_environment(
    model: type[BaseModel], environ: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, Given]:
    """The variables of `names` (name -> dotted path) that are set; an empty one counts as not set.

    A list is written with commas. NAME_FILE of a secret is expected to have been read into NAME by then.
    """
    given = {}
    for name, path in names.items():
        raw = environ.get(name, "")
        kind = leaf_type(model, path)
        if is_secret(kind):
            value: object = raw
        elif _is_list(kind):
            value = [part for part in (part.strip() for part in raw.split(",")) if part]
        else:
            value = raw.strip()
        if value:
            given[path] = Given(name, value)
    return given


def to_bool(name: str, raw: str) -> bool:
    """true, false, 1, 0, yes, no, on, off, in any case. Raises ConfigError."""
    try:
        return TypeAdapter(bool).validate_python(raw.strip())
    except ValidationError:
        raise ConfigError(name, raw, "environment", "should be true or false") from None


def secret_names(model: type[BaseModel], names: Mapping[str, str]) -> list[str]:
    """The variables that hold a secret: each may also be given as NAME_FILE."""
    return [name for name, path in names.items() if is_secret(leaf_type(model, path))]


def masked(model: BaseModel, *, only_set: bool = False) -> dict[str, Any]:
    """The settings as plain data; secrets are hidden, and all values of a mapping that may hold secrets."""

    def plain(value: object) -> Any:
        match value:
            case BaseModel():
                return masked(value)
            case SecretStr():
                return HIDDEN
            case tuple() | list():
                return [plain(item) for item in value]
            case dict():
                return {key: plain(item) for key, item in value.items()}
        return value

    shown = {}
    for name, field in type(model).model_fields.items():
        if only_set and name not in model.model_fields_set:
            continue
        value = getattr(model, name)
        private = isinstance(value, dict) and not field.repr
        shown[name] = dict.fromkeys(value, HIDDEN) if private else plain(value)
    return shown


def secrets_of(model: BaseModel) -> Iterator[str]:
    """Every secret that is set, for a last check of a text before it is shown."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from secrets_of(value)


def secret_in_file(loaded: Loaded[Any]) -> str | None:
    """The first setting of the file that is a secret, such as a password; None if there is none."""
    for path in loaded.lines:
        field = _field(type(loaded.model), path)
        if field is None or (field.repr and not is_secret(field.annotation)):
            continue
        value = _value_at(loaded.model, path)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text and not (isinstance(text, str) and "://" in text and "@" not in text):  # a URL, no password
            return dotted(path)
    return None


def _value_at(model: Any, path: Path) -> Any:
    """What is at the path now; None where the environment has put something else there."""
    value = model
    for part in path:
        if isinstance(value, BaseModel):
            value = getattr(value, str(part), None)
        else:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
    return value


def leaf_type(model: type[BaseModel], path: str) -> Any:
    """The declared type of the setting at a dotted path. Raises KeyError for an unknown path."""
    kind: Any = model
    for name in path.split("."):
        kind = _model_in(kind).model_fields[name].annotation
    return kind


def is_secret(kind: Any) -> bool:
    return kind is SecretStr or any(is_secret(part) for part in get_args(kind))


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (tuple, list)


def _model_in(kind: Any) -> type[BaseModel]:
    """The model among a field's type and its parts (`X | None`, `tuple[X, ...]`). Raises KeyError."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    raise KeyError(kind)


# --- checking --------------------------------------------------------------------------------------------


def _validate(
    model: type[M], data: dict[str, Any], lines: Mapping[Path, int], *, given: Mapping[str, Given], file: str
) -> M:
    strict = not given
    try:
        if strict:  # JSON mode: a strict list may still become a tuple
            return model.model_validate_json(json.dumps(data), strict=True)
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        first, *more = (_explained(model, problem, lines, given, file) for problem in problems)
        first.more = tuple(more)
        raise first from None


def _explained(
    model: type[BaseModel],
    first: Mapping[str, Any],
    lines: Mapping[Path, int],
    given: Mapping[str, Given],
    file: str,
) -> ConfigError:
    path: Path = first["loc"]
    known = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in lines), None)
    name, source = dotted(path), f"{file}, line {lines[known]}" if known else file
    for depth in range(len(path), 0, -1):
        setting = given.get(".".join(str(part) for part in path[:depth]))
        if setting:
            name, source = setting.name, setting.source
            break
    if first["type"] == "extra_forbidden":
        return ConfigError(name, None, source, "unknown setting" + _did_you_mean(model, path))
    field = _field(model, path)
    value = first["input"] if field and _may_show(field, first["input"]) else None
    return ConfigError(name, value, source, _why(first))


def _why(first: Mapping[str, Any]) -> str:
    """pydantic's reason as the rest of a sentence. None of those that occur here repeats the value."""
    match first["type"]:
        case "bool_parsing" | "bool_type":
            return "should be true or false"
        case "missing":
            return "is missing"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "should be a mapping of settings"
        case "string_type":
            return "should be a text: put it in quotes"
        case "tuple_type" | "list_type":
            return "should be a list"
        case "too_short":
            return "should not be empty"
        case "int_parsing" | "int_type" | "int_from_float":
            return "should be a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            return "should be a number"
    text = str(first["msg"]).removeprefix("Input ").removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _did_you_mean(model: type[BaseModel], path: Path) -> str:
    """The nearest name in the same mapping; else wherever a setting has that very name."""
    last = str(path[-1])
    siblings = _fields_at(model, path[:-1])
    near = get_close_matches(last, siblings, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {dotted((*path[:-1], near[0]))}?"
    everywhere = {leaf.rpartition(".")[2]: leaf for leaf in _leaves(model, "")}
    near = get_close_matches(last, everywhere, n=1, cutoff=0.85)
    if near:
        return f"; did you mean {everywhere[near[0]]}?"
    return f"; here there are {', '.join(siblings)}" if siblings else ""


def _leaves(model: type[BaseModel], under: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield under + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, f"{under}{name}.")


def _fields_at(model: type[BaseModel], path: Path) -> Mapping[str, FieldInfo]:
    kind: Any = model
    for part in path:
        if isinstance(part, str):
            kind = _model_in(kind).model_fields[part].annotation
    return _model_in(kind).model_fields


def _field(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """The innermost setting on the path of pydantic's location; None without one."""
    field: FieldInfo | None = None
    for part in path:
        if isinstance(part, int):
            continue
        try:
            field = _model_in(field.annotation if field else model).model_fields[part]
        except KeyError:
            break
    return field


def _may_show(field: FieldInfo, value: object) -> bool:
    """Only a plain value of a plain setting: in place of a mapping, a text may be a whole URL."""
    kind = field.annotation
    if not field.repr or is_secret(kind) or not isinstance(value, str | int | float):
        return False
    return not any(isinstance(part, type) and issubclass(part, BaseModel) for part in (kind, *get_args(kind)))


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "@" in text or "://" in text:
        return HIDDEN  # user:password@host where only host:port belongs
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."


def _without_empty_sections(model: type[BaseModel], data: dict[str, Any]) -> dict[str, Any]:
    """A section whose lines are all commented out reads as null: it counts as absent."""
    filled = {}
    for key, value in data.items():
        field = model.model_fields.get(key)
        section = field.annotation if field else None
        if value is None and _is_list(section):
            continue
        if isinstance(section, type) and issubclass(section, BaseModel):
            if value is None:
                continue
            filled[key] = _without_empty_sections(section, value) if isinstance(value, dict) else value
        else:
            filled[key] = value
    return filled


def _put(data: dict[str, Any], keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
    data[keys[-1]] = value
