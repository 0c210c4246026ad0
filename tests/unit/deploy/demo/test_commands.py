from __future__ import annotations

import pytest

from deploy.demo.actions import ACTIONS
from deploy.demo.commands import HELP_COMMAND, DemoAction, RefusedError, action_table, find

KILL = DemoAction("kill-node", "kill a node", "ClusterNodeDown", lambda _: "killed")
START = DemoAction("start", "bring it back", "", lambda _: "is back")


@pytest.mark.parametrize("line", ["kill-node", "  kill-node\n", "kill-node\r\n"])
def test_a_line_names_an_action(line: str) -> None:
    assert find(line, [KILL, START]) is KILL


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kil-node", "unknown action 'kil-node'; did you mean kill-node?"),
        ("kill-node 7001", "unknown action 'kill-node 7001'; did you mean kill-node?"),
        ("coffee", "unknown action 'coffee'; the actions are kill-node, start"),
        ("\x1b[A", r"unknown action '\x1b[A'; the actions are kill-node, start"),
    ],
)
def test_an_unknown_action_is_refused_with_a_suggestion(line: str, message: str) -> None:
    with pytest.raises(RefusedError) as refused:
        find(line, [KILL, START])
    assert str(refused.value) == message


def test_the_table_is_aligned() -> None:
    assert action_table([KILL, START]).splitlines() == [
        "  kill-node  kill a node    ClusterNodeDown",
        "  start      bring it back",
    ]


def test_the_names_of_actions_are_unique() -> None:
    names = [action.name for action in ACTIONS]
    assert len(set(names)) == len(names)
    assert HELP_COMMAND not in names
    assert all(name.isascii() and " " not in name for name in names)
