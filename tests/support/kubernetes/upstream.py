"""A real API server behind the front: requests without a token get the kubeconfig's administrator."""

from __future__ import annotations

from collections.abc import Mapping

import urllib3
from kubernetes import client, config

from tests.support.kubernetes.front import Answer, Backend

_PASSED = ("Content-Type", "Accept", "User-Agent", "Authorization")


def upstream(kubeconfig: str) -> Backend:
    """Sends every request to the server of the kubeconfig."""
    settings = client.Configuration()
    settings.retries = False
    config.load_kube_config(kubeconfig, client_configuration=settings, persist_config=False)  # type: ignore[no-untyped-call]
    api_client = client.ApiClient(settings)
    as_admin = api_client.rest_client.pool_manager
    as_others = urllib3.PoolManager(ca_certs=settings.ssl_ca_cert, retries=False)

    def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        forwarded = {name: headers[name] for name in _PASSED if name in headers}
        admin = "Authorization" not in forwarded
        credential = settings.get_api_key_with_prefix("authorization") if admin else None
        if credential:
            forwarded["Authorization"] = credential
        pool = as_admin if admin else as_others
        response = pool.request(method, settings.host + target, body=body, headers=forwarded, timeout=60)
        kept_headers = {
            name: response.headers[name]
            for name in ("Content-Type", "Retry-After")
            if name in response.headers
        }
        return response.status, kept_headers, response.data

    return answer
