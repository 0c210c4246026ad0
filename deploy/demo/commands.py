"""A line that was typed, and the action that it names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.demo.parts import Demo

HELP_COMMAND: Final = "help"


class RefusedError(RuntimeError):
    """An action that is not there, or makes no sense now; the message says what would."""


@dataclass(frozen=True, slots=True)
class DemoAction:
    """`alert` is what is told some seconds later, if any; `run` says what it did, or raises RefusedError."""

    name: str
    help: str
    alert: str
    run: Callable[[Demo], str]


def find(line: str, actions: Sequence[DemoAction]) -> DemoAction:
    """The action that a line names; raises RefusedError, which guesses what was meant."""
    name = line.strip()
    for action in actions:
        if action.name == name:
            return action
    names = [action.name for action in actions]
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    raise RefusedError(f"there is no {name!r}; {remedy}")


def action_table(actions: Sequence[DemoAction]) -> str:
    """A line for each action: its name, what it does, and the alert that follows."""
    names = max(len(action.name) for action in actions)
    helps = max(len(action.help) for action in actions)
    return "\n".join(
        f"  {action.name:<{names}}  {action.help:<{helps}}  {action.alert}".rstrip() for action in actions
    )
