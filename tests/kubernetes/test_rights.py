"""The rights that the manifests give are the least: without any one of them something does not work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lab.deadline import wait_until
from scaler.busy import WorkerJobs
from scaler.config.settings import KubernetesSettings
from scaler.kube.api import KubeApi
from scaler.kube.config_map_store import ConfigMapStore
from scaler.kube.conflicts import OtherAutoscalers
from scaler.kube.events import EventWriter
from scaler.kube.idle import IdleFirst
from scaler.kube.lease import LeaderElector
from scaler.kube.objects import DELETION_COST, Pod, Ref, Workload
from scaler.kube.target import KubernetesTarget
from scaler.kube.workloads import LIST_FROM, Workloads
from scaler.model import Applied, NotApplied, Workers
from scaler.state.model import Action, with_action
from scaler.transitions import Transition
from service.clock import Deadline
from service.outcome import Ok
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import ACCOUNT, LEASE, STATE
from tests.support.kubernetes.front import Front
from tests.support.kubernetes.rules import RULES, without
from tests.support.kubernetes.targets import Leadership

_NUMBERS = count()


def each_right() -> Iterator[Any]:
    """(name, the rules without it), for every verb of every resource of every rule."""
    for index, rule in enumerate(RULES):
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                rules = copy.deepcopy(RULES)
                rules[index]["resources"].remove(resource)
                rules.append(
                    rule | {"resources": [resource], "verbs": [v for v in rule["verbs"] if v != verb]}
                )
                rules = [entry for entry in rules if entry["resources"] and entry["verbs"]]
                yield pytest.param(rules, id=f"{verb} {resource}")


class KubernetesBackend:
    """What the scaler does in a cluster, each as a check: whether it works."""

    def __init__(self, admin: Admin, front: Front, api: KubeApi) -> None:
        self.admin, self.front, self.api = admin, front, api

    def target(
        self, name: str, kind: str, workloads: Workloads | None = None, **options: Any
    ) -> KubernetesTarget:
        return KubernetesTarget(
            Ref(kind, self.admin.namespace, name),
            self.api,
            workloads or Workloads(self.api),
            OtherAutoscalers(self.api, every=0.0),
            Leadership(),
            **options,
        )

    def read(self, target: KubernetesTarget) -> Workers | None:
        outcome = target.read(Deadline.after(5))
        return outcome.value if isinstance(outcome, Ok) else None

    def scales(self, kind: str) -> bool:
        name = f"scales-{kind.lower()}"
        self.admin.workload(name, 2, kind)
        target = self.target(name, kind)
        self.read(target)
        return target.scale(2, 3, Deadline.after(5)) == Applied(3)

    def names_a_conflict(self, kind: str) -> bool:
        name = f"conflict-{kind.lower()}"
        self.admin.workload(name, 2, kind)
        target = self.target(name, kind)
        self.read(target)
        outcome = target.scale(1, 3, Deadline.after(5))
        return isinstance(outcome, NotApplied) and outcome.kind == "conflict"

    def knows_what_is_ready(self, kind: str) -> bool:
        name = f"ready-{kind.lower()}"
        self.admin.workload(name, 1, kind)
        workers = self.read(self.target(name, kind))
        return workers is not None and workers.ready is not None

    def lists_many(self) -> bool:
        workloads = Workloads(self.api)
        targets = [self.target(f"many-{number}", "Deployment", workloads) for number in range(LIST_FROM)]
        for target in targets:
            self.admin.workload(target.ref.name, 1)
        self.front.forget()
        for target in targets:
            self.read(target)
        return not self.front.requested("GET .*/deployments/many")

    def measures_starts(self) -> bool:
        self.admin.workload("starts", 1)
        target = self.target("starts", "Deployment")
        if self.read(target) is None or target.scale(1, 2, Deadline.after(5)) != Applied(2):
            return False
        path = f"/apis/apps/v1/namespaces/{self.admin.namespace}/deployments/starts"
        wait_until(
            lambda: self.admin.ask("GET", path)["status"].get("readyReplicas") == 2, what="pods", seconds=50
        )
        self.read(target)
        return bool(target.start_times())

    def marks_busy_pods(self) -> bool:
        self.admin.workload("busy", 2)
        wait_until(lambda: len(self.admin.pods("busy")) == 2, what="pods", seconds=50)
        name = self.admin.pods("busy")[0]["metadata"]["name"]
        mark = IdleFirst(self.api, lambda _: WorkerJobs({name: 3}, complete=True))
        pods = [Pod(pod["metadata"]["name"], True, False, None, 0) for pod in self.admin.pods("busy")]
        mark(Ref("Deployment", self.admin.namespace, "busy"), pods, 1, Deadline.after(5))
        costs = [pod["metadata"].get("annotations", {}).get(DELETION_COST) for pod in self.admin.pods("busy")]
        return "3" in costs

    def lists_autoscalers(self) -> bool:
        self.admin.autoscaler("rival", "mail")
        ref = Ref("Deployment", self.admin.namespace, "mail")
        conflict = OtherAutoscalers(self.api).of(Workload(2, "", "", ""), ref, Deadline.after(5))
        return conflict == "HorizontalPodAutoscaler rival"

    def lists_scaled_objects(self) -> bool:
        self.front.forget()
        ref = Ref("Deployment", self.admin.namespace, "mail")
        OtherAutoscalers(self.api).of(Workload(2, "", "", ""), ref, Deadline.after(5))
        found = 200 if self.admin.has_keda() else 404
        return [request.status for request in self.front.requested("GET .*/scaledobjects")] == [found]

    def leads(self) -> bool:
        elector = LeaderElector(self.api, LEASE, 15, identity=f"test-{next(_NUMBERS)}")
        pause = elector._step()
        leading = elector.leading
        if leading:
            elector._step()
            elector._release()
        assert pause > 0
        return leading

    def keeps_state(self) -> bool:
        store = ConfigMapStore(self.api, STATE)
        store.update(lambda state: with_action(state, Action(float(next(_NUMBERS)), "mail", 1, 2, "x")))
        return bool(store.read()[0].actions)

    def writes_events(self) -> bool:
        self.admin.workload("events", 1)
        writer = EventWriter(self.api, "test")
        uid = self.admin.get("events")["metadata"]["uid"]
        ref = Ref("Deployment", self.admin.namespace, "events")
        for _ in range(2):
            writer._post(ref, uid, Transition("events", "ScaledUp", "from 1 to 2"))
        return [event["count"] for event in self.admin.events()] == [2]


FACTS: dict[str, Callable[[KubernetesBackend], bool]] = {
    "scales Deployments": lambda cluster: cluster.scales("Deployment"),
    "scales StatefulSets": lambda cluster: cluster.scales("StatefulSet"),
    "names a conflict of a Deployment": lambda cluster: cluster.names_a_conflict("Deployment"),
    "names a conflict of a StatefulSet": lambda cluster: cluster.names_a_conflict("StatefulSet"),
    "knows what is ready of a Deployment": lambda cluster: cluster.knows_what_is_ready("Deployment"),
    "knows what is ready of a StatefulSet": lambda cluster: cluster.knows_what_is_ready("StatefulSet"),
    "lists many": KubernetesBackend.lists_many,
    "measures starts": KubernetesBackend.measures_starts,
    "marks busy pods": KubernetesBackend.marks_busy_pods,
    "lists autoscalers": KubernetesBackend.lists_autoscalers,
    "lists ScaledObjects": KubernetesBackend.lists_scaled_objects,
    "leads": KubernetesBackend.leads,
    "keeps its state": KubernetesBackend.keeps_state,
    "writes Events": KubernetesBackend.writes_events,
}


def true_facts(cluster: KubernetesBackend) -> set[str]:
    facts = set()
    for name, fact in FACTS.items():
        try:
            if fact(cluster):
                facts.add(name)
        except Exception as error:  # noqa: BLE001  # whatever it is, the fact does not hold
            print(name, error)  # noqa: T201
    return facts


@pytest.fixture
def cluster(admin: Admin, front: Front, token: str, tmp_path: Path) -> Iterator[KubernetesBackend]:
    settings = KubernetesSettings(kubeconfig=admin.kubeconfig(tmp_path / "k", token), timeout_seconds=2.0)
    api = KubeApi(settings)
    yield KubernetesBackend(admin, front, api)
    api.close()


@pytest.mark.parametrize("front", [True, False], indirect=True, ids=["KEDA", "no KEDA"])
def test_with_all_rights_everything_works(cluster: KubernetesBackend) -> None:
    assert true_facts(cluster) == set(FACTS)


@pytest.mark.parametrize("front", [True, False], indirect=True, ids=["KEDA", "no KEDA"])
def test_the_right_to_list_scaled_objects_is_asked_for_before_they_are(cluster: KubernetesBackend) -> None:
    """A server without KEDA refuses too: it does not say which resources it has."""
    cluster.admin.rules(ACCOUNT, without(RULES, "scaledobjects"))
    assert not cluster.lists_scaled_objects()
    assert [one.status for one in cluster.front.requested("GET .*/scaledobjects")] == [403]


@pytest.mark.parametrize("rules", list(each_right()))
def test_without_one_right_something_does_not(
    cluster: KubernetesBackend, rules: list[dict[str, Any]]
) -> None:
    cluster.admin.rules(ACCOUNT, rules)
    missing = set(FACTS) - true_facts(cluster)
    assert missing
    print("missing:", missing)  # noqa: T201
