"""docs/keda.md: its YAML against the manifests, the settings, the series and the JSON that it names."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import pytest
import yaml

from scaler.config.settings import TargetSettings
from scaler.config.validation import load_scaler_settings
from scaler.engines.decisions import Code
from scaler.keda.answers import METRIC, known_target
from scaler.metrics import SCALER_FAMILIES
from scaler.step_result import StepResult
from scaler.views import scaler_view
from tests.support.engine_steps import target_step
from tests.support.kubernetes.manifests import named

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "keda.md").read_text()
TEXTS = [dedent(block) for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)]
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(text) for text in TEXTS]
SCALED = [block for block in BLOCKS if block.get("kind") == "ScaledObject"]
TRIGGERS: list[dict[str, Any]] = [trigger for block in SCALED for trigger in block["spec"]["triggers"]]


def settings() -> TargetSettings:
    (text,) = [text for text in TEXTS if text.startswith("targets:")]
    (target,) = load_scaler_settings(text, {}).model.targets
    return target


def test_each_block_is_looked_at() -> None:
    kinds = [block.get("kind", next(iter(block))) for block in BLOCKS]
    assert sorted(kinds) == ["ScaledObject"] * 4 + ["TriggerAuthentication", "components", "keda", "targets"]


def test_a_scaled_object_of_ten_lines_is_enough() -> None:
    first = next(text for text in TEXTS if "ScaledObject" in text)
    assert len(first.splitlines()) <= 10


@pytest.mark.parametrize("scaled", SCALED, ids=range(len(SCALED)))
def test_a_scaled_object_has_the_bounds_and_the_workload_of_the_target(scaled: dict[str, Any]) -> None:
    target, spec = settings(), scaled["spec"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert target.kubernetes is not None
    assert scaled["metadata"]["namespace"] == target.kubernetes.namespace
    assert spec["scaleTargetRef"] == {"name": target.kubernetes.name}
    assert spec.get("minReplicaCount", 0) == target.min_workers
    assert spec["maxReplicaCount"] == target.max_workers


def test_external_triggers_mean_the_target_and_reach_the_service() -> None:
    service = named("overlays/everything", "Service", "oxherd-scaler-keda")
    (port,) = service["spec"]["ports"]
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}:{port['port']}"
    external = [trigger["metadata"] for trigger in TRIGGERS if trigger["type"].startswith("external")]
    assert len(external) == 2
    for metadata in external:
        assert metadata["scalerAddress"] == address
        assert known_target([settings()], metadata) == "mail"


def test_the_prometheus_trigger_asks_for_a_series_that_is_there() -> None:
    (metadata,) = [trigger["metadata"] for trigger in TRIGGERS if trigger["type"] == "prometheus"]
    found = re.fullmatch(r'max\((\w+)\{target="mail"\}\)', metadata["query"])
    assert found is not None
    (family,) = [family for family in SCALER_FAMILIES if family.name == found[1]]
    assert "target" in family.labels
    assert (metadata["threshold"], metadata["ignoreNullValues"]) == ("1", "false")


def test_the_metrics_api_trigger_reads_a_key_that_is_there() -> None:
    (metadata,) = [trigger["metadata"] for trigger in TRIGGERS if trigger["type"] == "metrics-api"]
    found = re.fullmatch(r'(\w+)\.#\((\w+)=="mail"\)\.(\w+)', metadata["valueLocation"])
    assert found is not None
    result = StepResult(1000.0, 0.1, (target_step(7),))
    view = scaler_view(result, version="1", uptime=1.0, actions=[], origins={})
    assert [entry[found[3]] for entry in view[found[1]] if entry[found[2]] == "mail"] == [7]
    (port,) = named("overlays/everything", "Service", "oxherd-scaler")["spec"]["ports"]
    assert metadata["url"] == f"http://oxherd-scaler.oxherd.svc:{port['port']}/status.json"
    assert metadata["targetValue"] == "1"


def test_the_settings_and_the_component_are_there() -> None:
    (text,) = [text for text in TEXTS if text.startswith("keda:")]
    assert load_scaler_settings(text, {}).model.keda.tls.client_ca_file
    (component,) = next(block["components"] for block in BLOCKS if "components" in block)
    assert (ROOT / "docs" / component / "kustomization.yaml").exists()
    assert f"`s0-{METRIC}`" in PAGE


def test_the_codes_of_the_page_are_those_that_are_answered() -> None:
    told = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))
    assert told == set(get_args(Code)) - {"OK"}
