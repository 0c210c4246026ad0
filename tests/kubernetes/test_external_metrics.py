"""Whole scalers behind the aggregation layer of an API server, as an HPA and kubectl ask it.

Always on the API server in memory: a real one would have to reach this process by a Service.
"""

from __future__ import annotations

import json
import re
import resource
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest
import yaml

from lab.deadline import wait_until
from lab.ports import free_port
from lab.tls import Certificates, issue_server_certificate, make_certificates
from scaler.configuration import Reloader, read_scaler_settings
from scaler.external_metrics.answers import EXTERNAL_METRIC, METRICS_GROUP, METRICS_VERSION
from scaler.run import Scaler
from tests.support.fake_prometheus import Waiting, fake_prometheus
from tests.support.hpa import HPA_SYNC, Autoscaler
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.aggregation import SERVICE, Aggregation, Reply, aggregation
from tests.support.kubernetes.cluster import ACCOUNT, LEASE, STATE
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.manifests import of
from tests.support.kubernetes.rules import RULES
from tests.support.kubernetes.scalers import settings

pytestmark = pytest.mark.timeout(180)  # a few seconds alone, of steps of 1 s

Start: TypeAlias = Callable[..., Scaler]
NAMESPACE = "oxherd-test"
ROOT = f"/apis/{METRICS_GROUP}/{METRICS_VERSION}"


@pytest.fixture
def layer(tmp_path: Path) -> tuple[Aggregation, Certificates]:
    return aggregation(tmp_path)


@pytest.fixture
def admin(layer: tuple[Aggregation, Certificates]) -> Iterator[Admin]:
    """Of the API server in memory, with the lease and the state of the manifests."""
    front = Front(layer[0].answer)
    administrator = Admin(front, NAMESPACE, "busybox:stable")
    administrator.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    configs = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    for path, name in ((configs, STATE), (leases, LEASE)):
        administrator.ask("POST", path, {"metadata": {"name": name}})
    yield administrator
    front.stop()


@pytest.fixture
def waiting() -> Waiting:
    return Waiting(40)


@pytest.fixture
def start(
    layer: tuple[Aggregation, Certificates], admin: Admin, waiting: Waiting, tmp_path: Path
) -> Iterator[Start]:
    """A whole scaler with the rights of the manifests, which the API server knows as its APIService."""
    aggregator, files = layer
    token = admin.account(ACCOUNT, RULES)
    may_read_front_proxy(admin)
    kubeconfig = admin.kubeconfig(tmp_path / "kubeconfig", token)
    with fake_prometheus(waiting=waiting) as prometheus, ExitStack() as undo:

        def started(*, url: str = prometheus.url, **changed: Any) -> Scaler:
            tls = {"cert_file": str(files.server_certificate), "key_file": str(files.server_key)}
            listening = {"listen": "127.0.0.1:0", "external_metrics": {"listen": "127.0.0.1:0", "tls": tls}}
            file = tmp_path / "scaler.yml"
            file.write_text(yaml.safe_dump(settings(kubeconfig, url, **listening, **changed)))
            process = Scaler(Reloader(read_scaler_settings({}, config=str(file)), {}, config=str(file)))
            process.start()
            undo.callback(process.stop)
            aggregator.services[METRICS_GROUP, METRICS_VERSION] = str(process.external_metrics_address)
            return process

        yield started


def may_read_front_proxy(admin: Admin) -> None:
    """Each cluster has this role; the binding is that of the component."""
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system"
    role = "extension-apiserver-authentication-reader"
    rules = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["extension-apiserver-authentication"],
            "verbs": ["get", "list", "watch"],
        }
    ]
    admin.ask("POST", f"{rbac}/roles", {"metadata": {"name": role}, "rules": rules})
    [binding] = [
        each for each in of("overlays/external-metrics", "RoleBinding") if each["roleRef"]["name"] == role
    ]
    body = binding | {"subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}]}
    admin.ask("POST", f"{rbac}/rolebindings", body)


def question(selector: str = "target=mail", namespace: str = NAMESPACE) -> str:
    return f"{ROOT}/namespaces/{namespace}/{EXTERNAL_METRIC}?labelSelector={quote(selector)}"


def value(admin: Admin, selector: str = "target=mail") -> int | None:
    """What an HPA takes of the answer: the sum of the values; None for an error."""
    status, _, body = admin.front.backend("GET", question(selector), {}, b"")
    if status != 200:
        return None
    assert isinstance(body, bytes)
    return sum(int(item["value"]) for item in json.loads(body)["items"])


def until(admin: Admin, expected: int | None) -> None:
    wait_until(lambda: value(admin) == expected, what=f"the HPA gets {expected}", seconds=60, every=0.2)


def test_the_policys_number_is_answered_through_the_api_server(
    admin: Admin, start: Start, waiting: Waiting
) -> None:
    """Of a target that an HPA scales; the scaler writes nothing."""
    admin.workload("mail", 2)
    process = start(defaults={"mode": "advise"})
    until(admin, 8)
    document = admin.ask("GET", question())
    [item] = document["items"]
    assert item["metricLabels"] == {"target": "mail", "workload": "mail"}
    assert item["timestamp"].endswith("Z")
    waiting.jobs = 0
    until(admin, 1)
    assert not admin.front.writes()
    exposed = process.exposition("text").decode()
    assert 'oxherd_scaler_external_metrics_requests_total{code="200"}' in exposed
    assert "oxherd_scaler_external_metrics_ready 1.0" in exposed


def test_the_hpa_reaches_the_number_in_one_look_and_goes_to_zero_and_back(
    admin: Admin, start: Start, waiting: Waiting
) -> None:
    """An HPA v2 with a minimum of 0, as of Kubernetes 1.37, with a `behavior` that is not slower."""
    admin.workload("mail", 1)
    policy = {"min_workers": 0, "scale_to_zero_after_seconds": 3, "mode": "advise"}
    start(defaults=policy)
    hpa = Autoscaler(minimum=0, up=(0.0, 100.0), stabilization=0)
    until(admin, 8)
    assert hpa.replicas(0, 1, value(admin)) == 8
    waiting.jobs = 0
    until(admin, 0)
    assert hpa.replicas(HPA_SYNC, 8, value(admin)) == 0
    waiting.jobs = 3
    wait_until(lambda: value(admin), what="there is work again", seconds=60, every=0.2)
    assert hpa.replicas(2 * HPA_SYNC, 0, value(admin)) == value(admin)
    assert Autoscaler(minimum=1).replicas(2 * HPA_SYNC, 0, value(admin)) == 0, "it was set to 0 by somebody"


@pytest.mark.fault
def test_without_metrics_it_is_an_error_that_says_why_and_never_a_zero(admin: Admin, start: Start) -> None:
    admin.workload("mail", 2)
    start(url=f"http://127.0.0.1:{free_port()}")
    wait_until(lambda: "mail: " in why(admin, question()), what="it says what is wrong", seconds=60)
    assert value(admin) is None
    assert Autoscaler().replicas(0, 6, value(admin)) == 6


def why(admin: Admin, path: str) -> str:
    status, _, body = admin.front.backend("GET", path, {}, b"")
    assert status in {404, 503, 400}
    assert isinstance(body, bytes)
    with suppress(ValueError):
        return str(json.loads(body)["message"])
    return body.decode()


def test_what_is_asked_wrongly_is_told(admin: Admin, start: Start) -> None:
    admin.workload("mail", 2)
    start()
    until(admin, 8)
    for path, said in {
        question("target=mial"): "the nearest: mail",
        question("target=mail media"): "no label selector",
        question(namespace="default"): "no target has its workload in namespace default",
        f"{ROOT}/namespaces/{NAMESPACE}/recommended?labelSelector=target%3Dmail": f"only {EXTERNAL_METRIC}",
        f"{ROOT}/namespaces/{NAMESPACE}": "there is no such path",
        f"{ROOT}/": "there is no such path",
    }.items():
        assert said in why(admin, path)


def test_of_two_selectors_the_first_counts(
    admin: Admin, start: Start, layer: tuple[Aggregation, Certificates]
) -> None:
    """As in the API server, which may grant by it."""
    admin.workload("mail", 2)
    start()
    until(admin, 8)
    address = layer[0].services[METRICS_GROUP, METRICS_VERSION]
    for selectors, status in ((("target=no", "target=mail"), 404), (("target=mail", "target=no"), 200)):
        first, second = map(quote, selectors)
        path = f"{question('').removesuffix('=')}={first}&labelSelector={second}"
        assert layer[0].ask(address, path).status == status


def test_kubectl_reads_it(admin: Admin, start: Start, tmp_path: Path) -> None:
    admin.workload("mail", 2)
    start()
    until(admin, 8)
    file = tmp_path / "admin"
    admin.kubeconfig(file, "")
    data = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(data | {"users": [{"name": "test", "user": {}}]}))
    kubectl = Path(sys.executable).parent / "kubectl"
    command = [str(kubectl), f"--kubeconfig={file}", "get", "--raw", question()]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["items"][0]["value"] == "8"


def test_whoever_may_view_a_namespace_may_ask_for_its_numbers(admin: Admin, start: Start) -> None:
    admin.workload("mail", 2)
    start()
    until(admin, 8)
    [role] = of("overlays/external-metrics", "ClusterRole")
    for name, rules, expected in (("viewer", role["rules"], 200), ("other", RULES, 403)):
        authorization = {"Authorization": f"Bearer {admin.account(name, rules)}"}
        assert admin.front.backend("GET", question(), authorization, b"")[0] == expected


def test_the_api_server_finds_the_metric(
    admin: Admin, start: Start, layer: tuple[Aggregation, Certificates]
) -> None:
    """It asks with these paths whether the API is there, and what is in it."""
    start()
    address = layer[0].services[METRICS_GROUP, METRICS_VERSION]
    wait_until(lambda: status_of(layer[0], ROOT) == 200, what="the API is available", seconds=60)
    [resource] = layer[0].ask(address, ROOT).json["resources"]
    assert (resource["name"], resource["namespaced"], resource["verbs"]) == (EXTERNAL_METRIC, True, ["get"])
    assert (
        layer[0].ask(address, f"/apis/{METRICS_GROUP}").json["preferredVersion"]["version"] == METRICS_VERSION
    )
    assert layer[0].ask(address, "/apis").json["groups"][0]["name"] == METRICS_GROUP
    assert layer[0].ask(address, ROOT, method="POST").status == 405
    assert admin.ask("GET", ROOT)["kind"] == "APIResourceList"


@pytest.mark.fault
def test_only_the_api_server_is_answered(
    layer: tuple[Aggregation, Certificates], admin: Admin, start: Start, tmp_path: Path
) -> None:
    """No certificate, one of another authority, one with another name; headers make nobody."""
    aggregator, _ = layer
    admin.workload("mail", 2)
    start()
    until(admin, 8)
    address = aggregator.services[METRICS_GROUP, METRICS_VERSION]
    other = tmp_path / "other"
    other.mkdir()
    stranger = make_certificates(other)
    forged = {"X-Remote-User": "system:kube-aggregator", "X-Remote-Group": "system:masters"}
    with pytest.raises((ssl.SSLError, ConnectionError)):
        aggregator.ask(address, question(), forged, anonymous=True)
    pair = stranger.client_certificate, stranger.client_key
    with pytest.raises((ssl.SSLError, ConnectionError)):
        aggregator.ask(address, question(), forged, certificate=pair)
    kubelet = aggregator.certificates.server_certificate, aggregator.certificates.server_key
    refused: Reply | None = None
    with suppress(ssl.SSLError, ConnectionError):  # a certificate of a server is none of a client
        refused = aggregator.ask(address, question(), forged, certificate=kubelet)
    assert refused is None or refused.status == 401
    aggregator.tell(requestheader_allowed_names='["somebody"]')
    start()  # the ConfigMap is read each minute, and at a start
    wait_until(lambda: status_of(aggregator, question()) == 401, what="the name is another one's", seconds=60)
    assert status_of(aggregator, ROOT) == 401


def status_of(aggregator: Aggregation, path: str) -> int | str:
    try:
        return aggregator.ask(aggregator.services[METRICS_GROUP, METRICS_VERSION], path).status
    except (OSError, ssl.SSLError) as error:
        return type(error).__name__


@pytest.mark.fault
def test_connections_without_a_certificate_keep_the_api_server_from_nothing(
    layer: tuple[Aggregation, Certificates], admin: Admin, start: Start, tmp_path: Path
) -> None:
    """The port is open to all: 64 of them have a place, of which the last one is for the API server."""
    aggregator, _ = layer
    admin.workload("mail", 2)
    process = start()
    until(admin, 8)
    host, _, port = aggregator.services[METRICS_GROUP, METRICS_VERSION].rpartition(":")
    other = tmp_path / "other"
    other.mkdir()
    stranger = make_certificates(other)
    pair = stranger.client_certificate, stranger.client_key
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ExitStack() as undo:
        for number in range(300):
            connection = undo.enter_context(socket.create_connection((host, int(port)), timeout=10))
            if number % 2:
                connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        for number in range(50):
            with suppress(ssl.SSLError, ConnectionError):
                aggregator.ask(f"{host}:{port}", question(), certificate=pair)
            if number % 10 == 0:
                assert value(admin) == 8
                with urllib.request.urlopen(f"http://{process.address}/metrics", timeout=5) as response:
                    assert response.status == 200
        ours = len(list(Path("/proc/self/fd").iterdir())) - before - 300
        assert ours < 64 + 20
    until(admin, 8)


@pytest.mark.fault
def test_both_http_servers_leave_descriptors_for_the_scaling(
    layer: tuple[Aggregation, Certificates], admin: Admin, start: Start
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        process = start(web={"max_connections": 10_000})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    exposed = process.exposition("text").decode()
    assert "oxherd_http_max_connections 128.0" in exposed
    addresses = [process.address, layer[0].services[METRICS_GROUP, METRICS_VERSION]]
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ExitStack() as undo:
        for address in addresses:
            host, _, port = address.rpartition(":")
            for _ in range(160):
                undo.enter_context(socket.create_connection((host, int(port)), timeout=10))

        def taken() -> int:
            return len(list(Path("/proc/self/fd").iterdir())) - before - 2 * 160

        wait_until(lambda: taken() >= 128 + 32, what="both are full", seconds=9)
        for _ in range(10):
            assert taken() < 128 + 32 + 20
            time.sleep(0.1)


def test_a_port_that_is_taken_ends_the_start(
    layer: tuple[Aggregation, Certificates], admin: Admin, tmp_path: Path
) -> None:
    _, files = layer
    kubeconfig = admin.kubeconfig(tmp_path / "kubeconfig", admin.account(ACCOUNT, RULES))
    tls = {"cert_file": str(files.server_certificate), "key_file": str(files.server_key)}
    file = tmp_path / "scaler.yml"
    with fake_prometheus() as taken:
        address = taken.url.removeprefix("http://")
        listening = {"listen": "127.0.0.1:0", "external_metrics": {"listen": address, "tls": tls}}
        file.write_text(yaml.safe_dump(settings(kubeconfig, "http://127.0.0.1:1", **listening)))
        done = start_once(file)
    assert done.returncode == 2
    error = r"\(.*scaler\.yml, line \d+\): cannot listen there: address already in use"
    assert re.search(rf"external_metrics\.listen='?{address}'? {error}", done.stderr)


def test_without_a_cluster_the_start_says_so(
    layer: tuple[Aggregation, Certificates], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no target is set: the front proxy is asked of a cluster."""
    _, files = layer
    for variable in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    tls = {"cert_file": str(files.server_certificate), "key_file": str(files.server_key)}
    file = tmp_path / "scaler.yml"
    settings = {"listen": "127.0.0.1:0", "external_metrics": {"listen": "127.0.0.1:0", "tls": tls}}
    file.write_text(yaml.safe_dump(settings))
    done = start_once(file)
    assert done.returncode == 2
    assert "kubernetes.kubeconfig (not set): no kubeconfig, and not in a pod" in done.stderr
    assert "Traceback" not in done.stderr


def start_once(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scaler", "start", "--config", str(file)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)


@pytest.mark.fault
def test_until_the_api_server_is_known_nobody_is_answered_and_then_it_is(
    layer: tuple[Aggregation, Certificates], admin: Admin, start: Start
) -> None:
    aggregator, _ = layer
    aggregator.tell(requestheader_client_ca_file=None)
    admin.workload("mail", 2)
    process = start()
    wait_until(lambda: process.controller.last is not None, what="a step", seconds=60)
    assert "oxherd_scaler_external_metrics_ready 0.0" in process.exposition("text").decode()
    assert isinstance(status_of(aggregator, question()), str)
    assert process.why_not_ready() == [], "it scales as ever"
    aggregator.tell()
    until(admin, 8)


@pytest.mark.parametrize("newest_first", [True, False])
def test_an_authority_that_is_being_replaced_has_a_bundle_of_one_name(
    newest_first: bool,  # noqa: FBT001
    layer: tuple[Aggregation, Certificates],
    admin: Admin,
    start: Start,
    tmp_path: Path,
) -> None:
    """While the front proxy's authority is rotated, the old and the new one have the same subject."""
    aggregator, _ = layer
    old = tmp_path / "old"
    old.mkdir()
    bundle = [aggregator.certificates.ca.read_text(), make_certificates(old).ca.read_text()]
    aggregator.tell(requestheader_client_ca_file="".join(bundle if newest_first else reversed(bundle)))
    admin.workload("mail", 2)
    start()
    until(admin, 8)


@pytest.mark.fault
def test_a_new_certificate_is_served_to_the_next_connection(
    layer: tuple[Aggregation, Certificates], admin: Admin, start: Start
) -> None:
    _, files = layer
    admin.workload("mail", 2)
    start()
    until(admin, 8)
    issue_server_certificate(files, names="DNS:another.oxherd.svc")
    wait_until(lambda: value(admin) is None, what="the name is wrong", seconds=30)
    issue_server_certificate(files, names=f"DNS:{SERVICE}")
    until(admin, 8)
    files.server_certificate.write_text("half a fi")
    assert value(admin) == 8, "one that cannot be used leaves the last one in place"
