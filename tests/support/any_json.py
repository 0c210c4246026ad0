"""JSON of any form, and a view in which something was replaced by it or is missing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import strategies as st

STEERING: Final = (
    *(chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))),  # ESC, CSI as one sign, line ends ...
    *("\u200e", "\u200f", "\u2028", "\u2029"),
    *(chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))),
)
"""What moves the cursor of a terminal, ends a line, or turns the direction of text."""

NUMBERS: Final = (0, -1, 1, 2**63, 10**19, 1e308, -1e308, 5e-324, 0.5)
TEXTS: Final = ("", "x", "healthy", "cluster", "2026-01-02", "1e5", "<b>", "\ud800", *STEERING)

SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(TEXTS),
    st.text(max_size=20),
)
ANY_JSON: Final = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=10,
)

_MISSING: Final = object()


def damaged(view: Any) -> st.SearchStrategy[Any]:
    """The view with one to three of its parts missing or of any other form."""
    places = list(_places(view))
    change = st.tuples(st.sampled_from(places), st.one_of(st.just(_MISSING), ANY_JSON))
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _changed(view, changes))


def _places(view: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each part but the whole: keys and positions."""
    items = view.items() if isinstance(view, dict) else enumerate(view) if isinstance(view, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _changed(view: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    view = copy.deepcopy(view)
    for path, value in changes:
        holder = view
        try:
            for key in path[:-1]:
                holder = holder[key]
            if value is _MISSING:
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
        except (AttributeError, IndexError, KeyError, TypeError):
            continue  # an earlier change took its place away
    return view
