from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from scaler.external_metrics.front_proxy import FrontProxy, FrontProxyError, front_proxy_of
from tests.support.any_json import ANY_JSON

CA, NAMES = "requestheader-client-ca-file", "requestheader-allowed-names"
NO_NAMES = ("front-proxy-client", "{}", "[1]", "null", '"a"', "[" * 10_000)


def certificate(*names: str) -> dict[str, Any]:
    common = tuple((("commonName", name),) for name in names)
    return {"subject": ((("organizationName", "front-proxy-client"),), *common), "version": 3}


@pytest.mark.parametrize(
    ("names", "shown", "right"),
    [
        ('["front-proxy-client"]', certificate("front-proxy-client"), True),
        ('["a", "front-proxy-client"]', certificate("front-proxy-client"), True),
        ('["front-proxy-client"]', certificate("kubelet"), False),
        ('["front-proxy-client"]', certificate(), False),
        ("[]", certificate("anybody"), True),
        ("", certificate(), True),
        ("[]", None, False),
        ("[]", {}, False),
        ('["front-proxy-client"]', None, False),
    ],
)
def test_the_api_server_is_known_by_its_common_name(names: str, shown: Any, right: bool) -> None:  # noqa: FBT001
    proxy = front_proxy_of({"data": {CA: "PEM", NAMES: names}})
    assert proxy.sent(shown) is right


def test_a_remark_in_the_bundle_may_have_any_letter() -> None:
    """Bundles name their authorities before each block; OpenSSL takes ASCII alone."""
    proxy = front_proxy_of({"data": {CA: "# Autorit\u00e9 \ud800\x00\n-----BEGIN"}})
    assert proxy.ca.isascii()
    assert proxy.ca.endswith("\n-----BEGIN")


def test_without_a_list_of_names_each_is_right() -> None:
    assert front_proxy_of({"data": {CA: "PEM"}}) == FrontProxy("PEM", frozenset())


@pytest.mark.parametrize(
    "data",
    [
        *({}, {CA: ""}, {CA: " \n"}, {CA: 5}, {NAMES: '["a"]'}),
        *({CA: "PEM", NAMES: names} for names in NO_NAMES),
    ],
)
def test_what_says_nothing_is_no_answer(data: dict[str, Any]) -> None:
    with pytest.raises(FrontProxyError, match=r"^requestheader-"):
        front_proxy_of({"data": data})


@given(ANY_JSON)
def test_any_object_is_a_front_proxy_or_an_error(data: Any) -> None:
    for config_map in ({"data": data}, {"data": {CA: data, NAMES: data}}):
        try:
            proxy = front_proxy_of(config_map)
        except FrontProxyError:
            continue
        assert proxy.sent(None) is False
