"""The actions of the demo, and how a line names one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.demo.parts import Demo

HELP_COMMAND: Final = "help"


class RefusedError(RuntimeError):
    """An unknown action, or one that is not possible now; the message names a possible one."""


@dataclass(frozen=True, slots=True)
class DemoAction:
    """`alert` is the alert that follows, if any; `run` returns what it did, or raises RefusedError."""

    name: str
    help: str
    alert: str
    run: Callable[[Demo], str]


def find(line: str, actions: Sequence[DemoAction]) -> DemoAction:
    """The action that a line names; raises RefusedError, which suggests a similar name."""
    name = line.strip()
    for action in actions:
        if action.name == name:
            return action
    names = [action.name for action in actions]
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"the actions are {', '.join(names)}"
    raise RefusedError(f"unknown action {name!r}; {remedy}")


def action_table(actions: Sequence[DemoAction]) -> str:
    """A line for each action: its name, what it does, and the alert that follows."""
    names = max(len(action.name) for action in actions)
    helps = max(len(action.help) for action in actions)
    return "\n".join(
        f"  {action.name:<{names}}  {action.help:<{helps}}  {action.alert}".rstrip() for action in actions
    )
