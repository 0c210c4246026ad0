"""Requests to the API server: the only place that knows its client. Every one has a time-out and an end.

Typed methods of the official client with raw answers: they keep credentials fresh and know the paths, and
reading JSON ourselves tolerates what a newer server adds. Only what roles have to grant is asked for.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from scaler.kube.errors import KubeError, error_of_response
from scaler.kube.objects import FIELD_MANAGER, Json, Ref
from scaler.settings import KubernetesSettings
from service.clock import Deadline, monotonic
from service.rate_limit import TokenBucket

log = logging.getLogger(__name__)

_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PAGE: Final = 500
_LARGEST: Final = 64 << 20
_AT_ONCE: Final = 16


class NoClusterError(Exception):
    """There is no way to an API server; the text says what is missing. Never holds a credential."""


class KubeApi:
    """One API server. For many threads; constructing it connects to nothing."""

    def __init__(self, settings: KubernetesSettings, who: str = "") -> None:
        """`who` asks, for the server's audit log. Raises NoClusterError."""
        self._timeout = settings.timeout_seconds
        configuration = client.Configuration()
        configuration.retries = False  # one that is tried again behind our back is late, and counted once
        configuration.connection_pool_maxsize = _AT_ONCE
        where = _configure(configuration, settings)
        self.namespace: Final = settings.namespace or where or "default"
        self._client = client.ApiClient(configuration)
        self._client.user_agent = f"{FIELD_MANAGER}/{version('oxherd')} ({who})"
        self._apps = client.AppsV1Api(self._client)
        self._core = client.CoreV1Api(self._client)
        self._leases = client.CoordinationV1Api(self._client)
        self._autoscaling = client.AutoscalingV2Api(self._client)
        self._custom = client.CustomObjectsApi(self._client)
        self._rate_limit = TokenBucket(settings.requests_per_second, 4 * settings.requests_per_second)
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._requests = 0

    @property
    def requests(self) -> int:
        """How many were sent so far."""
        return self._requests

    def close(self) -> None:
        """Let go of the connections."""
        self._client.rest_client.pool_manager.clear()

    # --- what is scaled ----------------------------------------------------------------------------------

    def scale(self, ref: Ref, deadline: Deadline) -> Json:
        """The Scale of a workload. Raises KubeError, as all of these do."""
        read = getattr(self._apps, f"read_namespaced_{_snake(ref)}_scale")
        return self._ask(f"get {_said(ref)}/scale", deadline, read, ref.name, ref.namespace)

    def patch_scale(
        self, ref: Ref, patch: list[dict[str, Any]], deadline: Deadline, *, dry_run: bool = False
    ) -> Json:
        """The Scale after a JSON patch; "invalid" where one of its tests does not hold."""
        write = getattr(self._apps, f"patch_namespaced_{_snake(ref)}_scale")
        options = {"field_manager": FIELD_MANAGER, "_content_type": _JSON_PATCH}
        options |= {"dry_run": "All"} if dry_run else {}
        return self._ask(
            f"patch {_said(ref)}/scale", deadline, write, ref.name, ref.namespace, patch, **options
        )

    def workload(self, ref: Ref, deadline: Deadline) -> Json:
        """The Deployment or StatefulSet."""
        read = getattr(self._apps, f"read_namespaced_{_snake(ref)}")
        return self._ask(f"get {_said(ref)}", deadline, read, ref.name, ref.namespace)

    def workloads(self, kind: str, namespace: str, deadline: Deadline) -> Iterator[Json]:
        """All of a kind in a namespace, in pages."""
        read = getattr(self._apps, f"list_namespaced_{_snake_kind(kind)}")
        return self._pages(f"list {kind.lower()}s in {namespace}", deadline, read, namespace)

    def pods(self, namespace: str, selector: str, deadline: Deadline) -> Iterator[Json]:
        """Those that the selector selects."""
        what = f"list pods in {namespace}"
        return self._pages(what, deadline, self._core.list_namespaced_pod, namespace, label_selector=selector)

    def annotate_pod(
        self, namespace: str, name: str, annotations: dict[str, str], deadline: Deadline
    ) -> None:
        """Set annotations of a pod."""
        self._ask(
            f"patch pod {namespace}/{name}",
            deadline,
            self._core.patch_namespaced_pod,
            name,
            namespace,
            {"metadata": {"annotations": annotations}},
            field_manager=FIELD_MANAGER,
            _content_type=_MERGE_PATCH,
        )

    # --- who else scales ---------------------------------------------------------------------------------

    def autoscalers(self, namespace: str, deadline: Deadline) -> list[Json]:
        """The HorizontalPodAutoscalers of a namespace."""
        read = self._autoscaling.list_namespaced_horizontal_pod_autoscaler
        return list(self._pages(f"list horizontalpodautoscalers in {namespace}", deadline, read, namespace))

    def scaled_objects(self, namespace: str, deadline: Deadline) -> list[Json]:
        """KEDA's ScaledObjects of a namespace; "not_found" where there is no KEDA."""
        read = self._custom.list_namespaced_custom_object
        what = f"list scaledobjects in {namespace}"
        return list(self._pages(what, deadline, read, "keda.sh", "v1alpha1", namespace, "scaledobjects"))

    # --- our own objects ---------------------------------------------------------------------------------

    def lease(self, name: str, deadline: Deadline) -> Json:
        """A Lease of our namespace."""
        read = self._leases.read_namespaced_lease
        return self._ask(f"get lease {name}", deadline, read, name, self.namespace)

    def create_lease(self, body: Json, deadline: Deadline) -> Json:
        write = self._leases.create_namespaced_lease
        return self._ask("create a lease", deadline, write, self.namespace, body)

    def replace_lease(self, name: str, body: Json, deadline: Deadline) -> Json:
        """The Lease after it was replaced; "conflict" where it is no longer the version in `body`."""
        write = self._leases.replace_namespaced_lease
        return self._ask(f"update lease {name}", deadline, write, name, self.namespace, body)

    def config_map(self, name: str, deadline: Deadline) -> Json:
        """A ConfigMap of our namespace."""
        read = self._core.read_namespaced_config_map
        return self._ask(f"get configmap {name}", deadline, read, name, self.namespace)

    def patch_config_map(self, name: str, patch: Json, deadline: Deadline) -> Json:
        """The ConfigMap after a merge patch; "conflict" where its resourceVersion is another."""
        write = self._core.patch_namespaced_config_map
        return self._ask(
            f"patch configmap {name}",
            deadline,
            write,
            name,
            self.namespace,
            patch,
            field_manager=FIELD_MANAGER,
            _content_type=_MERGE_PATCH,
        )

    def create_event(self, namespace: str, body: Json, deadline: Deadline) -> Json:
        what = f"create an event in {namespace}"
        return self._ask(what, deadline, self._core.create_namespaced_event, namespace, body)

    def patch_event(self, namespace: str, name: str, patch: Json, deadline: Deadline) -> Json:
        """The Event after a merge patch."""
        write = self._core.patch_namespaced_event
        what = f"patch event {namespace}/{name}"
        return self._ask(what, deadline, write, name, namespace, patch, _content_type=_MERGE_PATCH)

    # --- one request -------------------------------------------------------------------------------------

    def _pages(
        self, what: str, deadline: Deadline, call: Callable[..., Any], *args: object, **options: object
    ) -> Iterator[Json]:
        following = ""
        while True:
            paged = options | {"limit": _PAGE} | ({"_continue": following} if following else {})
            page = self._ask(what, deadline, call, *args, **paged)
            yield from page.get("items") or ()
            following = (page.get("metadata") or {}).get("continue") or ""
            if not following:
                return

    def _ask(
        self, what: str, deadline: Deadline, call: Callable[..., Any], *args: object, **options: object
    ) -> Json:
        """The answer as JSON. A server that asked to be left alone is, by all but the lease's requests."""
        until = deadline.at_most(self._timeout)
        urgent = " lease" in what
        left = self._closed_until - monotonic()
        if left > 0 and not urgent:
            why = f"{what}: not asked, the API server wants to be left alone for {left:.0f} s"
            raise KubeError("throttled", why, retry_after=left)
        if not urgent and not self._rate_limit.wait(until):
            why = f"{what}: not asked, requests_per_second allows no more now"
            raise KubeError("throttled", why, retry_after=0.0)
        seconds = until.remaining()
        if seconds <= 0:
            raise KubeError("timeout", f"{what}: no time was left to ask")
        with self._lock:
            self._requests += 1
        try:
            answer = call(*args, _preload_content=False, _request_timeout=seconds, **options)
            data = json.loads(_body(what, answer, until))
        except ApiException as error:
            raise self._refused(what, error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(what, error, seconds) from None
        except (ValueError, RecursionError):
            raise KubeError("unreachable", f"{what}: the answer is no JSON") from None
        if not isinstance(data, dict):
            raise KubeError("unreachable", f"{what}: the answer is no object")
        return data

    def _refused(self, what: str, error: ApiException) -> KubeError:
        if not error.status:  # the client's way to tell of TLS
            return KubeError("unreachable", f"{what}: {' '.join(str(error.reason).split())}"[:300])
        headers = error.headers or {}
        problem = error_of_response(what, int(error.status), error.body, headers.get("Retry-After"))
        if problem.kind == "throttled" and problem.retry_after:
            self._closed_until = monotonic() + problem.retry_after
        return problem


def _body(what: str, answer: Any, until: Deadline) -> bytes:
    """All of it; each read has a time-out of its own, and all of them together the deadline."""
    parts, size, whole = [], 0, False
    try:
        while size <= _LARGEST and not until.passed():
            part = answer.read1(1 << 16)
            if whole := not part:
                break
            parts.append(part)
            size += len(part)
    finally:
        if whole:
            answer.release_conn()
        else:
            answer.close()
    if size > _LARGEST:
        raise KubeError("invalid", f"{what}: the answer is larger than 64 MiB")
    if not whole:
        raise KubeError("timeout", f"{what}: the answer did not end in time")
    return b"".join(parts)


def _unreachable(what: str, error: Exception, seconds: float) -> KubeError:
    """What kept a request from being answered, in words that name no credential."""
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or cause.__cause__, BaseException):
        cause = inner
    if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
        return KubeError("timeout", f"{what}: no answer within {seconds:.1f} s")
    if isinstance(cause, urllib3.exceptions.NameResolutionError) or "getaddrinfo" in str(cause):
        return KubeError("unreachable", f"{what}: the API server's name is not known")
    why = str(getattr(cause, "strerror", None) or getattr(cause, "verify_message", None) or cause)
    why = "certificate: " + why if "ertificate" in type(cause).__name__ else why
    return KubeError("unreachable", f"{what}: {why or type(cause).__name__}"[:300])


def _configure(configuration: Any, settings: KubernetesSettings) -> str | None:
    """Fill it in from the kubeconfig that is set, else from the pod; the namespace that goes with it."""
    try:
        if settings.kubeconfig:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                settings.kubeconfig,
                context=settings.context,
                client_configuration=configuration,
                persist_config=False,
            )
            listed = config.list_kube_config_contexts(settings.kubeconfig)  # type: ignore[no-untyped-call]
            contexts, active = listed
            named = [one for one in contexts if one["name"] == settings.context]
            chosen = named[0] if named else active
            return chosen["context"].get("namespace") if chosen else None
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip()
    except (ConfigException, OSError, KeyError, TypeError) as error:
        where = f"kubeconfig {settings.kubeconfig}" if settings.kubeconfig else "no kubeconfig, and no pod"
        raise NoClusterError(f"{where}: {error}") from None


def _snake(ref: Ref) -> str:
    return _snake_kind(ref.kind)


def _snake_kind(kind: str) -> str:
    return {"Deployment": "deployment", "StatefulSet": "stateful_set"}[kind]


def _said(ref: Ref) -> str:
    return f"{ref.resource} {ref.namespace}/{ref.name}"
