from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.external_metrics.selectors import (
    LONGEST_SELECTOR,
    MOST_REQUIREMENTS,
    SelectorError,
    matches,
    parse_selector,
)

LABELS = {"target": "mail", "workload": "mail-worker", "oxherd.dev/x": ""}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("target", True),
        ("queue", False),
        ("!queue", True),
        ("!target", False),
        ("! queue", True),
        ("target=mail", True),
        ("target==mail", True),
        ("target = mail", True),
        ("target=media", False),
        ("target!=media", True),
        ("target!=mail", False),
        ("queue!=media", True),  # as Kubernetes has it: what is not there is not this
        ("target in (mail)", True),
        ("target in (media, mail)", True),
        ("target in(media,mail)", True),
        ("target in (media)", False),
        ("target notin (media)", True),
        ("target notin (mail,media)", False),
        ("queue notin (mail)", True),
        ("queue in (mail)", False),
        ("oxherd.dev/x=", True),
        ("target=", False),
        ("target==", False),
        ("target=mail,workload=mail-worker", True),
        ("target=mail, workload=other", False),
        ("target=mail,!queue,workload in (a,mail-worker)", True),
        ("in=mail", False),
        (" ", True),
        (" \ttarget = mail\r\n", True),
        ("oxherd.dev/x in (,a)", True),
        (",".join(["target"] * MOST_REQUIREMENTS), True),
    ],
)
def test_a_selector_holds_as_in_kubernetes(text: str, holds: bool) -> None:  # noqa: FBT001
    assert matches(parse_selector(text), LABELS) is holds


@pytest.mark.parametrize(
    "text",
    [
        *("=mail", "target=mail,", ",target=mail", "target=mail media", "target in mail"),
        *("target in (mail", "target in ()x", "target>5", "a b", "target=mail&x", "-target", "target=-mail"),
        *(
            "target in ()",
            "target in ( )",
            "target notin ()",
            "target\u00a0=\u00a0mail",
            "target in (mail\u2003)",
            "target=mail\x0b",
        ),
        *("target in (a b)", "a/b/c=d", "!", "target=mail,,workload", "{mail}", "x" * (LONGEST_SELECTOR + 1)),
    ],
)
def test_what_is_no_selector_is_told(text: str) -> None:
    with pytest.raises(SelectorError, match=r"selector|values of a label"):
        parse_selector(text)


def test_a_selector_has_so_many_requirements_at_most() -> None:
    """Each is looked at for each target of the namespace."""
    with pytest.raises(SelectorError, match=f"over {MOST_REQUIREMENTS} requirements"):
        parse_selector(",".join(["!a"] * (MOST_REQUIREMENTS + 1)))


@pytest.mark.fault
@pytest.mark.parametrize(
    "text",
    [
        f"a in ({' ' * 4_000}!)",
        f"a in (b{' ' * 4_000}!)",
        f"a{' ' * 4_000}x",
        "a/" * 2_000,
        "a" * 4_000 + "!",
        "a" + "-" * 4_000,
        "a=" + "b" * 4_000 + "!",
        f"a in ({',' * 4_000}!)",
        f"{' ' * 4_000}!",
    ],
)
def test_no_text_takes_long(text: str) -> None:
    """It is read on the loop that answers all others."""
    before = process_time()
    with pytest.raises(SelectorError):
        parse_selector(text)
    assert process_time() - before < 0.2


@given(st.text(alphabet="abc=!,() in\u0661-./", max_size=40))
def test_any_text_is_a_selector_or_an_error(text: str) -> None:
    try:
        selector = parse_selector(text)
    except SelectorError:
        return
    matches(selector, LABELS)
