from __future__ import annotations

from html.parser import HTMLParser

from exporter.page import status_page
from exporter.views import About, Task, status_view
from tests.fakes.assessments import assessment, issue, well

VOID = {"meta", "br", "link"}
ABOUT = About(
    "1.2.3",
    monitoring=True,
    uptime=3700.0,
    tasks=(Task("discovery", True, 1.0, 0), Task("assessment", False, 999.0, 3)),
)


class Reader(HTMLParser):
    """The page's text, links and elements; fails where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_from_outside_is_escaped() -> None:
    page = Reader(status_page(status_view(assessment(), ABOUT)))
    assert "script" not in page.tags
    assert "<script>" in page.text  # as text, in an advice and in a reason


def test_it_loads_nothing_and_links_only_to_its_own_paths() -> None:
    page = Reader(status_page(status_view(assessment(), ABOUT)))
    assert {"/metrics", "/healthz", "/readyz", "/status.json"} <= set(page.links)
    assert all(link.startswith("/") and not link.startswith("//") for link in page.links)
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)


def test_what_it_says() -> None:
    issues = (issue("cluster_node_unhealthy", penalty=20), issue("failed_jobs_high", "bullmq", 10))
    text = Reader(status_page(status_view(assessment(issues=issues, score=70), ABOUT))).text
    for said in (
        "70",
        "warning",
        "2 issues",
        "title of failed_jobs_high",
        "1 of 2 nodes",
        "0 nodes",
        "1.2.3",
    ):
        assert said in text
    for said in (
        "1.2.3",
        "redis",
        "bullmq",
        "host",
        "process",
        "failed",
        "2.0 ms",
        "1 h 1 min",
        "discovery",
        "late",
    ):
        assert said in text


def test_all_well() -> None:
    page = status_page(status_view(well(), ABOUT))
    assert "no issues" in page
    assert '<b class="healthy">100</b>' in page
    assert ">off<" in page


def test_switched_off() -> None:
    page = Reader(status_page(status_view(None, About("1.2.3", monitoring=False, uptime=1.0))))
    assert "Monitoring is switched off (ENABLE_SYSTEM_MONITORING=false)" in page.text
    assert "table" not in page.tags
