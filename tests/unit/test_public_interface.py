"""Series, settings, variables, options, JSON keys and state files are what users were promised."""

from __future__ import annotations

import pytest

from tests.support.public_interface import FIXTURES, public_interface

CURRENT = public_interface()


def test_every_file_is_compared() -> None:
    assert sorted(path.name for path in FIXTURES.iterdir()) == sorted(CURRENT)


@pytest.mark.parametrize("name", sorted(CURRENT))
def test_the_public_interface_is_as_it_was(name: str) -> None:
    why = "a change of the public interface: if it is meant, run python -m tests.support.public_interface"
    assert CURRENT[name] == (FIXTURES / name).read_text(), why
