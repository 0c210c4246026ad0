"""The lab's Prometheus: scrapes and queries."""

from __future__ import annotations

import pytest

from lab.ports import free_port
from lab.prometheus import PrometheusQueryError, promtool, start_prometheus

pytestmark = pytest.mark.timeout(120)  # 6 s on an idle machine


def test_it_scrapes_itself() -> None:
    port = free_port()
    config = f"""
        global: {{scrape_interval: 1s}}
        scrape_configs:
          - job_name: self
            static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
    """
    with start_prometheus(config, port=port) as prometheus:
        [(labels, value)] = prometheus.wait_for('up{job="self"} == 1')
        assert labels["instance"] == f"127.0.0.1:{port}"
        assert value == 1
        with pytest.raises(PrometheusQueryError, match="parse error"):
            prometheus.query("sum(")


def test_promtool_reports_its_result() -> None:
    assert (
        promtool(
            "check", "metrics", stdin="# HELP a_total A.\n# TYPE a_total counter\na_total 1\n"
        ).returncode
        == 0
    )
    assert promtool("check", "metrics", stdin="no metric").returncode != 0
