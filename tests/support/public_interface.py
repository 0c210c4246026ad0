"""What users depend on, as files to compare: series, settings, variables, options, JSON keys, state files.

`python -m tests.support.public_interface` writes tests/fixtures/public_interface again, when a change is
intended. Texts for people (descriptions, help) are not part of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import click

from exporter.api.forward import ScalerClient
from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.streams.state_file import checkpoint_line
from exporter.bullmq.streams.stream import Stream, StreamPosition
from exporter.cli import main as monitor
from exporter.config.environment import CLUSTER_VARIABLES, EXPORTER_VARIABLES
from exporter.config.settings import ExporterSettings
from exporter.metrics.families import FAMILIES
from exporter.metrics.render import Renderer
from exporter.snapshot.queues import QueueId
from exporter.views import About, Task, status_view
from exporter.web.app import make_exporter_app
from scaler.activity import Activity
from scaler.app import make_scaler_app
from scaler.cli import main as scaling
from scaler.config.environment import MINUTES, SCALER_VARIABLES
from scaler.config.settings import PolicySettings, ScalerSettings, TargetSettings
from scaler.metrics import SCALER_FAMILIES
from scaler.model import Applied, Control, Decision, Override, QueueSample, Workers
from scaler.state.model import Action, OperatorState, State, to_json
from scaler.step_result import StepResult, TargetStep
from scaler.views import scaler_view
from service.api.auth import ApiKeyAuth
from service.api.settings import ApiSettings
from service.outcome import Ok
from tests.support.assessments import assessment
from tests.support.exporter_app import FakeExporter

FIXTURES: Final = Path(__file__).parents[1] / "fixtures" / "public_interface"
_TEXTS: Final = frozenset({"description", "summary", "info"})


def public_interface() -> dict[str, str]:
    """The name and the text of each file."""
    auth = ApiKeyAuth(ApiSettings(), "CRON_API_KEY")
    scaler: Any = SimpleNamespace(why_not_ready=list)  # no path is called
    families = [[family.name, family.kind, list(family.labels)] for family in (*FAMILIES, *SCALER_FAMILIES)]
    data = {
        "series": families,
        "exporter-openapi": _without_texts(
            make_exporter_app(FakeExporter(), auth, ScalerClient(None, 1)).openapi()
        ),
        "scaler-openapi": _without_texts(make_scaler_app(scaler, auth, "1").openapi()),
        "exporter-settings": _without_texts(ExporterSettings.model_json_schema()),
        "scaler-settings": _without_texts(ScalerSettings.model_json_schema()),
        "environment": {
            "exporter": {**EXPORTER_VARIABLES, **dict.fromkeys(CLUSTER_VARIABLES, "")},
            "scaler": {**SCALER_VARIABLES, MINUTES: "interval_seconds"},
        },
        "commands": {"monitor": _options(monitor), "scaling": _options(scaling)},
        "status": status_view(
            assessment(), About("1.2.3", monitoring=True, uptime=1.0, tasks=(Task("watch", True, 0.5, 0),))
        ),
        "scaler-status": _scaler_status(),
    }
    renderer = Renderer()
    return {
        **{
            f"{name}.json": json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            for name, value in data.items()
        },
        "exposition.txt": _without_help(renderer.text(assessment())),
        "openmetrics.txt": _without_help(renderer.openmetrics(assessment())),
        "scaler-state.json": to_json(_scaler_state()),
        "exporter-state.txt": _checkpoint() + "\n",
    }


def _without_texts(value: Any, *, names: bool = False) -> Any:
    """A schema or description without texts for people; `names`: the keys are names of properties."""
    if isinstance(value, dict):
        return {
            key: _without_texts(inner, names=key == "properties")
            for key, inner in value.items()
            if names or key not in _TEXTS or not isinstance(inner, str | dict)
        }
    return [_without_texts(inner) for inner in value] if isinstance(value, list) else value


def _without_help(exposition: bytes) -> str:
    lines = exposition.decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# HELP"))


def _options(group: click.Group) -> dict[str, list[list[Any]]]:
    return {
        name: [
            [option.name, list(option.opts), option.required, option.type.name] for option in command.params
        ]
        for name, command in group.commands.items()
    }


def _scaler_state() -> State:
    operator = OperatorState(
        {"mail": Override(5, "a sale", "ann", 100.0, 200.0)},
        frozenset({"video"}),
        {"mail": {"max_workers": 20}},
        enabled=True,
        interval_seconds=30.0,
    )
    learned = {"mail": {"policy": "threshold", "learned": {}, "guards": {}}}
    return State(operator, learned, (Action(100.0, "mail", 1, 5, "override"),))


def _checkpoint() -> str:
    jobs = Jobs()
    events = ((b"1000-0", b"added"), (b"1000-1", b"waiting"), (b"2000-0", b"active"))
    jobs.feed([[entry, [b"event", event, b"jobId", b"1"]] for entry, event in events])
    queue = QueueId("bull", "mail")
    position = StreamPosition(b"2000-0", 3, 0, 0, 0, 1.0)
    return checkpoint_line(queue, position, Stream(queue, jobs, 1.0))


def _scaler_status() -> Any:
    step = TargetStep(
        name="mail",
        queues=("mail",),
        settings=PolicySettings(worker_concurrency=5),
        time=1001.0,
        workers=Ok(Workers(2, 2, 3.0)),
        sample=QueueSample(1000.0, 5.0, 2.0, 10.0, 1.0, 12.0, 30.0, 11.0, 4.0, 0.0),
        control=Control(override=Override(5, "a", "b", 1.0, 2.0)),
        decision=Decision(
            workers=5,
            proposed=3,
            reason="override",
            sentence="5 by b: a",
            inputs={"service_seconds": 2.0, "concurrency": 5.0},
            notes=("n",),
            conditions=frozenset({"Overridden"}),
        ),
        acted=Applied(5),
        activity=Activity(300.0, 120.0, 0.1, 0.5),
        since={"Overridden": 101.0},
    )
    return scaler_view(
        StepResult(1001.0, 0.1, (step,)),
        version="1",
        uptime=2.0,
        actions=[Action(1.0, "mail", 1, 5, "x")],
        origins={"mail": {"max_workers": "target"}},
        configured={"mail": TargetSettings.model_validate({"name": "mail", "queues": ["mail"]})},
        interval=5.0,
        age=0.0,
    )


def main() -> None:
    """Write the files."""
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name, text in public_interface().items():
        (FIXTURES / name).write_text(text)


if __name__ == "__main__":
    main()
