"""Requests to the API server: the only module that knows its client. Every request has a time-out.

Typed methods of the official client with raw responses: they refresh credentials and know the paths, and
parsing the JSON here tolerates what a newer server adds. Only what a role has to grant is requested.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, Final, TypeVar

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from scaler.config.scaled_queue import GROUP, PLURAL, VERSION
from scaler.config.settings import KubernetesSettings
from scaler.kube.errors import KubeError, error_of_response
from scaler.kube.objects import (
    FIELD_MANAGER,
    FRONT_PROXY_CONFIG,
    FRONT_PROXY_NAMESPACE,
    Json,
    Ref,
    scaled_resource,
)
from scaler.kube.wire.bodies import BoundedRefusals, EventLines, unreachable, whole_body
from scaler.kube.wire.credentials import NoClusterError, configure_client
from service.clock import Deadline, monotonic
from service.json_text import TooLargeJsonError, read_json
from service.rate_limit import TokenBucket

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_PAGE_SIZE: Final = 500
_MAX_PAGES: Final = 40  # 20,000 objects of a namespace
_MAX_PAGE_BYTES: Final = 32 << 20
_MAX_OBJECT_BYTES: Final = 4 << 20  # etcd takes 1.5 MiB
_POOL_SIZE: Final = 16
_SHORT_SECONDS: Final = 0.5  # a request with less time that is late says nothing about the server
_RELOAD_SECONDS: Final = 1.0  # a credential that stays refused is not read for each request of many targets


class KubeApi:
    """A client of one API server, for many threads; constructing it does not connect."""

    def __init__(self, settings: KubernetesSettings, identity: str = "") -> None:
        """`identity` is this process's name in the server's audit log. Raises NoClusterError."""
        self._timeout = settings.timeout_seconds
        configuration = client.Configuration()
        configuration.retries = False  # a hidden retry would be late, and not counted
        configuration.connection_pool_maxsize = _POOL_SIZE
        namespace = configure_client(configuration, settings)
        self._settings = settings
        self.namespace: Final = settings.namespace or namespace or "default"
        self._client = client.ApiClient(configuration)
        # The client reads the whole body of a refusal, however long it is.
        rest: Any = self._client.rest_client
        rest.pool_manager = BoundedRefusals(rest.pool_manager)
        self._client.user_agent = f"{FIELD_MANAGER}/{version('oxherd')} ({identity})"
        self._core = client.CoreV1Api(self._client)
        self._leases = client.CoordinationV1Api(self._client)
        self._autoscaling = client.AutoscalingV2Api(self._client)
        self._custom = client.CustomObjectsApi(self._client)
        self._rate_limit = TokenBucket(settings.requests_per_second, 4 * settings.requests_per_second)
        self._resources: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self._reload_lock = threading.Lock()
        self._reloaded_at = float("-inf")
        self._throttled_until = 0.0
        self._requests = 0

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._requests

    def close(self) -> None:
        """Close the connections."""
        self._client.rest_client.pool_manager.clear()

    # --- workloads and pods ------------------------------------------------------------------------------

    def scale(self, ref: Ref, deadline: Deadline) -> Json:
        """The Scale of a workload. Raises KubeError, as all of these methods do."""
        read = self._custom.get_namespaced_custom_object_scale
        return self._send(f"get {_path(ref)}/scale", deadline, read, *self._address(ref, deadline), ref.name)

    def patch_scale(
        self, ref: Ref, patch: list[dict[str, Any]], deadline: Deadline, *, dry_run: bool = False
    ) -> Json:
        """The Scale after a JSON patch; KubeError "invalid" if one of its tests fails."""
        write, address = self._custom.patch_namespaced_custom_object_scale, self._address(ref, deadline)
        options = {"field_manager": FIELD_MANAGER, "_content_type": _JSON_PATCH}
        options |= {"dry_run": "All"} if dry_run else {}
        return self._send(f"patch {_path(ref)}/scale", deadline, write, *address, ref.name, patch, **options)

    def workload(self, ref: Ref, deadline: Deadline) -> Json:
        """The Deployment, or what is like one."""
        read = self._custom.get_namespaced_custom_object
        return self._send(f"get {_path(ref)}", deadline, read, *self._address(ref, deadline), ref.name)

    def workloads(self, ref: Ref, deadline: Deadline) -> Iterator[Json]:
        """All workloads of its kind in its namespace, in pages, as the other lists."""
        request, read = f"list {ref.resource} in {ref.namespace}", self._custom.list_namespaced_custom_object
        return self._pages(request, deadline, read, *self._address(ref, deadline))

    def _address(self, ref: Ref, deadline: Deadline) -> tuple[str, str, str, str]:
        """API group, version, namespace and resource, which for a kind of others the server is asked for."""
        kind = ref.api_version, ref.kind
        if ref.is_like_deployment:
            resource = ref.resource
        elif kind in self._resources:
            resource = self._resources[kind]
        else:
            request = f"get the kinds of {ref.api_version}"
            found = self._send(request, deadline, self._custom.get_api_resources, ref.group, ref.version)
            resource = self._resources[kind] = scaled_resource(found, ref)
        return ref.group, ref.version, ref.namespace, resource

    def pods(self, namespace: str, selector: str, deadline: Deadline) -> Iterator[Json]:
        """The pods that match the label selector."""
        request = f"list pods in {namespace}"
        return self._pages(
            request, deadline, self._core.list_namespaced_pod, namespace, label_selector=selector
        )

    def annotate_pod(
        self, namespace: str, name: str, annotations: dict[str, str], deadline: Deadline
    ) -> None:
        """Set annotations of a pod."""
        self._send(
            f"patch pod {namespace}/{name}",
            deadline,
            self._core.patch_namespaced_pod,
            name,
            namespace,
            {"metadata": {"annotations": annotations}},
            field_manager=FIELD_MANAGER,
            _content_type=_MERGE_PATCH,
        )

    # --- other controllers -------------------------------------------------------------------------------

    def autoscalers(self, namespace: str, deadline: Deadline) -> list[Json]:
        """The HorizontalPodAutoscalers of a namespace."""
        read = self._autoscaling.list_namespaced_horizontal_pod_autoscaler
        return list(self._pages(f"list horizontalpodautoscalers in {namespace}", deadline, read, namespace))

    def scaled_objects(self, namespace: str, deadline: Deadline) -> list[Json]:
        """KEDA's ScaledObjects of a namespace; KubeError "not_found" if KEDA is not installed."""
        read = self._custom.list_namespaced_custom_object
        request = f"list scaledobjects in {namespace}"
        return list(self._pages(request, deadline, read, "keda.sh", "v1alpha1", namespace, "scaledobjects"))

    # --- ScaledQueues ------------------------------------------------------------------------------------

    def scaled_queues_page(self, namespace: str | None, limit: int, token: str, deadline: Deadline) -> Json:
        """A page of the list, of a namespace or of all (None); KubeError of status 410: begin again."""
        where, call, address = self._scaled_queues(namespace)
        options: dict[str, Any] = {"limit": limit} | ({"_continue": token} if token else {})
        return self._send(f"list {PLURAL} {where}", deadline, call, *address, **options)

    def watch_scaled_queues(
        self, namespace: str | None, version: str, *, seconds: int, silence: float
    ) -> EventLines:
        """The changes since a version, for so many seconds, unless nothing comes for `silence` seconds."""
        where, call, address = self._scaled_queues(namespace)
        options = {"resource_version": version, "watch": True, "allow_watch_bookmarks": True}
        request, deadline = f"watch {PLURAL} {where}", Deadline.after(self._timeout)
        limits: dict[str, Any] = {"timeout_seconds": seconds, "_request_timeout": (self._timeout, silence)}

        def begin() -> EventLines:
            response, _ = self._respond(request, deadline, call, *address, **options, **limits)
            return EventLines(request, response)

        return self._with_credentials(begin)

    def patch_scaled_queue_status(self, ref: Ref, status: Json, deadline: Deadline) -> Json:
        """The object after a merge patch of its status."""
        write = self._custom.patch_namespaced_custom_object_status
        request = f"patch {PLURAL}/status {ref.namespace}/{ref.name}"
        address, body = (ref.group, ref.version, ref.namespace, PLURAL, ref.name), {"status": status}
        options = {"field_manager": FIELD_MANAGER, "_content_type": _MERGE_PATCH}
        return self._send(request, deadline, write, *address, body, **options)

    def _scaled_queues(self, namespace: str | None) -> tuple[str, Callable[..., Any], tuple[str, ...]]:
        if namespace is None:
            return "in all namespaces", self._custom.list_cluster_custom_object, (GROUP, VERSION, PLURAL)
        read = self._custom.list_namespaced_custom_object
        return f"in {namespace}", read, (GROUP, VERSION, namespace, PLURAL)

    # --- our own objects ---------------------------------------------------------------------------------

    def lease(self, name: str, deadline: Deadline) -> Json:
        """A Lease of our namespace."""
        read = self._leases.read_namespaced_lease
        return self._send(f"get lease {name}", deadline, read, name, self.namespace)

    def create_lease(self, body: Json, deadline: Deadline) -> Json:
        write = self._leases.create_namespaced_lease
        return self._send("create a lease", deadline, write, self.namespace, body)

    def replace_lease(self, name: str, body: Json, deadline: Deadline) -> Json:
        """The Lease after it was replaced; KubeError "conflict" if its version is not that of `body`."""
        write = self._leases.replace_namespaced_lease
        return self._send(f"update lease {name}", deadline, write, name, self.namespace, body)

    def config_map(self, name: str, deadline: Deadline) -> Json:
        """A ConfigMap of our namespace."""
        read = self._core.read_namespaced_config_map
        return self._send(f"get configmap {name}", deadline, read, name, self.namespace)

    def front_proxy(self, deadline: Deadline) -> Json:
        """The ConfigMap that says how the API server shows itself to servers behind it."""
        read = self._core.read_namespaced_config_map
        request = f"get configmap {FRONT_PROXY_NAMESPACE}/{FRONT_PROXY_CONFIG}"
        return self._send(request, deadline, read, FRONT_PROXY_CONFIG, FRONT_PROXY_NAMESPACE)

    def patch_config_map(self, name: str, patch: Json, deadline: Deadline) -> Json:
        """The ConfigMap after a merge patch; KubeError "conflict" if its resourceVersion differs."""
        write = self._core.patch_namespaced_config_map
        return self._send(
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
        request = f"create an event in {namespace}"
        return self._send(request, deadline, self._core.create_namespaced_event, namespace, body)

    def patch_event(self, namespace: str, name: str, patch: Json, deadline: Deadline) -> Json:
        """The Event after a merge patch."""
        write = self._core.patch_namespaced_event
        request = f"patch event {namespace}/{name}"
        return self._send(request, deadline, write, name, namespace, patch, _content_type=_MERGE_PATCH)

    # --- one request -------------------------------------------------------------------------------------

    def _pages(
        self, request: str, deadline: Deadline, call: Callable[..., Any], *args: object, **options: object
    ) -> Iterator[Json]:
        token = ""
        for _ in range(_MAX_PAGES):
            paged = options | {"limit": _PAGE_SIZE} | ({"_continue": token} if token else {})
            page = self._send(request, deadline, call, *args, **paged)
            yield from page.get("items") or ()
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return
        raise KubeError("invalid", f"{request}: more than {_MAX_PAGES * _PAGE_SIZE} objects")

    def _send(
        self, request: str, deadline: Deadline, call: Callable[..., Any], *args: object, **options: object
    ) -> Json:
        """The response as JSON. After a 401 it is sent again if there is another token by now."""
        return self._with_credentials(lambda: self._send_once(request, deadline, call, *args, **options))

    def _with_credentials(self, send: Callable[[], _T]) -> _T:
        token = self._token()
        try:
            return send()
        except KubeError as error:
            if error.kind != "unauthorized" or not self._has_other_token(token):
                raise
        return send()

    def _token(self) -> dict[str, str]:
        return dict(self._client.configuration.api_key)

    def _has_other_token(self, token: dict[str, str]) -> bool:
        """Whether the credential is another one than `token`, or than is in its file."""
        with self._reload_lock:
            if self._token() == token and monotonic() - self._reloaded_at >= _RELOAD_SECONDS:
                self._reloaded_at = monotonic()
                try:
                    configure_client(self._client.configuration, self._settings)
                except NoClusterError as error:  # a file that is being written
                    log.warning("cannot read the credential again", extra={"error": str(error)})
            return self._token() != token

    def _send_once(
        self, request: str, deadline: Deadline, call: Callable[..., Any], *args: object, **options: object
    ) -> Json:
        """The response as JSON."""
        limit = deadline.at_most(self._timeout)
        response, seconds = self._respond(request, limit, call, *args, **options)
        try:
            body = whole_body(
                request, response, limit, _MAX_PAGE_BYTES if "limit" in options else _MAX_OBJECT_BYTES
            )
            data = read_json(body)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._late(unreachable(request, error, seconds), seconds) from None
        except KubeError as error:
            raise self._late(error, seconds) from None
        except TooLargeJsonError as error:
            raise KubeError("invalid", f"{request}: the response is too large: {error}") from None
        except ValueError:
            raise KubeError("unreachable", f"{request}: the response is not JSON") from None
        if not isinstance(data, dict):
            raise KubeError("unreachable", f"{request}: the response is not an object")
        return data

    def _respond(
        self, request: str, deadline: Deadline, call: Callable[..., Any], *args: object, **options: object
    ) -> tuple[Any, float]:
        """A response whose body is not read yet, and the seconds that it had. After a Retry-After only
        requests of the lease are sent until it is over."""
        limit = deadline.at_most(self._timeout)
        urgent = " lease" in request
        pause = self._throttled_until - monotonic()
        if pause > 0 and not urgent:
            message = f"{request}: not sent, the API server is throttling for {pause:.0f} s more"
            raise KubeError("throttled", message, retry_after=pause)
        if not urgent and not self._rate_limit.wait(limit):
            message = f"{request}: not sent, rate limit requests_per_second is reached"
            raise KubeError("throttled", message, retry_after=0.0)
        seconds = limit.remaining()
        if seconds <= 0:
            message = f"{request}: not sent, no time left before the deadline"
            raise KubeError("throttled", message, retry_after=0.0)
        with self._lock:
            self._requests += 1
        options = {"_request_timeout": seconds} | options
        try:
            return call(*args, _preload_content=False, **options), seconds
        except ApiException as error:
            raise self._refusal(request, error) from None
        except ConfigException as error:  # the client reads the token once a minute
            raise KubeError("unauthorized", f"{request}: not sent: {error}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._late(unreachable(request, error, seconds), seconds) from None

    def _late(self, error: KubeError, seconds: float) -> KubeError:
        """The error of a request that had `seconds`; if those were the rest of a step, it is sent again."""
        if error.kind != "timeout" or seconds >= min(_SHORT_SECONDS, self._timeout / 2):
            return error
        return KubeError("throttled", f"{error}, the rest of the step", retry_after=0.0)

    def _refusal(self, request: str, error: ApiException) -> KubeError:
        if not error.status:  # how the client reports TLS errors
            return KubeError("unreachable", f"{request}: {' '.join(str(error.reason).split())}"[:300])
        headers = error.headers or {}
        refusal = error_of_response(request, int(error.status), error.body, headers.get("Retry-After"))
        if refusal.kind == "throttled" and refusal.retry_after:
            self._throttled_until = monotonic() + refusal.retry_after
        return refusal


def _path(ref: Ref) -> str:
    return f"{ref.resource} {ref.namespace}/{ref.name}"
