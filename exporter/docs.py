"""Writes docs/metrics.md, docs/settings.md and docs/settings.schema.json from the declarations, or compares.

`python -m exporter.docs --write` and `--check`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.exposition import OWN
from exporter.metrics import bullmq, cluster, events, health, host, internal, redis
from exporter.settings import ENV, ENV_CLUSTER, Settings
from service.settings import is_secret, secret_names

HERE: Final = Path(__file__).parent.parent / "docs"

_NODES: Final = (
    "`node` is host:port as the deployment announces it. The names are redis_exporter's where the meaning is "
    "the same; `deploy/prometheus/prometheus.yml` copies `node` into `instance`, which its dashboards go by."
)
_STREAMS: Final = (
    "Read without consumer groups, so that any number of exporters may follow the same streams. A counter "
    "begins at 0 when the exporter first knows the queue, and starts anew with the exporter."
)
SUBJECTS: Final = (
    ("Health", "What the score is made of is in the README.", health.FAMILIES),
    (
        "Redis, per node",
        _NODES,
        redis.FAMILIES,
    ),
    (
        "Redis Cluster and Sentinel",
        "A node's own view where CLUSTER INFO gives it; the agreed one where the help says so.",
        cluster.FAMILIES,
    ),
    ("BullMQ, per queue", "`prefix` and `queue` name a queue.", bullmq.FAMILIES),
    (
        "BullMQ, from the event streams",
        _STREAMS,
        events.FAMILIES,
    ),
    ("Host", "Switched off by `host.enabled: false`, where node_exporter runs anyway.", host.FAMILIES),
    (
        "The exporter itself",
        "And `process_*` and `python_*`, which prometheus-client adds.",
        internal.FAMILIES,
    ),
)

RULES: Final = """\
# Series

Written by `make docs` from the declarations in `exporter/metrics/`.

- Base units: seconds, bytes, ratios from 0 to 1. `_total` ends the name of a counter and of nothing else.
- A series whose source could not be read in a scrape is left out of it, and its `_up` or `_success` is 0.
  It is never 0 for "unknown".
- A queue or a node that is gone disappears.
- No label holds a value that grows without end: no job, worker or pod.
"""


def metrics_page() -> str:
    """docs/metrics.md"""
    lines = [RULES]
    for title, text, families in SUBJECTS:
        lines += [f"## {title}", "", text, "", "| series | type | labels | meaning |", "|---|---|---|---|"]
        lines += [_series_row(one.name, one.kind, one.labels, one.help) for one in families]
        if families is internal.FAMILIES:
            lines += [_series_row(name, "gauge", labels, text) for name, (labels, text) in OWN.items()]
        lines.append("")
    return "\n".join(lines)


def _series_row(name: str, kind: str, labels: tuple[str, ...], text: str) -> str:
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {_cell(text)} |"


def settings_page() -> str:
    """docs/settings.md"""
    names = {path: name for name, path in ENV.items()}
    secrets = ", ".join(f"`{name}_FILE`" for name in secret_names(Settings, ENV))
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from `exporter/settings.py`. The file is YAML, named by `--config FILE` or",
        "`EXPORTER_CONFIG`; the environment goes before the file, and the command line before both. An",
        "unknown key is an error. `monitor start --check-config` checks and does not start, `--print-config`",
        "shows what counts, secrets hidden. [settings.schema.json](settings.schema.json) is for editors.",
        "",
        f"A secret may be in a file that a variable names: {secrets}.",
        "One line end at the file's end is dropped. A file that is empty or cannot be read is an error, and",
        "so is a secret that is given both ways.",
        "",
        "| setting | environment | type | default | meaning |",
        "|---|---|---|---|---|",
        *(_setting_row(path, field, names.get(path, "")) for path, field in _leaves(Settings, "")),
        "",
        "A cluster's nodes may be given one by one:",
        "",
        "| environment | meaning |",
        "|---|---|",
        *(f"| `{name}` | {_cell(text)} |" for name, text in ENV_CLUSTER.items()),
        "",
    ]
    return "\n".join(lines)


def _leaves(model: type[BaseModel], under: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is None:
            yield under + name, field
        elif get_origin(field.annotation) is tuple:
            yield under + name, field
            yield from _leaves(inner, f"{under}{name}[].")
        else:
            yield from _leaves(inner, f"{under}{name}.")


def _model_of(kind: Any) -> type[BaseModel] | None:
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _setting_row(path: str, field: FieldInfo, name: str) -> str:
    if not field.description:
        raise ValueError(f"{path} has no description")
    env = f"`{name}`" if name else ""
    return (
        f"| `{path}` | {env} | {_type(field.annotation)} | {_default(field)} | {_cell(field.description)} |"
    )


def _type(kind: Any) -> str:
    if is_secret(kind):
        return "secret"
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return "list" if _model_of(kind) else f"list of {_type(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return "mapping"
    words = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    kinds = [one for one in get_args(kind) if one is not NoneType] or [kind]
    return " or ".join(words[one] for one in kinds)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, tuple):
        value = ", ".join(str(one) for one in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def pages() -> dict[Path, str]:
    """Every generated file and what should be in it."""
    schema = json.dumps(Settings.model_json_schema(), indent=2) + "\n"
    return {
        HERE / "metrics.md": metrics_page(),
        HERE / "settings.md": settings_page(),
        HERE / "settings.schema.json": schema,
    }


def stale() -> list[Path]:
    """The files that are not what they should be."""
    return [path for path, text in pages().items() if not path.exists() or path.read_text() != text]


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--write"]:
            HERE.mkdir(exist_ok=True)
            for path, text in pages().items():
                path.write_text(text)
            return 0
        case ["--check"]:
            for path in stale():
                sys.stderr.write(f"{path.name} is not what the declarations say: run make docs\n")
            return 1 if stale() else 0
    sys.stderr.write("usage: python -m exporter.docs --check | --write\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
