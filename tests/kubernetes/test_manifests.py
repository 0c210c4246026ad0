"""The manifests: rendered by kubectl, valid for every Kubernetes from 1.28 on, and as safe as they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from exporter.config.shard import parse_shard
from exporter.config.validation import load_exporter_settings
from scaler.config.validation import load_scaler_settings
from tests.support.kubernetes.atomic import left_to_defaulting
from tests.support.kubernetes.manifests import OVERLAYS, ROOT, named, of, rendered

VERSIONS = [f"1.{minor}" for minor in range(28, int(kubernetes_validate.latest_version().split(".")[1]) + 1)]
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledQueue"}  # whose schemas are not Kubernetes'
NEWEST = kubernetes_validate.latest_version().rpartition(".")[0]
EMPTY = {"apiGroup", "matchLabelKeys", "mismatchLabelKeys"}  # by default, so that the server stores nothing


def pods(overlay: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in (*of(overlay, "Deployment"), *of(overlay, "StatefulSet")):
        yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str, version: str) -> None:
    known = [manifest for manifest in rendered(overlay) if manifest["kind"] not in CUSTOM]
    assert len(known) > 10
    for manifest in known:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_newest_kubernetes_is_looked_at() -> None:
    assert VERSIONS[0] == "1.28"
    assert len(VERSIONS) >= 10


def test_a_slip_would_be_noticed() -> None:
    broken = yaml.safe_load(yaml.safe_dump(named("base", "Deployment", "oxherd-scaler")))
    broken["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.28", strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_locked_down(overlay: str) -> None:
    for name, spec in pods(overlay):
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is (name == "oxherd-scaler"), name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"livenessProbe", "readinessProbe"} <= container.keys(), name
            assert {"requests", "limits"} <= container["resources"].keys(), name


def test_there_are_two_scalers_and_one_may_be_away() -> None:
    assert named("base", "Deployment", "oxherd-scaler")["spec"]["replicas"] == 2
    assert named("base", "PodDisruptionBudget", "oxherd-scaler")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_leave_out_the_fields_that_the_scaler_writes(overlay: str) -> None:
    """Applying them again, or a GitOps tool that does, leaves the state, the lease and the replicas alone."""
    state = named(overlay, "ConfigMap", "oxherd-scaler-state")
    assert not state.keys() & {"data", "binaryData"}
    assert "spec" not in named(overlay, "Lease", "oxherd-scaler")
    for manifest in of(overlay, "Deployment"):
        assert ("replicas" in manifest["spec"]) is manifest["metadata"]["name"].startswith("oxherd"), (
            manifest["metadata"]
        )


def test_the_shards_are_those_of_their_ordinals() -> None:
    """As the kubelet sets the variables: the number of a pod, from 1, and of all."""
    overlay = "overlays/shards"
    shards = named(overlay, "StatefulSet", "oxherd-exporter")
    assert not [one for one in of(overlay, "Deployment") if one["metadata"]["name"] == "oxherd-exporter"]
    spec = shards["spec"]
    ordinals = range(spec["ordinals"]["start"], spec["ordinals"]["start"] + spec["replicas"])
    variables = {one["name"]: one for one in spec["template"]["spec"]["containers"][0]["env"]}
    field = variables["ORDINAL"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.labels['apps.kubernetes.io/pod-index']"
    names = list(variables)
    assert names.index("ORDINAL") < names.index("EXPORTER_SHARD"), "only earlier variables are filled in"
    text = variables["EXPORTER_SHARD"]["value"]
    numbers = [parse_shard(text.replace("$(ORDINAL)", str(ordinal))) for ordinal in ordinals]
    assert numbers == [(number, len(ordinals)) for number in range(1, len(ordinals) + 1)]
    assert "CRON_API_KEY_FILE" in variables, "components that patch the exporter reach the shards"
    assert spec["serviceName"] in {service["metadata"]["name"] for service in of(overlay, "Service")}
    budget = named(overlay, "PodDisruptionBudget", "oxherd-exporter")["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, spec["selector"])


def test_prometheus_finds_each_shard_once() -> None:
    [monitor] = [
        one for one in of("overlays/shards", "ServiceMonitor") if one["metadata"]["name"] == "oxherd-exporter"
    ]
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    services = [
        service["metadata"]["name"]
        for service in of("overlays/shards", "Service")
        if selector <= service["metadata"].get("labels", {}).items()
    ]
    assert services == ["oxherd-exporter"]


def parts(data: object) -> Iterator[dict[str, Any]]:
    """All mappings in it."""
    if isinstance(data, dict):
        yield data
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from parts(value)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_defaults_of_lists_are_written_out(overlay: str) -> None:
    """What the API server fills in belongs to who applied first: a second tool would be in conflict."""
    ports = fields = 0
    for manifest in rendered(overlay):
        for part in parts(manifest):
            if "fieldRef" in part:
                assert part["fieldRef"]["apiVersion"] == "v1", manifest["metadata"]
                fields += 1
            for port in part.get("ports", ()) if manifest["kind"] not in CUSTOM else ():
                assert port["protocol"] in {"TCP", "UDP"}, manifest["metadata"]
                ports += 1
    assert ports > 10
    assert fields


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_in_an_atomic_part_is_left_to_defaulting(overlay: str) -> None:
    """What the schema of any field says, so also of one that a manifest uses for the first time."""
    for manifest in rendered(overlay):
        if manifest["kind"] not in {*CUSTOM, "CustomResourceDefinition"}:  # that one: tests/crd
            paths = left_to_defaulting(manifest, NEWEST)
            assert not [path for path in paths if path.rpartition(".")[2] not in EMPTY], manifest["metadata"]


@pytest.mark.parametrize(
    ("kind", "name", "field", "path"),
    [
        ("NetworkPolicy", "oxherd-exporter", "protocol", "spec.egress.ports.protocol"),
        (
            "Deployment",
            "oxherd-scaler",
            "apiVersion",
            "spec.template.spec.containers.env.valueFrom.fieldRef.apiVersion",
        ),
    ],
)
def test_a_default_that_is_left_out_would_be_noticed(kind: str, name: str, field: str, path: str) -> None:
    whole = yaml.safe_load(yaml.safe_dump(named("base", kind, name)))
    for part in parts(whole["spec"]):
        part.pop(field, None)
    assert path in left_to_defaulting(whole, NEWEST)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_there_is_no_secret_and_no_wildcard_permission(overlay: str) -> None:
    assert not of(overlay, "Secret")
    bound = {binding["roleRef"]["name"] for binding in of(overlay, "ClusterRoleBinding")}
    assert bound == ({"oxherd-external-metrics"} if overlay == "overlays/external-metrics" else set())
    roles = of(overlay, "ClusterRole")
    assert bool(roles) is (overlay in {"overlays/scaled-queues", "overlays/external-metrics"})
    ours = [role for role in roles if not role["metadata"]["name"].endswith("-edit")]  # that is the teams'
    for role in [*of(overlay, "Role"), *ours]:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], rule
            assert not {"create", "delete"} & set(rule["verbs"]) or rule["resources"] == ["events"], rule


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_can_be_used(overlay: str) -> None:
    scaler = named(overlay, "ConfigMap", "oxherd-scaler")["data"]["scaler.yml"]
    load_scaler_settings(scaler, {}, file="scaler.yml")
    exporter = named(overlay, "ConfigMap", "oxherd-exporter")["data"]["exporter.yml"]
    load_exporter_settings(exporter, {}, file="exporter.yml")


def test_the_sample_may_scale_what_its_settings_name() -> None:
    text = named("overlays/sample", "ConfigMap", "oxherd-scaler")["data"]["scaler.yml"]
    loaded = load_scaler_settings(text, {}, file="scaler.yml").model
    role = named("overlays/sample", "Role", "oxherd-scaler-workers")
    workloads = {
        (manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        for manifest in of("overlays/sample", "Deployment")
    }
    for target in loaded.targets:
        assert target.kubernetes is not None
        assert role["metadata"]["namespace"] == target.kubernetes.namespace
        names = [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule]
        assert all(target.kubernetes.name in resource_names for resource_names in names)
        assert (target.kubernetes.namespace, target.kubernetes.name) in workloads


def test_bindings_are_for_the_scalers_account() -> None:
    for binding in of("overlays/everything", "RoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "oxherd-scaler", "namespace": "oxherd"}
        ]


def test_services_find_their_pods_and_monitors_their_services() -> None:
    overlay = "overlays/everything"
    for service in of(overlay, "Service"):
        selector = service["spec"]["selector"].items()
        labels = [
            manifest["spec"]["template"]["metadata"]["labels"] for manifest in of(overlay, "Deployment")
        ]
        assert sum(selector <= pod_labels.items() for pod_labels in labels) == 1
    for monitor in of(overlay, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"].items()
        services = [
            manifest
            for manifest in of(overlay, "Service")
            if selector <= manifest["metadata"]["labels"].items()
        ]
        assert [manifest["metadata"]["name"] for manifest in services] == [monitor["metadata"]["name"]]
        ports = {port["name"] for port in services[0]["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    exporter = named(overlay, "Service", "oxherd-exporter")["metadata"]["labels"]
    assert exporter["app.kubernetes.io/part-of"] == "oxherd", "the job that the alert rules ask for"


def test_keda_reaches_the_port_on_which_it_is_answered() -> None:
    """The Service, the port of the pods, the address that the scaler is given, the policy: one number."""
    overlay = "overlays/everything"
    (port,) = named(overlay, "Service", "oxherd-scaler-keda")["spec"]["ports"]
    (container,) = named(overlay, "Deployment", "oxherd-scaler")["spec"]["template"]["spec"]["containers"]
    ports = {found["name"]: found["containerPort"] for found in container["ports"]}
    assert port["port"] == ports[port["targetPort"]] == 9879
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert given["SCALER_KEDA_LISTEN"] == "0.0.0.0:9879"
    admitted = named(overlay, "NetworkPolicy", "oxherd-scaler")["spec"]["ingress"]
    keda = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    assert {"from": keda, "ports": [{"port": 9879, "protocol": "TCP"}]} in admitted
    assert not [name for name in ("overlays/sample", "base") if "9879" in str(of(name, "Deployment"))]


def test_the_operators_rules_are_those_of_the_files() -> None:
    rules = {
        manifest["metadata"]["name"]: manifest["spec"]
        for manifest in of("overlays/everything", "PrometheusRule")
    }
    assert rules == {
        path.stem: yaml.safe_load(path.read_text())
        for path in (ROOT / "deploy" / "prometheus" / "rules").glob("oxherd*.yml")
    }


# --- the image ---------------------------------------------------------------------------------------------


def test_hadolint_reports_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    completed = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, check=False, timeout=30)
    assert (completed.returncode, completed.stdout.decode()) == (0, "")


def test_the_images_user_and_ports_are_those_of_the_manifests() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for name, spec in (*pods("base"), *pods("overlays/everything")):
        if not name.startswith("oxherd-"):
            continue
        user = spec["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in text, name
        for port in spec["containers"][0]["ports"]:
            assert str(port["containerPort"]) in text.partition("EXPOSE")[2].partition("\n")[0]


def test_image_and_manifests_have_one_arena_of_memory() -> None:
    assert " MALLOC_ARENA_MAX=1\n" in (ROOT / "Dockerfile").read_text()
    for name, spec in pods("base"):
        assert {"name": "MALLOC_ARENA_MAX", "value": "1"} in spec["containers"][0]["env"], name


def test_dockerignore_includes_the_copied_files() -> None:
    included = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert source in included
                assert (ROOT / source).exists()
