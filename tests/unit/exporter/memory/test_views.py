from __future__ import annotations

import io

import pytest
from rich.console import Console

from exporter.api.memory import queue_memory
from exporter.commands.memory import memory_exit_code, memory_table
from exporter.memory.advice import Retention, retention_advice
from exporter.memory.lines import bytes_per_job, daily
from exporter.memory.merge import merge_memory
from exporter.memory.view import MOST_MEASURED, memory_view
from exporter.metrics.memory import FAMILIES
from exporter.page import status_page
from exporter.page.frame import PageQuery
from exporter.snapshot.memory import StateMemory
from exporter.snapshot.queues import MeasuredMemory, QueueId
from exporter.views import About, View, status_view
from service.api.envelope import ApiError
from service.catalogs import TRANSLATORS
from tests.support.assessments import MASTER
from tests.support.measured_memory import (
    MAIL,
    MAIL_MEMORY,
    MIB,
    NODE,
    SMALL_MEMORY,
    measured,
    with_memory,
)

ABOUT = About("1.2.3", monitoring=True, uptime=61.0)
NOTHING = MeasuredMemory(unread={MAIL: "NOPERM no"}, pending=3)


def view_of(memory: MeasuredMemory | None) -> View:
    return status_view(with_memory(memory), ABOUT)


def command(memory: MeasuredMemory | None, width: int = 200) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, markup=False, highlight=False).print(memory_table(view_of(memory)))
    return stream.getvalue()


def samples(memory: MeasuredMemory | None) -> dict[str, dict[tuple[str, ...], float]]:
    return {family.name: dict(family.read(with_memory(memory))) for family in FAMILIES}


# --- advice ----------------------------------------------------------------------------------------------


def test_what_retention_would_free_the_most_first() -> None:
    failed = StateMemory(500.0 * MIB, 0.0, 9000, 10, 400.0 * MIB)
    large = MAIL_MEMORY._replace(states={"failed": failed})
    advice = retention_advice({MAIL: MAIL_MEMORY, QueueId("bull", "b"): large})
    assert advice[0] == Retention(MAIL, "removeOnComplete", 1000, 500_000, 1890.0 * MIB)
    assert [(each.queue.name, each.option) for each in advice] == [
        ("mail", "removeOnComplete"),
        ("b", "removeOnFail"),
    ]


@pytest.mark.parametrize("older", [None, 0.0, 0.9 * MIB])
def test_what_is_little_is_no_advice(older: float | None) -> None:
    state = StateMemory(1.0 * MIB, 0.0, 2000, 10, older)
    assert retention_advice({MAIL: MAIL_MEMORY._replace(states={"completed": state})}) == []


def test_what_is_less_than_a_hundredth_of_all_is_no_advice() -> None:
    assert [each.queue for each in retention_advice(measured().queues)] == [MAIL]
    assert len(retention_advice({MAIL: SMALL_MEMORY})) == 1


# --- the view --------------------------------------------------------------------------------------------


def test_the_view_has_sums_states_and_the_node() -> None:
    view = memory_view(measured())
    assert view is not None
    assert view["bytes"] == 1906 * MIB + 1024
    assert view["error_bytes"] == 19 * MIB
    assert view["states"]["failed"] == 3 * MIB
    (node,) = view["nodes"]
    assert (node["queues_bytes"], node["full_in_seconds"]) == (view["bytes"], 1000 * MIB / 2048)
    mail, small = view["queues"]
    assert (mail["name"], mail["jobs"], mail["growth_bytes_per_second"]) == ("mail", 501_024, 1024.0)
    assert mail["states"][1]["bytes_per_job"] == round(1900 * MIB / 500_000)
    assert (small["growth_bytes_per_second"], small["states"][0]["samples"]) == (None, 2000)
    assert view["measured_at"] == 940.0


def test_not_measured_is_not_0() -> None:
    assert memory_view(None) is None
    view = memory_view(NOTHING)
    assert view is not None
    assert (view["measured_at"], view["queues"], view["states"], view["unmeasured"]) == (None, [], {}, 1)
    assert samples(None) == samples(NOTHING) == {family.name: {} for family in FAMILIES}


def test_a_view_of_ten_thousand_queues_has_the_largest() -> None:
    queues = {
        QueueId("bull", f"q{number}"): MAIL_MEMORY._replace(states={"waiting": StateMemory(number)})
        for number in range(10_000)
    }
    view = memory_view(measured(queues=queues, published={}))
    assert view is not None
    assert (len(view["queues"]), view["queues"][0]["name"]) == (MOST_MEASURED, "q9999")
    assert (view["measured"], view["bytes"]) == (10_000, sum(range(10_000)))


def test_shards_together_are_one() -> None:
    other = QueueId("bull", "other")
    first = memory_view(measured())
    second = memory_view(measured(queues={other: MAIL_MEMORY}, nodes={}, pending=2, unread={MAIL: "NOPERM"}))
    whole = memory_view(measured(queues={**measured().queues, other: MAIL_MEMORY}))
    merged = merge_memory([first, None, second])
    assert merged is not None
    assert whole is not None
    assert {queue["name"] for queue in merged.pop("queues")} == {
        queue["name"] for queue in whole.pop("queues")
    }
    assert (merged.pop("pending"), merged.pop("unmeasured"), len(merged.pop("unread"))) == (2, 1, 1)
    assert merged == {name: value for name, value in whole.items() if name in merged}
    assert merge_memory([None, None]) is None


# --- series ----------------------------------------------------------------------------------------------


def test_only_published_queues_have_series_and_the_sum_has_all() -> None:
    read = samples(measured())
    assert read["bullmq_queue_memory_bytes"] == {
        (*MAIL, "waiting"): 2 * MIB,
        (*MAIL, "completed"): 1900 * MIB,
        (*MAIL, "events"): MIB,
        (*MAIL, "other"): 1024,
    }
    assert read["bullmq_queue_memory_error_bytes"] == {MAIL: 19 * MIB}
    assert read["bullmq_queue_memory_measured_timestamp_seconds"] == {MAIL: 940.0}
    assert read["bullmq_memory_bytes"][("failed",)] == 3 * MIB
    assert read["redis_memory_growth_bytes_per_second"] == {(MASTER,): 2048.0}
    assert read["redis_memory_until_full_seconds"] == {(MASTER,): 1000 * MIB / 2048}


def test_a_node_without_a_maximum_is_never_full() -> None:
    read = samples(measured(nodes={MASTER: NODE._replace(maximum=None)}))
    assert read["redis_memory_until_full_seconds"] == {}
    assert read["redis_memory_growth_bytes_per_second"] == {(MASTER,): 2048.0}


# --- command, page, API ----------------------------------------------------------------------------------


def test_the_command_names_queues_nodes_and_advice() -> None:
    output = command(measured())
    assert "1.9 GiB in 2 queues, ± 38 MiB, measured in the last 1 min" in output
    mail = next(line for line in output.splitlines() if line.strip().startswith("mail"))
    figures = ["1.9 GiB", "3.9 KiB", "+84 MiB", "2.0 MiB", "1.9 GiB", "1.0 MiB", "1.0 KiB"]
    assert mail.split()[1:] == " ".join(figures).split()
    assert "mail: removeOnComplete: 1000 would free 1.8 GiB of 500,000 jobs that are kept" in output
    assert "First remove the old jobs in steps" in output
    assert f"{MASTER}: 2.9 GiB of 3.9 GiB used, 1.9 GiB of it by queues" in output
    assert "+169 MiB a day" in output
    assert "full in 5 d 22 h at this rate" in output
    assert memory_exit_code(view_of(measured())) == 0


def test_without_a_maximum_it_is_told_that_nobody_knows() -> None:
    output = command(measured(nodes={MASTER: NODE._replace(maximum=None, growth=None)}))
    assert "growth not known yet, when it is full is not known, as no maxmemory is set" in output


def test_what_is_not_known_is_told() -> None:
    output = command(NOTHING)
    assert "No queue was measured yet." in output
    assert "bull:mail was not measured: NOPERM no" in output
    assert "3 queues were not measured yet." in output
    assert memory_exit_code(view_of(NOTHING)) == 2
    assert "bullmq.memory.enabled" in command(None)
    assert memory_exit_code(view_of(None)) == 2
    assert memory_exit_code(view_of(MeasuredMemory())) == 0  # no queue at all


def test_a_narrow_terminal_keeps_the_largest_figures() -> None:
    head = next(
        line for line in command(measured(), width=80).splitlines() if "queue" in line and "memory" in line
    )
    assert "completed" in head
    assert "other" not in head


def test_nothing_from_outside_steers_the_terminal_or_the_page() -> None:
    assert "\x1b" not in command(measured())
    page = status_page(view_of(measured()))
    section = page.partition('id="memory"')[2].partition("</section>")[0]
    assert "<script>" not in section
    assert "&lt;script&gt;" in section


@pytest.mark.parametrize("language", ["en", "id"])
def test_the_page_has_a_section_only_where_something_is_known(language: str) -> None:
    query = PageQuery(translator=TRANSLATORS[language])  # type: ignore[index]
    page = status_page(view_of(measured()), query)
    section = page.partition('id="memory"')[2].partition("</section>")[0]
    assert section.count("<tr>") == 3
    assert "removeOnComplete: 1000" in section
    assert 'id="memory"' not in status_page(view_of(None), query)
    assert 'id="memory"' not in status_page(view_of(MeasuredMemory()), query)
    assert "NOPERM no" in status_page(view_of(NOTHING), query)


def test_the_api_has_the_view_or_says_why_not() -> None:
    data = queue_memory(view_of(measured()), "off")
    assert (data.queues[0].name, data.advice[0].frees_bytes, data.taken_at) == ("mail", 1890 * MIB, 1000.0)
    with pytest.raises(ApiError) as unmeasured:
        queue_memory(view_of(None), "off")
    assert unmeasured.value.status == 503
    with pytest.raises(ApiError) as off:
        queue_memory(status_view(None, ABOUT), "off")
    assert (off.value.status, str(off.value)) == (409, "off")


def test_growth_of_a_day_and_bytes_of_a_job() -> None:
    assert (daily(None), daily(0.0), daily(-1024 / 86_400)) == ("", "+0 B", "-1.0 KiB")
    assert bytes_per_job({"states": []}) is None
