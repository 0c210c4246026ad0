"""docs/external-metrics.md: its commands are run, its YAML is held against what it means."""

from __future__ import annotations

import base64
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean
from textwrap import dedent
from typing import Any

import kubernetes_validate
import pytest
import yaml

from scaler.config.external_metrics import ExternalMetricsTlsSettings
from scaler.config.settings import TargetSettings
from scaler.config.validation import load_scaler_settings
from scaler.engines.certificates import read_certificates
from scaler.external_metrics.answers import (
    EXTERNAL_METRIC,
    HTTP_STATUSES,
    METRICS_GROUP,
    METRICS_VERSION,
    places_of,
)
from scaler.external_metrics.selectors import matches, parse_selector
from tests.support.hpa import HPA_SYNC, Autoscaler
from tests.support.kubernetes.aggregation import SERVICE
from tests.support.kubernetes.manifests import named

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "external-metrics.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return [dedent(block) for block in found]


COMMANDS = [command for block in blocks("sh") for command in block.replace("\\\n", "").splitlines()]
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(text) for text in blocks("yaml")]
[HPA] = [block for block in BLOCKS if block.get("kind") == "HorizontalPodAutoscaler"]


def target() -> TargetSettings:
    [text] = [text for text in blocks("yaml") if text.startswith("targets:")]
    [only] = load_scaler_settings(text, {}).model.targets
    return only


def test_each_block_is_looked_at() -> None:
    kinds = [block.get("kind", next(iter(block))) for block in BLOCKS]
    assert kinds == ["Kustomization", "targets", "HorizontalPodAutoscaler"]
    assert [shlex.split(command)[0] for command in COMMANDS] == ["openssl", *["kubectl"] * 3]


def test_the_certificate_and_the_manifests_fit_together(tmp_path: Path) -> None:
    """The first two steps as they are written, in a folder beside the manifests."""
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    subprocess.run(shlex.split(COMMANDS[0]), cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "kustomization.yaml").write_text(blocks("yaml")[0])
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run(
        [str(kubectl), "kustomize", str(folder)], check=True, capture_output=True, timeout=60
    )
    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    service = objects["APIService", f"{METRICS_VERSION}.{METRICS_GROUP}"]["spec"]
    assert base64.b64decode(service["caBundle"]) == (folder / "tls.crt").read_bytes()
    assert f"{service['service']['name']}.{service['service']['namespace']}.svc" == SERVICE
    assert ("Service", service["service"]["name"]) in objects
    secret = objects["Secret", service["service"]["name"]]
    assert (secret["type"], set(secret["data"])) == ("kubernetes.io/tls", {"tls.crt", "tls.key"})
    tls = {"cert_file": str(folder / "tls.crt"), "key_file": str(folder / "tls.key")}
    assert read_certificates(ExternalMetricsTlsSettings.model_validate(tls)).certificate
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", "tls.crt"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert f"DNS:{SERVICE}".encode() in text.stdout


def test_the_hpa_is_valid_and_means_the_target() -> None:
    kubernetes_validate.validate(HPA, kubernetes_validate.latest_version().rpartition(".")[0], strict=True)
    spec, mail = HPA["spec"], target()
    assert mail.kubernetes is not None
    assert mail.mode == "advise"
    assert HPA["metadata"]["namespace"] == mail.kubernetes.namespace
    assert spec["scaleTargetRef"]["name"] == mail.kubernetes.name
    assert (spec["minReplicas"], spec["maxReplicas"]) == (mail.min_workers, mail.max_workers)
    external = spec["metrics"][0]["external"]
    assert external["metric"]["name"] == EXTERNAL_METRIC
    assert external["target"] == {"type": "AverageValue", "averageValue": "1"}
    [place] = places_of([mail], "oxherd")
    labels = external["metric"]["selector"]["matchLabels"]
    assert place.labels.items() >= labels.items()


def test_the_question_of_the_page_means_the_target() -> None:
    path = shlex.split(COMMANDS[2])[-1]
    [place] = places_of([target()], "oxherd")
    assert path.startswith(
        f"/apis/{METRICS_GROUP}/{METRICS_VERSION}/namespaces/{place.namespace}/{EXTERNAL_METRIC}?labelSelector="
    )
    assert matches(parse_selector(path.partition("labelSelector=")[2].replace("%3D", "=")), place.labels)


def test_the_labels_and_statuses_of_the_page_are_those_of_the_answers() -> None:
    queue = TargetSettings.model_validate(
        {"name": "shop/mail", "queues": ["mail"], "kubernetes": {"name": "mail", "namespace": "shop"}}
    )
    labels = {key for place in places_of([target(), queue], "oxherd") for key in place.labels}
    assert set(re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE)) == labels
    assert set(re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)) == {
        str(status) for status in {*HTTP_STATUSES.values(), 401}
    }


def test_the_role_and_the_component_are_there() -> None:
    role = named("overlays/external-metrics", "ClusterRole", "oxherd-external-metrics")
    assert role["rules"] == [
        {"apiGroups": [METRICS_GROUP], "resources": [EXTERNAL_METRIC], "verbs": ["get", "list"]}
    ]
    [component] = BLOCKS[0]["components"]
    assert (ROOT / "docs" / component / "kustomization.yaml").exists()


def costs(current: int, wanted: int) -> list[int]:
    """Seconds from the decision until the HPA writes the replicas, over all moments at which it may look."""
    pace = HPA["spec"]["behavior"]["scaleUp"]["policies"][0]
    seconds = []
    for moment in range(HPA_SYNC):
        hpa = Autoscaler(minimum=0, maximum=50, up=(0.0, float(pace["value"])))
        hpa.replicas(moment - HPA_SYNC, current, float(current))
        assert hpa.replicas(moment, current, float(wanted)) == wanted
        seconds.append(moment)
    return seconds


@pytest.mark.parametrize(("current", "wanted"), [(0, 1), (1, 50)])
def test_the_page_has_what_it_costs(current: int, wanted: int) -> None:
    """A look falls anywhere in its second: half a second later on average, a whole one at most."""
    seconds = costs(current, wanted)
    cell = f"{mean(seconds) + 0.5:.0f}, at most {max(seconds) + 1}"
    assert f"| an HPA | {cell} | {cell} |" in PAGE, cell
