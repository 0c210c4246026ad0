"""What an API server, or something in its place, may answer with: bounded in bytes, pages and time."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scaler.kube.errors import KubeError
from scaler.kube.objects import Ref
from service.clock import Deadline, monotonic
from tests.support.kubernetes.admin import Admin
from tests.support.kubernetes.cluster import KubeApiOf
from tests.support.kubernetes.front import Front

pytestmark = pytest.mark.fault

MB = 1 << 20


def failure(api_of: KubeApiOf, namespace: str, **settings: object) -> KubeError:
    with pytest.raises(KubeError) as error:
        api_of(**settings).workload(Ref("Deployment", namespace, "mail"), Deadline.after(10))
    return error.value


def test_an_object_larger_than_any_is_refused(admin: Admin, front: Front, api_of: KubeApiOf) -> None:
    large = json.dumps({"metadata": {"annotations": {"a": "x" * (5 * MB)}}}).encode()
    with front.fault("GET .*/mail", "status", status=200, body=large):
        assert "larger than 4 MiB" in str(failure(api_of, admin.namespace))


def test_a_response_of_millions_of_values_is_not_parsed(
    admin: Admin, front: Front, api_of: KubeApiOf
) -> None:
    with front.fault("GET .*/mail", "status", status=200, body=b"[" + b"{}," * 1_300_000 + b"1]"):
        assert "too large: its values" in str(failure(api_of, admin.namespace))


def test_a_list_without_end_ends(admin: Admin, front: Front, api_of: KubeApiOf) -> None:
    page = json.dumps({"items": [{}], "metadata": {"continue": "more"}}).encode()
    api = api_of(requests_per_second=1000)
    with front.fault("GET .*/deployments", "status", status=200, body=page):
        listed = api.workloads(Ref("Deployment", admin.namespace, "any"), Deadline.after(20))
        with pytest.raises(KubeError, match="more than 20000 objects"):
            list(listed)
    assert len(front.requested("GET .*continue=more")) < 60


@pytest.fixture
def endless() -> Iterator[tuple[str, list[int]]]:
    """The URL of a server that refuses with a body that never ends, and the bytes that it got rid of."""
    sent = [0]
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 500 Error\r\nContent-Type: application/json\r\n\r\n")
                    while True:
                        sent[0] += connection.send(b"x" * 65_536)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def test_a_refusal_whose_body_never_ends_is_not_read_to_its_end(
    admin: Admin, api_of: KubeApiOf, endless: tuple[str, list[int]], tmp_path: Path
) -> None:
    url, sent = endless
    kubeconfig = admin.kubeconfig(tmp_path / "other", "a-token", server=url)
    begun = monotonic()
    error = failure(api_of, admin.namespace, kubeconfig=kubeconfig)
    assert (error.kind, error.status) == ("unreachable", 500)
    assert monotonic() - begun < 4
    assert sent[0] < 20 * MB
