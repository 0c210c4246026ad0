"""The session of the page: what it can, and what begins and ends it."""

from __future__ import annotations

import httpx
import pytest

from tests.support.system import FULL, PATH, READ, System

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]  # up to 9 s alone, of the system


def browser_of(system: System) -> httpx.Client:
    return httpx.Client(base_url=system.exporter.url, timeout=20)


def signed_in(browser: httpx.Client) -> bool:
    return browser.get("/status.json").status_code == 200


def test_a_session_begins_with_a_token_of_its_own(system: System) -> None:
    """One that somebody else has put into the browser is not taken over."""
    with browser_of(system) as browser:
        browser.cookies.set("oxherd_session", "a-token-of-somebody-else", domain="127.0.0.1")
        assert not signed_in(browser)
        answer = browser.post("/sign-in", data={"key": READ})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert "a-token-of-somebody-else" not in cookie
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        browser.cookies.clear()
        browser.cookies.set("oxherd_session", "a-token-of-somebody-else", domain="127.0.0.1")
        assert not signed_in(browser)


def test_a_session_gives_no_orders(system: System) -> None:
    """So a page of somebody else can give none through the browser."""
    with browser_of(system) as browser:
        browser.post("/sign-in", data={"key": FULL})
        assert signed_in(browser)
        for body in ({"action": "stop_monitoring"}, {"action": "stop_autoscaling"}):
            assert browser.post(PATH, json=body).status_code == 401
        assert browser.get(PATH).status_code == 401


def test_a_link_neither_begins_nor_ends_a_session(system: System) -> None:
    with browser_of(system) as browser:
        assert browser.get("/sign-in", params={"key": FULL}).status_code == 405
        assert browser.post("/sign-in", params={"key": FULL}).status_code == 401
        assert not signed_in(browser)
        browser.post("/sign-in", data={"key": FULL})
        assert browser.get("/sign-out").status_code == 405
        assert signed_in(browser)
        token = browser.cookies["oxherd_session"]
        assert browser.post("/sign-out").status_code == 303
        browser.cookies.set("oxherd_session", token, domain="127.0.0.1")
        assert not signed_in(browser), "the token itself has ended"


@pytest.mark.parametrize("token", [b"", b"\xff\xfe", b"a" * 4000, b'"; oxherd_session=', b"%ud800"])
def test_odd_tokens_are_none(system: System, token: bytes) -> None:
    headers = [(b"cookie", b"oxherd_session=" + token)]
    assert httpx.get(system.exporter.url + "/status.json", headers=headers).status_code == 401
