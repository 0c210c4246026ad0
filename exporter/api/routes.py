"""The actions of the exporter, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from exporter.api import actions, models
from exporter.api.forward import ScalerClient
from exporter.api.memory import QueueMemoryData, queue_memory
from exporter.assess import sentence
from exporter.assessment import Assessment
from exporter.switch import Monitoring
from exporter.views import About, View, status_view
from service.api.actions import Api, ApiRequest, Command, Query
from service.api.endpoint import forwarded_response
from service.api.envelope import ApiError, Camel, to_json_data
from service.clock import Deadline

_SECONDS: Final = 10.0
_SCALING: Final = {
    "scaling_status": "What the scaler does and why, for each target (from SCALER_URL).",
    "scaling_metrics": "The measurements behind its decisions (from SCALER_URL).",
}


class MonitoringControl(Protocol):
    """The part of the exporter that the actions use."""

    def assess(self, deadline: Deadline) -> Assessment | None:
        """Collect and assess; None while monitoring is off."""

    def about(self) -> About:
        """The exporter itself."""

    def monitoring(self) -> Monitoring:
        """Whether monitoring is enabled now."""

    def monitor(self, *, on: bool, interval_minutes: float | None) -> Monitoring:
        """Enable or disable monitoring; `interval_minutes` None: unchanged."""


def make_monitoring_api(exporter: MonitoringControl, scaler: ScalerClient) -> Api:
    """Every action; the scaling actions are forwarded to the scaler."""

    def view() -> View:
        return status_view(exporter.assess(Deadline.after(_SECONDS)), exporter.about())

    def of(make: Callable[[View], Camel]) -> Callable[[ApiRequest], Any]:
        return lambda _: to_json_data(make(view()))

    def status(_: ApiRequest) -> Any:
        monitoring_status = actions.monitoring_status(
            status_view(None, exporter.about()), exporter.monitoring(), scaler=scaler.known
        )
        return to_json_data(monitoring_status)

    def start(request: ApiRequest, command: models.StartMonitoring) -> Any:
        exporter.monitor(on=True, interval_minutes=command.interval_minutes)
        return status(request)

    def stop(request: ApiRequest, _: models.StopMonitoring) -> Any:
        exporter.monitor(on=False, interval_minutes=None)
        return status(request)

    def collect(_: ApiRequest, __: models.CollectMetrics) -> Any:
        assessment = exporter.assess(Deadline.after(_SECONDS))
        if assessment is None:
            raise ApiError(409, actions.OFF)
        return to_json_data(
            models.Collected(
                score=assessment.health.score,
                status=assessment.health.status,
                summary=sentence(assessment),
                taken_at=assessment.snapshot.taken_at,
            )
        )

    def forward(request: ApiRequest) -> Any:
        return forwarded_response(*scaler.query(request.action, request.key))

    def forward_command(request: ApiRequest, _: models.Forwarded) -> Any:
        return forwarded_response(*scaler.command(request.body, request.key))

    forwarded = Command(
        "Forwarded to the scaler (SCALER_URL), whose /docs describe its fields.",
        models.Forwarded,
        models.AnyData,
        forward_command,
    )
    return Api(
        queries={
            "health_check": Query(
                "The score, and the issues with their recommendations.",
                models.HealthCheck,
                of(actions.health_check),
            ),
            "system_metrics": Query(
                "The host and this process.", models.SystemMetrics, of(actions.system_metrics)
            ),
            "redis_cluster": Query(
                "The nodes of Redis: roles, health, replication, failovers.",
                models.RedisCluster,
                of(actions.redis_cluster),
            ),
            "redis_performance": Query(
                "Memory, clients, commands and hit rate of each node.",
                models.RedisPerformance,
                of(actions.redis_performance),
            ),
            "queue_metrics": Query(
                "Jobs by state, workers, rates and times of each queue.",
                models.QueueMetrics,
                lambda request: to_json_data(
                    actions.queue_metrics(view(), request.query.get("queueName", ""))
                ),
            ),
            "queue_memory": Query(
                "Bytes of each queue in Redis by state, when the nodes are full, and what would free some.",
                QueueMemoryData,
                of(lambda view: queue_memory(view, actions.OFF)),
            ),
            "monitoring_status": Query(
                "Whether monitoring is enabled, its interval, and what set it.",
                models.MonitoringStatus,
                status,
            ),
            **{name: Query(summary, models.AnyData, forward) for name, summary in _SCALING.items()},
        },
        commands={
            "start_monitoring": Command(
                "Collect and assess again; `intervalMinutes` sets how often it is assessed.",
                models.StartMonitoring,
                models.MonitoringStatus,
                start,
            ),
            "stop_monitoring": Command(
                "Collect nothing: /metrics then has `oxherd_monitoring_enabled 0` and no figures.",
                models.StopMonitoring,
                models.MonitoringStatus,
                stop,
            ),
            "collect_metrics": Command(
                "Collect and assess now.", models.CollectMetrics, models.Collected, collect
            ),
            **dict.fromkeys(models.Forwarded.model_fields["action"].annotation.__args__, forwarded),  # type: ignore[union-attr]
        },
        overall=Query("The overall status.", models.Overall, of(actions.overall)),
        parameters={
            "queueName": "queue_metrics: this queue only. `mail` also means `{mail}`; or `prefix:name`"
        },
    )
