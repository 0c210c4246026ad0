"""The dashboards are checked with Grafana's own types by the TypeScript compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
MODULES = ROOT / "lab" / "node" / "node_modules"

HEAD = """\
import type { AnnotationQuery, Dashboard } from "@grafana/schema";

// JSON has texts where TypeScript has enums.
type Written<T> = T extends string ? `${T}`
  : T extends readonly (infer U)[] ? Written<U>[]
  : T extends object ? { [K in keyof T]: Written<T[K]> }
  : T;

// What belongs to the kind of data source or panel is not of the dashboard's own type.
type Mark = Omit<AnnotationQuery, "target"> & {
  target?: { expr: string; interval: string; refId: string };
  titleFormat?: string;
  textFormat?: string;
  useValueForTime?: boolean;
};
type File = Omit<Dashboard, "annotations"> & { annotations: { list: Mark[] } };

export const dashboard: Written<File> = """


def compiled(text: str, folder: Path) -> str:
    """The output of the compiler; empty without errors."""
    (folder / "node_modules").symlink_to(MODULES)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "dashboard.ts").write_text(f"{HEAD}{text};\n")
    options = [
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--module",
        "nodenext",
        "--moduleResolution",
        "nodenext",
    ]
    done = subprocess.run(
        [MODULES / ".bin" / "tsc", *options, "dashboard.ts"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_matches_grafanas_types(file: Path, tmp_path: Path) -> None:
    assert compiled(file.read_text(), tmp_path) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"editable": false', '"editable": "no"'),
        ('"mode": "absolute"', '"mode": "relative"'),
        ('"gridPos"', '"gridPosition"'),
    ],
)
def test_an_error_is_detected(right: str, wrong: str, tmp_path: Path) -> None:
    text = FILES[0].read_text()
    assert right in text
    assert "error TS" in compiled(text.replace(right, wrong, 1), tmp_path)
