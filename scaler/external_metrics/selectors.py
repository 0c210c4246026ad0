"""Label selectors, as Kubernetes has them in a query: `target=mail,team in (a, b),!old`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

LONGEST_SELECTOR: Final = 4096
"""Characters of a selector at most."""
MOST_REQUIREMENTS: Final = 20
"""Requirements of a selector at most: each is compared with each target of a namespace."""

_SPACES: Final = " \t\r\n"
_S: Final = rf"[{_SPACES}]"
_NAME: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_KEY: Final = rf"(?:{_NAME}/)?{_NAME}"
_VALUE: Final = rf"(?:{_NAME})?"
_REQUIREMENT: Final = re.compile(
    rf"{_S}*(?:(?P<absent>!){_S}*(?P<no_key>{_KEY})"
    rf"|(?P<key>{_KEY})(?:{_S}*(?P<operator>==|!=|=){_S}*(?P<value>{_VALUE})"
    rf"|{_S}+(?P<set>in|notin){_S}*\((?P<values>[^()]*)\))?){_S}*(?:,|$)"
)
_LABEL_VALUE: Final = re.compile(_VALUE)


class SelectorError(ValueError):
    """No selector; the text says where it ends to be one."""


class Requirement(NamedTuple):
    """That the label `key` is one of `values`, or with `negated` that it is not, or that there is none.
    `values` of None: that there is one."""

    key: str
    values: frozenset[str] | None
    negated: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Of these labels."""
        value = labels.get(self.key)
        there = value is not None and (self.values is None or value in self.values)
        return there is not self.negated


Selector: TypeAlias = Sequence[Requirement]


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether all of it holds; an empty one always does."""
    return all(requirement.holds(labels) for requirement in selector)


def parse_selector(text: str) -> Selector:
    """Raises SelectorError. What compares numbers (`key > 5`) is none here: no label is a number."""
    if len(text) > LONGEST_SELECTOR:
        raise SelectorError(f"the selector has over {LONGEST_SELECTOR} characters")
    text = text.strip(_SPACES)
    requirements: list[Requirement] = []
    position = 0
    while position < len(text) or text[position - 1 :] == ",":
        found = _REQUIREMENT.match(text, position)
        if found is None:
            raise SelectorError(
                f"no label selector from character {position + 1} on: {text[position:][:100]}"
            )
        requirements.append(_requirement(found))
        if len(requirements) > MOST_REQUIREMENTS:
            raise SelectorError(f"the selector has over {MOST_REQUIREMENTS} requirements")
        position = found.end()
    return requirements


def _requirement(found: re.Match[str]) -> Requirement:
    if found["absent"]:
        return Requirement(found["no_key"], None, negated=True)
    if found["set"]:
        listed = found["values"].strip(_SPACES)
        values = frozenset(value.strip(_SPACES) for value in listed.split(","))
        if not listed or not all(_LABEL_VALUE.fullmatch(value) for value in values):
            raise SelectorError(f"no values of a label: ({found['values'][:100]})")
        return Requirement(found["key"], values, negated=found["set"] == "notin")
    if found["operator"]:
        return Requirement(found["key"], frozenset({found["value"]}), negated=found["operator"] == "!=")
    return Requirement(found["key"], None, negated=False)
