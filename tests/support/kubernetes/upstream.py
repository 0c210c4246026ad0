"""A real API server behind the front: requests without a token get the kubeconfig's administrator."""

from __future__ import annotations

from collections.abc import Mapping

import urllib3
from kubernetes import client, config

from tests.support.kubernetes.front import Answer, Backend

_PASSED = ("Content-Type", "Accept", "User-Agent", "Authorization")


def upstream(kubeconfig: str) -> Backend:
    """Every request goes to the server of that file."""
    settings = client.Configuration()
    settings.retries = False
    config.load_kube_config(kubeconfig, client_configuration=settings, persist_config=False)  # type: ignore[no-untyped-call]
    made = client.ApiClient(settings)
    as_admin = made.rest_client.pool_manager
    as_others = urllib3.PoolManager(ca_certs=settings.ssl_ca_cert, retries=False)

    def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        passed = {name: headers[name] for name in _PASSED if name in headers}
        admin = "Authorization" not in passed
        credential = settings.get_api_key_with_prefix("authorization") if admin else None
        if credential:
            passed["Authorization"] = credential
        pool = as_admin if admin else as_others
        found = pool.request(method, settings.host + target, body=body, headers=passed, timeout=60.0)
        kept = {
            name: found.headers[name] for name in ("Content-Type", "Retry-After") if name in found.headers
        }
        return found.status, kept, found.data

    return answer
