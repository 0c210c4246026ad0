"""What people read: it fits the terminal, and lines to be pasted stay whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.doctor.model import CheckStatus, Diagnosis, Fix, Place, worst_code
from exporter.doctor.report import report_lines
from service.catalogs import TRANSLATORS
from service.i18n import Message

PLACES: tuple[Place, ...] = ("shell", "environment", "prometheus", "scaler", "application", "settings")
CHECK_STATUSES: tuple[CheckStatus, ...] = ("wrong", "warning", "unchecked", "good")

prose = st.text("abc ", min_size=1, max_size=300).map(lambda text: Message("issue.text", text=text))
commands = st.text("abc -'", min_size=1, max_size=300)
diagnoses = st.builds(
    Diagnosis,
    check=st.sampled_from(["eviction", "queues"]),
    status=st.sampled_from(CHECK_STATUSES),
    seen=prose,
    effect=st.none() | prose,
    fixes=st.lists(
        st.builds(Fix, st.sampled_from(PLACES), st.lists(commands, min_size=1, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
)


@given(st.lists(diagnoses, max_size=4), st.integers(40, 200), st.sampled_from(sorted(TRANSLATORS)))
def test_prose_fits_and_commands_are_whole(found: list[Diagnosis], width: int, language: str) -> None:
    lines = list(report_lines(found, TRANSLATORS["id" if language == "id" else "en"], width=width))
    fixes = {f"    {line}" for diagnosis in found for fix in diagnosis.fixes for line in fix.lines}
    assert fixes <= set(lines)
    longest_word = 300
    prose_lines = [line for line in lines if line not in fixes]
    assert all(
        len(line) <= max(width, 60) or max(map(len, line.split())) > width - 12 for line in prose_lines
    )
    assert all(len(line) <= longest_word + 20 for line in prose_lines)


def test_what_would_steer_the_terminal_is_shown_as_text() -> None:
    found = Diagnosis("queues", "wrong", Message("issue.text", text="bull:\x1b[31m"), None, ())
    assert "\x1b" not in "".join(report_lines([found], TRANSLATORS["en"], width=80))


@given(st.lists(st.sampled_from(CHECK_STATUSES)))
def test_exit_codes(statuses: list[CheckStatus]) -> None:
    code = worst_code(Diagnosis("queues", status, Message("issue.text", text="x")) for status in statuses)
    assert code == (2 if "wrong" in statuses else 1 if "warning" in statuses else 0)


def test_the_summary_says_what_is_not_checked() -> None:
    found = [Diagnosis("queues", status, Message("issue.text", text="x")) for status in ("good", "unchecked")]
    assert next(report_lines(found, TRANSLATORS["en"], width=80)) == "nothing found: 1 good, 1 not checked"
