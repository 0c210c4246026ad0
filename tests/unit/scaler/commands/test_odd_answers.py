"""What `scaling` does with an answer of any form: a table, or one line. Never a traceback."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from scaler.commands.explain import NoTargetError, show_explanation
from scaler.commands.status import show_status
from service.json_text import read_json
from service.web.status_client import StatusError
from tests.support.any_json import ANY_JSON, STEERING, damaged
from tests.support.public_interface import FIXTURES

STATUS = json.loads((FIXTURES / "scaler-status.json").read_text())


@pytest.mark.fault
@pytest.mark.slow
@given(
    answer=st.one_of(damaged(STATUS), st.dictionaries(st.text(max_size=10), ANY_JSON)),
    as_json=st.booleans(),
    explained=st.booleans(),
)
def test_whatever_a_scaler_answers_no_command_fails_with_a_traceback(
    answer: Any, *, as_json: bool, explained: bool
) -> None:
    try:
        view = read_json(json.dumps(answer).encode())
    except ValueError:
        return
    if not isinstance(view, dict):
        return
    out, said = io.StringIO(), "a table"
    console = Console(file=out, width=200, markup=False, highlight=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.commands.console.Console", lambda **_: console)
        patch.setattr("click.echo", lambda text, **_: out.write(text + "\n"))
        for module in ("status", "explain"):
            patch.setattr(f"scaler.commands.{module}.fetch_status", lambda *_, **__: view)
        try:
            if explained:
                show_explanation("http://a:1", None, "mail", as_json=as_json)
            else:
                assert show_status("http://a:1", as_json=as_json, watch=None) in (0, 1)
        except (NoTargetError, StatusError) as error:
            said = str(error)
    assert said
    assert [sign for sign in STEERING if sign in out.getvalue() and sign != "\n"] == []
