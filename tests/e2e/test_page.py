"""The status page in Chromium: a real exporter and scaler, a cluster that loses a node, BullMQ's own jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect, sync_playwright

from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.programs import find_program
from tests.support.fake_prometheus import fake_prometheus
from tests.support.system import FULL, READ, TARGETS, Program, running

pytestmark = pytest.mark.timeout(120)

QUEUES = 120
SOON = 20_000.0  # ms: the page polls every ten seconds
expect.set_options(timeout=SOON)

ALERT = {
    "state": "firing",
    "activeAt": "2026-01-02T03:04:05.6Z",
    "labels": {"alertname": "ClusterNodeDown", "severity": "high", "cooldown": "10m"},
    "annotations": {"summary": "A Redis node is <b>down</b>."},
}


class Alerts(BaseHTTPRequestHandler):
    """/api/v1/alerts of a Prometheus: an alert of Oxherd, one of another source, one that is pending."""

    def do_GET(self) -> None:
        others = [ALERT | {"labels": {"alertname": "Theirs"}}, ALERT | {"state": "pending"}]
        body = json.dumps({"status": "success", "data": {"alerts": [ALERT, *others]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@dataclass
class World:
    cluster: LocalCluster
    library: BullMQ
    exporter: Program
    closed: Program
    """The same with a key."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as undo:
        cluster = undo.enter_context(start_cluster(masters=3))
        library = undo.enter_context(BullMQ(6, cluster=cluster.addresses, prefix="{shop}"))
        for number in range(QUEUES):
            library.add_bulk(f"queue-{number:03}", 1 + number % 3)
        library.add_bulk("busy", 9)
        library.add("<img src=x onerror=alert(1)>")
        library.pause("queue-007")
        library.start_worker("busy", behaviour={"ms": 5}, concurrency=2)
        prometheus = undo.enter_context(fake_prometheus())
        folder = tmp_path_factory.mktemp("page")
        scaler = undo.enter_context(
            running(
                folder,
                "scaling",
                {},
                {"interval_seconds": 1, "prometheus": {"urls": [prometheus.url]}, "targets": TARGETS},
                key=None,
            )
        )
        alerts = ThreadingHTTPServer(("127.0.0.1", 0), Alerts)
        Thread(target=alerts.serve_forever, args=(0.05,), daemon=True).start()
        undo.callback(alerts.server_close)
        undo.callback(alerts.shutdown)
        settings = {
            "redis": {"cluster": cluster.addresses},
            "bullmq": {"prefixes": ["{shop}"], "discovery_interval_seconds": 5},
            "health": {
                "thresholds": {"host_load_per_core": 1000},  # whatever else runs on this machine
                "queues": [{"match": "*", "excluded": True}],  # most have no worker
            },
            "api": {
                "scaler_url": scaler.url,
                "prometheus_url": f"http://127.0.0.1:{alerts.server_address[1]}",
            },
        }
        exporter = undo.enter_context(running(folder, "monitor", {}, settings, key=None))
        locked = folder / "locked"
        locked.mkdir()
        closed = undo.enter_context(
            running(locked, "monitor", {"CRON_API_KEY": FULL, "CRON_API_READ_KEY": READ}, settings)
        )
        yield World(cluster, library, exporter, closed)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=find_program("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A page, its requests, and its errors."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def rows(self) -> list[str]:
        """The names of queues in the table."""
        return self.page.locator("#queues td.name").all_inner_texts()

    def check(self) -> None:
        """The page has no errors and no requests to other servers."""
        assert self.errors == []
        assert {urlsplit(url).netloc for url in self.requests if not url.startswith("data:")} == {self.origin}


VisitOf: TypeAlias = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[VisitOf]:
    contexts: list[BrowserContext] = []

    def go(program: Program, path: str = "/", **options: Any) -> Visit:
        context = browser.new_context(**({"locale": "en-US"} | options))
        contexts.append(context)
        visited = Visit(context.new_page(), urlsplit(program.url).netloc)
        visited.page.goto(program.url + path)
        return visited

    yield go
    for context in contexts:
        context.close()


@pytest.mark.fault
def test_the_first_screen(world: World, visit: VisitOf) -> None:
    opened = visit(world.exporter)
    page = opened.page
    expect(page.locator("#redis tr")).to_have_count(7)
    expect(page.locator("#queues tr")).to_have_count(51)
    expect(page.locator("#queues")).to_contain_text("1 - 50 of 122 queues")
    expect(page.locator("#plots figure")).to_have_count(5)
    page.reload()
    expect(page.locator("#scaling")).to_contain_text("mail")
    expect(page.locator("#alerts")).to_contain_text("A Redis node is <b>down</b>.")
    expect(page.locator("#alerts tr")).to_have_count(2)
    assert page.locator("img, b:text('down')").count() == 0
    opened.check()


@pytest.mark.fault
def test_search_paging_order_and_back(world: World, visit: VisitOf) -> None:
    opened = visit(world.exporter, "/?sort=name")
    page = opened.page
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("queue-00", delay=30)
    expect(page.locator("#queues tr")).to_have_count(11)
    expect(page.locator("#search")).to_be_focused()
    assert page.url.endswith("?sort=name&q=queue-00")
    assert opened.rows()[7].endswith("paused")
    page.locator("#search").fill("")
    expect(page.locator("#queues tr")).to_have_count(51)
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#queues")).to_contain_text("51 - 100 of 122")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#queues tr")).to_have_count(23)
    page.go_back()
    expect(page.locator("#queues")).to_contain_text("51 - 100 of 122")
    page.get_by_role("link", name="Waiting").click()
    expect(page.locator("#queues")).to_contain_text("1 - 50 of 122")
    expect(page.get_by_role("link", name="Waiting")).to_be_focused()
    expect(page.locator("#queues a[aria-sort]")).to_have_text("Waiting")
    page.locator("#search").fill("<img")
    expect(page.locator("#queues tr")).to_have_count(2)
    assert page.locator("img").count() == 0
    opened.check()


def dismissing(seen: list[str]) -> Callable[[Dialog], None]:
    def dismiss(dialog: Dialog) -> None:
        seen.append(dialog.message)
        dialog.dismiss()

    return dismiss


@pytest.mark.fault
def test_nothing_in_a_link_or_a_name_is_run_by_the_browser(world: World, visit: VisitOf) -> None:
    attack = "<img src=x onerror=alert(1)>"
    for value in (
        attack,
        f'"><script>alert(1)</script>{attack}',
        "' onfocus=alert(1) autofocus='",
        "\u202eabc",
    ):
        opened = visit(world.exporter, f"/?{urlencode({'q': value, 'sort': value, 'lang': value})}")
        dialogs = list[str]()
        opened.page.on("dialog", dismissing(dialogs))
        expect(opened.page.locator("#search")).to_have_value(value)
        opened.page.locator("#search").fill(value + " ")
        opened.page.locator("#search").fill(attack)
        expect(opened.page.locator("#queues tr")).to_have_count(2)
        expect(opened.page.locator("#queues td.name")).to_have_text(attack)
        assert (dialogs, opened.page.locator("img, script:not([src])").count()) == ([], 0)
        opened.check()


def test_the_page_updates(world: World, visit: VisitOf) -> None:
    """New jobs appear without a reload, and typed text stays."""
    opened = visit(world.exporter, "/?q=queue-011")
    page = opened.page
    cell = page.locator("#queues td.number").first
    before = int(cell.inner_text())
    page.locator("#search").focus()
    world.library.add_bulk("queue-011", 5)
    expect(cell).to_have_text(str(before + 5))
    expect(page.locator("#search")).to_have_value("queue-011")
    expect(page.locator("#search")).to_be_focused()
    opened.check()


def test_the_page_is_complete_without_scripts(world: World, visit: VisitOf) -> None:
    page = visit(world.exporter, java_script_enabled=False).page
    page.locator("#search").fill("queue-01")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#queues tr")).to_have_count(11)
    page.locator("#queues").get_by_role("link", name="Queue").click()
    assert "sort=name" in page.url
    assert "q=queue-01" in page.url


def test_the_browsers_language_and_a_selected_one(world: World, visit: VisitOf) -> None:
    opened = visit(world.exporter, locale="id-ID")
    page = opened.page
    assert page.locator("html").get_attribute("lang") == "id"
    expect(page.get_by_role("heading", name="Antrean", exact=True)).to_be_visible()
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Queues", exact=True)).to_be_visible()
    page.locator("#search").fill("queue-01")
    expect(page.locator("#queues tr")).to_have_count(11)
    assert page.locator("html").get_attribute("lang") == "en"
    opened.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1200, 900)])
def test_the_page_fits_the_screen(world: World, visit: VisitOf, scheme: Any, width: int, height: int) -> None:
    opened = visit(
        world.exporter, "/?q=queue-00", viewport={"width": width, "height": height}, color_scheme=scheme
    )
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(level) for level in re.findall(r"\d+", back)]
    assert (max(levels) < 64) == (scheme == "dark")
    opened.check()


def test_with_a_key_it_is_a_form_until_a_person_signs_in(world: World, visit: VisitOf) -> None:
    opened = visit(world.closed)
    page = opened.page
    assert "queue" not in page.content()
    assert page.locator("table").count() == 0
    page.get_by_label("Key").fill("not-the-right-key")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Invalid key.")
    page.get_by_label("Key").fill(READ)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#queues tr")).to_have_count(51)
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert READ not in cookie["value"]
    assert not any(READ in url for url in opened.requests)
    response = page.request.post(f"{world.closed.url}/api/monitoring", data={"action": "stop_monitoring"})
    assert response.status == 401, "a session changes nothing"
    assert page.request.get(f"{world.closed.url}/status.json").status == 200
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()
    assert page.request.get(f"{world.closed.url}/status.json").status == 401
    opened.errors = [
        error for error in opened.errors if "401" not in error
    ]  # Chromium's message for the attempt
    opened.check()


def test_an_unreachable_exporter_is_reported(world: World, visit: VisitOf, tmp_path: Path) -> None:
    settings = {"redis": {"cluster": world.cluster.addresses}}
    with running(tmp_path, "monitor", {}, settings, key=None) as program:
        page = visit(program).page
        expect(page.locator("#stale")).to_be_hidden()
        expect(page.locator("#state")).to_be_visible()
    expect(page.locator("#stale")).to_be_visible(timeout=SOON)
    expect(page.locator("#stale")).to_contain_text("No answer since")
    expect(page.locator("#state")).to_be_visible()


def test_the_page_reports_a_node_that_is_down(world: World, visit: VisitOf) -> None:
    opened = visit(world.exporter)
    page = opened.page
    replica = world.cluster.replicas()[0]
    expect(page.locator("#redis .critical")).to_have_count(0)
    replica.kill()
    expect(page.locator("#state")).to_contain_text("A Redis node is unhealthy")
    expect(page.locator("#redis tr", has_text=replica.address)).to_contain_text("down")
    expect(page).to_have_title(re.compile(r"^80 warning"))
    opened.check()
