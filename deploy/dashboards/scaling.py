"""What the scaler did, and why."""

from __future__ import annotations

from deploy.dashboards.common import SCALING_EVENTS, YES, increase
from deploy.dashboards.model import Dashboard, Panel, PanelQuery, PanelThresholds, Row, Variable

_JOB = Variable("job", "job", "oxherd_scaler_leader", "Scaler (job)")
_TARGET = Variable("target", "target", 'oxherd_scaler_current_replicas{job=~"$job"}', "Target")
_ALL = 'job=~"$job"'
_OF = 'job=~"$job", target=~"$target"'


def _most(metric: str) -> str:
    """Two scalers publish the same: one of them acts."""
    return f"max by (target) ({metric}{{{_OF}}})"


def scaling_dashboard(runbooks: str) -> Dashboard:
    """`runbooks`: where the alerts' pages are."""
    now = Row(
        "Now",
        [
            Panel(
                "Targets",
                "Workers that are wanted, asked for and ready, and what they are wanted for.",
                [
                    PanelQuery(_most("oxherd_scaler_desired_replicas"), column="desired"),
                    PanelQuery(_most("oxherd_scaler_current_replicas"), column="current"),
                    PanelQuery(_most("oxherd_scaler_ready_replicas"), column="ready"),
                    PanelQuery(_most("oxherd_scaler_min_replicas"), column="min"),
                    PanelQuery(_most("oxherd_scaler_max_replicas"), column="max"),
                    PanelQuery(_most("oxherd_scaler_load_factor"), column="load"),
                    PanelQuery(_most("oxherd_scaler_wait_estimate_seconds"), column="wait, estimated"),
                    PanelQuery(_most("oxherd_scaler_override_replicas"), column="override"),
                    PanelQuery(_most("oxherd_scaler_metrics_age_seconds"), column="age of metrics"),
                ],
                kind="table",
                width=16,
                units={"load": "percentunit", "wait, estimated": "s", "age of metrics": "s"},
            ),
            Panel(
                "Someone leads",
                "1 while a scaler holds the lease, or is the only one.",
                [PanelQuery(f"max(oxherd_scaler_leader{{{_ALL}}})", "leader")],
                kind="stat",
                width=4,
                thresholds=PanelThresholds.zero_is_bad(),
                texts=YES,
            ),
            Panel(
                "Switched on",
                "0 when scaling was stopped, or ENABLE_AUTO_SCALING is false: nothing is changed then.",
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
                "Desired is the decision, current what the target is asked for, ready what can take jobs.",
                [
                    PanelQuery(_most("oxherd_scaler_desired_replicas"), "desired {{target}}"),
                    PanelQuery(_most("oxherd_scaler_current_replicas"), "current {{target}}"),
                    PanelQuery(_most("oxherd_scaler_ready_replicas"), "ready {{target}}"),
                    PanelQuery(_most("oxherd_scaler_min_replicas"), "min {{target}}"),
                    PanelQuery(_most("oxherd_scaler_max_replicas"), "max {{target}}"),
                ],
                width=12,
            ),
            Panel(
                "Why",
                "Decisions for another number, by the reason that won.",
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
                "What holds of the target beside the metrics.",
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
                "How long a job that comes now would wait, by what waits and how long jobs take.",
                [PanelQuery(_most("oxherd_scaler_wait_estimate_seconds"), "wait, estimated {{target}}")],
                unit="s",
                width=8,
            ),
            Panel(
                "Load",
                "Waiting and active jobs against what the workers are for, at most 1.",
                [PanelQuery(_most("oxherd_scaler_load_factor"), "{{target}}")],
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
                "What the workers cost within the time shown.",
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
                "Numbers that a person has ordered.",
                [PanelQuery(_most("oxherd_scaler_override_replicas"), "{{target}}")],
                no_value="nobody has ordered a number",
            ),
            Panel(
                "Errors",
                "What went wrong, by kind: of a target, or of its metrics.",
                [
                    PanelQuery(
                        f"sum by (kind) ({increase('oxherd_scaler_errors_total', _ALL)}) > 0",
                        "{{kind}}",
                    )
                ],
                bars=True,
                stacked=True,
                no_value="nothing went wrong",
            ),
            Panel(
                "Time of a step",
                "Seconds that the last step took, queries and targets included.",
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
                "Seconds since the scrape that each decision rests on.",
                [PanelQuery(_most("oxherd_scaler_metrics_age_seconds"), "{{target}}")],
                unit="s",
                width=12,
                thresholds=PanelThresholds.rising(30, 60),
            ),
        ],
    )
    return Dashboard(
        "oxherd-scaling",
        "Oxherd / Scaling",
        "What did the scaler do, and why?",
        [_JOB, _TARGET],
        [now, details, cost],
        [SCALING_EVENTS],
    )
