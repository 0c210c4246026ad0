from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

from scaler.decision.jsonl import Session, reply_to, reply_to_lines

BLOCKS = re.findall(r"```\n(.*?)```", (Path(__file__).parents[2] / "docs/decide.md").read_text(), re.DOTALL)


def test_the_answers_of_the_page_are_those_that_are_given() -> None:
    answers = StringIO()
    assert reply_to_lines(StringIO(BLOCKS[0]), answers) == 0
    assert answers.getvalue() == BLOCKS[1]


def test_the_start_that_counts_where_none_is_given_is_the_one_on_the_page() -> None:
    """The SLO, 40 s at most."""
    first, before, last = BLOCKS[0].splitlines()[:3]
    for slo, start in ((20, 20), (30, 30), (300, 40)):
        config = json.loads(first)
        config["config"]["wait_slo_seconds"] = slo
        replies = []
        for given in ({}, {"start_s": start}):
            _, session = reply_to(json.dumps(config), Session())
            _, session = reply_to(json.dumps(json.loads(before) | given), session)
            replies.append(reply_to(json.dumps(json.loads(last) | given), session)[0])
        assert replies[0] is not None
        assert replies[0] == replies[1]
