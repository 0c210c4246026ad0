from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config.model import LogSettings
from service.logs import Formatter, LogFileError, LogFormat, ProblemLog, configure, configure_by
from tests.support.any_json import STEERING


@pytest.fixture
def _root() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.captureWarnings(False)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def record(event: str, *arguments: object, **extra: object) -> logging.LogRecord:
    entry = logging.LogRecord("a.b", logging.WARNING, __file__, 1, event, arguments, None)
    vars(entry).update(extra)
    entry.created = 0.0005
    return entry


def test_logfmt() -> None:
    line = Formatter("logfmt").format(
        record(
            "issue %s", "up", issue="a b", count=3, ratio=0.123456789, none=None, yes=True, text='q"=\n\x1b'
        )
    )
    assert line == (
        'time=1970-01-01T00:00:00.000Z level=warning event="issue up" logger=a.b issue="a b" count=3 '
        'ratio=0.123457 none=null yes=true text="q\\"=\\n\\u001b"'
    )


@pytest.mark.parametrize("name", ["time", "level", "event", "logger"])
def test_a_figure_of_the_name_of_a_field_of_the_log_does_not_replace_it(name: str) -> None:
    entry = record("scaled")
    vars(entry)[name] = 1.5387
    plain = json.loads(Formatter("json").format(record("scaled")))
    assert json.loads(Formatter("json").format(entry)) == {**plain, f"{name}_": 1.5387}


def test_json() -> None:
    line = Formatter("json").format(record("issue", issue="é\n", count=3))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "warning",
        "event": "issue",
        "logger": "a.b",
        "issue": "é\n",
        "count": 3,
    }


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_a_traceback_is_in_the_same_line_and_holds_no_secret(form: str) -> None:
    entry = record("failed")
    try:
        int("redis://:hunter2@h, nor s3")
    except ValueError:
        entry.exc_info = sys.exc_info()
    line = Formatter("json" if form == "json" else "logfmt", ["hunter2", "s3"]).format(entry)
    assert "\n" not in line
    assert "hunter2" not in line
    assert "(hidden)@h, nor s3" in line  # too short to be told from other text
    assert "test_logs.py" in line


def test_a_longer_secret_is_hidden_whole() -> None:
    line = Formatter("logfmt", ["hunter", "hunter2-and-more"]).format(record("x", a="hunter2-and-more"))
    assert line.endswith("a=(hidden)")


def test_a_long_value_is_cut() -> None:
    assert len(Formatter("logfmt").format(record("x", a="y" * 100_000))) < 9000


@pytest.mark.usefixtures("_root")
def test_configure() -> None:
    stream = io.StringIO()
    configure("info", "logfmt", stream=stream)
    configure("warning", "logfmt", secrets=["hunter2"], stream=stream)
    logging.getLogger("x").info("not this")
    logging.getLogger("x").warning("this", extra={"a": "hunter2"})
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        warnings.warn("careful", stacklevel=1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("level=warning event=this logger=x a=(hidden)")
    assert "careful" in lines[1]


# --- a file ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_root")
def test_a_file_gets_every_line_too_and_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "monitoring.log"
    configure_by(LogSettings(file=str(file)), ["hunter2"])
    logging.getLogger("a").info("said", extra={"what": "hunter2"})
    assert file.read_text() == capsys.readouterr().err
    assert "(hidden)" in file.read_text()
    assert "hunter2" not in file.read_text()
    configure("info", "logfmt")


@pytest.mark.usefixtures("_root")
def test_a_file_that_has_grown_is_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "monitoring.log"
    configure_by(LogSettings(file=str(file), file_megabytes=0.001, file_backups=2), [])
    for number in range(60):
        logging.getLogger("a").info("said", extra={"number": number, "filling": "x" * 40})
    configure("info", "logfmt")
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["monitoring.log", "monitoring.log.1", "monitoring.log.2"]
    assert "number=59" in file.read_text()
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


@pytest.mark.usefixtures("_root")
def test_the_folder_of_the_file_is_made(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "today" / "monitoring.log"
    configure_by(LogSettings(file=str(file)), [])
    logging.getLogger("a").info("said")
    configure("info", "logfmt")
    assert "event=said" in file.read_text()


@pytest.mark.usefixtures("_root")
def test_a_file_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(LogFileError, match=r"file exists|not a directory"):
        configure_by(LogSettings(file=str(tmp_path / "plain" / "x.log")), [])
    with pytest.raises(LogFileError, match="is a directory"):
        configure_by(LogSettings(file=str(tmp_path)), [])


def test_a_problem_is_logged_once_then_what_it_became_then_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    problems = ProblemLog(logging.getLogger("test"), "target failing", "target recovered")
    for problem in ("", "no answer", "no answer", "forbidden", "", ""):
        problems.report(problem, target="mail")
    lines = [(record.levelname, record.message, record.__dict__.get("error")) for record in caplog.records]
    assert lines == [
        ("WARNING", "target failing", "no answer"),
        ("WARNING", "target failing", "forbidden"),
        ("INFO", "target recovered", None),
    ]
    assert all(record.__dict__["target"] == "mail" for record in caplog.records)


def test_without_an_event_for_its_end_a_problem_that_returns_is_logged_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    problems = ProblemLog(logging.getLogger("test"), "cannot write events", None)
    for problem in ("forbidden", "forbidden", "", "forbidden"):
        problems.report(problem)
    assert [record.message for record in caplog.records] == ["cannot write events"] * 2


FORGED = 'mail\n{"level": "error"}\ntime=2026-01-01T00:00:00.000Z level=error event="redis down"\r\x1b[2K'


@pytest.mark.fault
@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_nothing_in_a_log_steers_the_terminal_or_forges_a_line(form: LogFormat) -> None:
    hostile = FORGED + "".join(STEERING)
    try:
        raise ValueError(hostile)  # noqa: TRY301
    except ValueError:
        entry = record(hostile, queue=hostile, names=[hostile])
        entry.exc_info = sys.exc_info()
    line = Formatter(form).format(entry)
    assert line.isprintable()
    assert line.startswith('{"time": "1970' if form == "json" else "time=1970")
    if form == "json":
        assert json.loads(line)["queue"] == hostile
        assert json.loads(line)["level"] == "warning"
    else:
        assert re.findall(r"(?:^| )level=(\w+) ", re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)) == ["warning"]


@pytest.mark.fault
@pytest.mark.usefixtures("_root")
@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_a_name_that_is_not_utf_8_is_logged_to_a_file(form: LogFormat, tmp_path: Path) -> None:
    configure_by(LogSettings(format=form, file=str(tmp_path / "log")), [])
    logging.getLogger("a").warning("found", extra={"queue": "caf\udce9"})
    configure("info", form)  # closes it
    assert "caf\\udce9" in (tmp_path / "log").read_text()
