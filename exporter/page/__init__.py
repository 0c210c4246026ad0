"""The status page: HTML from the data of /status.json, and what Prometheus and the scaler report.

It works without its script, which only reloads it. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from exporter.history import Point
from exporter.page import parts
from exporter.page.frame import PageQuery, as_html, document, links, section
from exporter.page.memory import memory_section
from exporter.page.plots import plots
from exporter.page.queues import queue_search, queue_table
from exporter.peers.model import Peers
from exporter.summaries import STATUSES
from exporter.views import View

__all__ = ["status_page"]


def status_page(
    view: View,
    query: PageQuery = PageQuery(),  # noqa: B008  # frozen
    *,
    history: Sequence[Point] = (),
    peers: Peers = Peers(),  # noqa: B008  # frozen
    now: float = 0.0,
) -> str:
    """The whole page; `now` (unix s) is the right end of the plots."""
    health, translate = view["health"], query.translator.translate
    title = f"{health['score']:g} {translate(STATUSES[health['status']])} · Oxherd" if health else "Oxherd"
    body = [parts.header(view, query), parts.shard_card(view, query)]
    if health is None:
        text = translate("page.not_collected" if view["monitoring"] else "page.monitoring_off")
        body.append(f'<section id="state" data-live><p class="card">{as_html(text)}</p></section>')
    else:
        body.append(parts.score(health, query))
        body.append(parts.alerts(peers.alerts, query))
        figures = f'<div class="card plots">{plots(history, now, query.translator)}</div>'
        body.append(section("plots", translate("page.last_hour"), figures))
        body.append(parts.nodes(view["redis"], query))
        if view["queues"] is not None:
            body += [queue_search(query), queue_table(view, query), memory_section(view, query)]
        body.append(parts.scaling(peers.scaler, query))
        body += [parts.host(view["host"], query)]
        body += [parts.probes(view["probes"], query), parts.sources(view, query)]
    body += [parts.background(view["background"], query), links(query)]
    return document(title, body, query)
