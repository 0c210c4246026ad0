from __future__ import annotations

import pytest

from exporter.metrics.families import FAMILIES
from exporter.metrics.family import Family, MetricKind
from exporter.web.exposition import OWN

REDIS = """redis_up
redis_uptime_in_seconds redis_connected_clients redis_blocked_clients redis_memory_used_bytes
redis_memory_max_bytes redis_memory_used_rss_bytes redis_memory_used_peak_bytes
redis_total_system_memory_bytes
redis_mem_fragmentation_ratio redis_commands_processed_total redis_commands_total
redis_commands_duration_seconds_total redis_keyspace_hits_total redis_keyspace_misses_total
redis_net_input_bytes_total redis_net_output_bytes_total redis_db_keys redis_db_keys_expiring
redis_expired_keys_total redis_evicted_keys_total redis_rejected_connections_total redis_config_maxclients
redis_connected_slaves redis_master_link_up redis_master_last_io_seconds_ago redis_master_repl_offset
redis_slave_repl_offset redis_rdb_last_save_timestamp_seconds redis_aof_last_write_status redis_slowlog_length
redis_instance_info redis_rdb_last_bgsave_status redis_errors_total redis_clock_offset_seconds"""
CLUSTER = """redis_cluster_state redis_cluster_slots_assigned redis_cluster_slots_ok redis_cluster_slots_pfail
redis_cluster_slots_fail redis_cluster_known_nodes redis_cluster_size redis_cluster_current_epoch
redis_cluster_node_healthy redis_cluster_node_role redis_cluster_replication_lag_bytes
redis_cluster_slots_covered redis_cluster_failovers_total
redis_sentinel_master_status redis_sentinel_quorum_ok"""
BULLMQ = """bullmq_up bullmq_queues bullmq_queues_left_out bullmq_queue_info bullmq_job_count
bullmq_queue_paused bullmq_queue_workers
bullmq_queue_concurrency_limit bullmq_queue_rate_limit_ttl_seconds bullmq_queue_oldest_waiting_seconds
bullmq_queue_longest_active_seconds bullmq_queue_delayed_overdue bullmq_queue_delayed_due
bullmq_queue_failed_last_hour bullmq_queue_schedulers bullmq_scheduler_next_run_timestamp_seconds
bullmq_scheduler_last_run_timestamp_seconds bullmq_scheduler_lateness_seconds
bullmq_queue_load_factor bullmq_queue_worker_utilization bullmq_queue_worker_concurrency
bullmq_metrics_completed_total bullmq_metrics_failed_total bullmq_ids_total
bullmq_job_added_total bullmq_job_started_total bullmq_job_completed_total bullmq_job_failed_total
bullmq_job_failed_reasons_total
bullmq_job_name_added_total bullmq_job_name_completed_total bullmq_job_name_failed_total
bullmq_job_name_retried_total bullmq_job_name_wait_seconds bullmq_job_name_processing_seconds
bullmq_job_retried_total bullmq_job_stalled_total bullmq_job_removed_total bullmq_job_deduplicated_total
bullmq_job_wait_seconds bullmq_job_processing_seconds bullmq_queue_busy_seconds_total
bullmq_events_read_total bullmq_events_lost_total bullmq_events_evicted_total bullmq_events_lag_seconds
bullmq_events_undone_total
bullmq_queue_memory_bytes bullmq_queue_memory_error_bytes bullmq_queue_memory_measured_timestamp_seconds
bullmq_memory_bytes redis_memory_growth_bytes_per_second redis_memory_until_full_seconds"""
HOST = """host_cpu_seconds_total host_cpu_count host_machine_cpu_count host_load1 host_load5 host_load15
host_memory_total_bytes
host_memory_available_bytes host_memory_used_bytes host_memory_swap_used_bytes host_filesystem_size_bytes
host_filesystem_avail_bytes host_disk_read_bytes_total host_disk_written_bytes_total
host_disk_io_time_seconds_total host_network_receive_bytes_total host_network_transmit_bytes_total
host_network_receive_errors_total host_network_transmit_errors_total host_boot_time_seconds
host_info"""
OURS = """oxherd_redis_deployment_info
oxherd_health_score oxherd_health_status oxherd_health_penalty oxherd_collect_success
oxherd_issue oxherd_issue_affected oxherd_issue_subjects
oxherd_collect_duration_seconds oxherd_probe_success oxherd_probe_duration_seconds oxherd_probe_failures_total
oxherd_probe_http_status_code oxherd_probe_certificate_expiry_timestamp_seconds
oxherd_state_write_errors_total"""


def test_every_series_that_was_promised_is_declared_and_no_other() -> None:
    promised = f"{REDIS} {CLUSTER} {BULLMQ} {HOST} {OURS}".split()
    assert sorted(family.name for family in FAMILIES) == sorted(promised)


def test_no_name_is_declared_twice() -> None:
    names = [family.name for family in FAMILIES] + list(OWN)
    assert len(set(names)) == len(names)


def test_help_is_a_sentence_on_one_line() -> None:
    assert [family.name for family in FAMILIES if not family.help.endswith((".", ")."))] == []
    assert [family.name for family in FAMILIES if "\n" in family.help] == []


def test_the_name_that_the_redis_mixin_records_itself_is_left_to_it() -> None:
    assert "redis_memory_fragmentation_ratio" not in {family.name for family in FAMILIES}


def test_seconds_and_bytes_are_in_the_name_of_what_is_measured_in_them() -> None:
    for family in FAMILIES:
        if not family.name.startswith("redis_"):  # redis_exporter's names are kept as they are
            assert ("bytes" in family.name) == ("bytes" in family.help.lower()), family.name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("jobs", "counter"),
        ("jobs_total", "gauge"),
        ("Jobs", "gauge"),
        ("jobs-waiting", "gauge"),
        ("1_job", "gauge"),
        ("jobs\n", "gauge"),
        ("", "gauge"),
    ],
)
def test_a_name_that_prometheus_or_its_users_would_stumble_over_is_a_mistake(
    name: str, kind: MetricKind
) -> None:
    with pytest.raises(ValueError, match="invalid name"):
        Family(name, kind, "What it is.", (), lambda _: [])
