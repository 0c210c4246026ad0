"""The scaler's decisions and their reasons."""

from __future__ import annotations

from deploy.dashboards.common import SCALING_EVENTS, YES, increase
from deploy.dashboards.model import Dashboard, Panel, PanelQuery, PanelThresholds, Row, Variable

_JOB = Variable("job", "job", "oxherd_scaler_leader", "Scaler (job)")
_TARGET = Variable("target", "target", 'oxherd_scaler_current_replicas{job=~"$job"}', "Target")
_ALL = 'job=~"$job"'
_OF = 'job=~"$job", target=~"$target"'


def _max_by_target(metric: str) -> str:
    """Every scaler publishes the series, and only the leader acts."""
    return f"max by (target) ({metric}{{{_OF}}})"


def scaling_dashboard(runbooks: str) -> Dashboard:
    """`runbooks`: the URL of the runbooks."""
    now = Row(
        "Now",
        [
            Panel(
                "Targets",
                "Desired, recommended, requested and ready workers, and the values behind the decision.",
                [
                    PanelQuery(_max_by_target("oxherd_scaler_desired_replicas"), column="desired"),
                    PanelQuery(_max_by_target("oxherd_scaler_recommended_replicas"), column="recommended"),
                    PanelQuery(_max_by_target("oxherd_scaler_current_replicas"), column="current"),
                    PanelQuery(_max_by_target("oxherd_scaler_ready_replicas"), column="ready"),
                    PanelQuery(_max_by_target("oxherd_scaler_min_replicas"), column="min"),
                    PanelQuery(_max_by_target("oxherd_scaler_max_replicas"), column="max"),
                    PanelQuery(_max_by_target("oxherd_scaler_load_factor"), column="load"),
                    PanelQuery(
                        _max_by_target("oxherd_scaler_wait_estimate_seconds"), column="wait, estimated"
                    ),
                    PanelQuery(_max_by_target("oxherd_scaler_override_replicas"), column="override"),
                    PanelQuery(_max_by_target("oxherd_scaler_metrics_age_seconds"), column="age of metrics"),
                ],
                kind="table",
                width=16,
                units={"load": "percentunit", "wait, estimated": "s", "age of metrics": "s"},
            ),
            Panel(
                "Leader",
                "1 while a scaler holds the lease, or runs alone.",
                [PanelQuery(f"max(oxherd_scaler_leader{{{_ALL}}})", "leader")],
                kind="stat",
                width=4,
                thresholds=PanelThresholds.zero_is_bad(),
                texts=YES,
            ),
            Panel(
                "Enabled",
                "0 after stop, or when ENABLE_AUTO_SCALING is false: no target is scaled then.",
                [PanelQuery(f"min(oxherd_scaler_enabled{{{_ALL}}})", "enabled")],
                kind="stat",
                width=4,
                thresholds=PanelThresholds.zero_is_bad(),
                texts=YES,
            ),
        ],
    )
    details = Row(
        "$target",
        [
            Panel(
                "Workers",
                "Desired is the decision, recommended the policy's number also where another one decides, "
                "current the number requested of the target, ready the number that can take jobs.",
                [
                    PanelQuery(_max_by_target("oxherd_scaler_desired_replicas"), "desired {{target}}"),
                    PanelQuery(
                        _max_by_target("oxherd_scaler_recommended_replicas"), "recommended {{target}}"
                    ),
                    PanelQuery(_max_by_target("oxherd_scaler_current_replicas"), "current {{target}}"),
                    PanelQuery(_max_by_target("oxherd_scaler_ready_replicas"), "ready {{target}}"),
                    PanelQuery(_max_by_target("oxherd_scaler_min_replicas"), "min {{target}}"),
                    PanelQuery(_max_by_target("oxherd_scaler_max_replicas"), "max {{target}}"),
                ],
                width=12,
            ),
            Panel(
                "Reasons",
                "Decisions that change the number of workers, by reason.",
                [
                    PanelQuery(
                        f"sum by (direction, reason) ({increase('oxherd_scaler_decisions_total', _OF)}) > 0",
                        "{{direction}}: {{reason}}",
                    )
                ],
                width=12,
                bars=True,
                stacked=True,
            ),
            Panel(
                "Conditions",
                "Conditions of the target that do not come from the metrics.",
                [
                    PanelQuery(
                        f'max by (condition) (oxherd_scaler_condition{{{_OF}, condition!="Active"}})',
                        "{{condition}}",
                    )
                ],
                kind="state-timeline",
                width=8,
                texts=YES,
                good_value="0",
                thresholds=PanelThresholds(((None, "green"), (1, "orange"))),
                link=("By condition", f"{runbooks}../kubernetes.md"),
            ),
            Panel(
                "Waiting time, estimated",
                "Estimated wait of a job that is added now, from the waiting jobs and the duration of jobs.",
                [
                    PanelQuery(
                        _max_by_target("oxherd_scaler_wait_estimate_seconds"), "wait, estimated {{target}}"
                    )
                ],
                unit="s",
                width=8,
            ),
            Panel(
                "Load",
                "Waiting and active jobs divided by the capacity of the workers, at most 1.",
                [PanelQuery(_max_by_target("oxherd_scaler_load_factor"), "{{target}}")],
                unit="percentunit",
                maximum=1,
                width=8,
            ),
        ],
        repeat="target",
    )
    cost = Row(
        "The scaler itself",
        [
            Panel(
                "Replica-hours",
                "Replica-hours of the workers within the time shown.",
                [
                    PanelQuery(
                        "max by (target) (avg_over_time("
                        f"oxherd_scaler_current_replicas{{{_OF}}}[$__range])) * $__range_s / 3600",
                        "{{target}}",
                    )
                ],
                kind="bargauge",
                unit="h",
            ),
            Panel(
                "Overrides",
                "Workers that an override sets.",
                [PanelQuery(_max_by_target("oxherd_scaler_override_replicas"), "{{target}}")],
                no_value="no override",
            ),
            Panel(
                "Errors",
                "Errors by kind: of a target, or of its metrics.",
                [
                    PanelQuery(
                        f"sum by (kind) ({increase('oxherd_scaler_errors_total', _ALL)}) > 0",
                        "{{kind}}",
                    )
                ],
                bars=True,
                stacked=True,
                no_value="no errors",
            ),
            Panel(
                "Time of a step",
                "Seconds that the last step took, including queries and targets.",
                [
                    PanelQuery(
                        f"max by (instance) (oxherd_scaler_step_duration_seconds{{{_ALL}}})", "{{instance}}"
                    )
                ],
                unit="s",
                width=12,
            ),
            Panel(
                "Age of metrics",
                "Seconds since the scrape on which each decision is based.",
                [PanelQuery(_max_by_target("oxherd_scaler_metrics_age_seconds"), "{{target}}")],
                unit="s",
                width=12,
                thresholds=PanelThresholds.rising(30, 60),
            ),
        ],
    )
    return Dashboard(
        "oxherd-scaling",
        "Oxherd / Scaling",
        "What did the scaler decide, and why?",
        [_JOB, _TARGET],
        [now, details, cost],
        [SCALING_EVENTS],
    )
