"""Series on which each alert has to fire, and on which it must not: [minutes until it is looked at, fires, quiet].
Where an alert joins several conditions by `or`, each has a case of its own, with its number behind the alert's name.

In promtool's notation: `a+bxn` begins with a and goes on by b, n times, a sample a minute. `I` stands for the labels of
an agent on a node, to which those in the braces are added.
"""

I = 'instance="n1",job="longshore/longshore"'
FS = I + ',device="/dev/a",mountpoint="/",fstype="ext4"'
OWN = I + ',namespace="longshore",pod="longshore-x",container="longshore"'


def alert_of(case):
    return case.split(" ")[0]


def both(series, fires, quiet):
    return [(series, fires)], [(series, quiet)]


def one(minutes, series, fires, quiet):
    return (minutes, *both(series, fires, quiet))


CASES = {
    "LongshoreDown": one(10, f"up{{{I}}}", "1 0x10", "1 1 0 0 0 1x9"),
    "LongshoreRestarting": (
        60,
        [(f"process_start_time_seconds{{{I}}}", "100+100x4 500x60"), (f"longshore_build_info{{{I}}}", "1x70")],
        # Two restarts of the agent; five of somebody else's program.
        [(f"process_start_time_seconds{{{I}}}", "100+100x2 300x60"), (f"longshore_build_info{{{I}}}", "1x70"),
         ('process_start_time_seconds{instance="other",job="other"}', "100+100x5 600x60")],
    ),
    "LongshoreHung": one(5, f'longshore_sink_step_age_seconds{{{I},sink="s"}}', "0 60 120 180 240 300", "1 40 1 40 1 1"),
    "LongshoreHung 2": one(5, f"longshore_catalog_step_age_seconds{{{I}}}", "0 60 120 180 240 300", "1 40 1 40 1 1"),
    "LongshoreHung 3": one(5, f'longshore_samples_step_age_seconds{{{I},sink="s"}}', "0 60 120 180 240 300", "1 40 1 40 1 1"),
    "LongshoreUnbalanced 2": one(5, f'longshore_samples_balanced{{{I},sink="s"}}', "1 0x9", "1x9"),
    "LongshoreUnbalanced": one(5, f'longshore_log_balanced{{{I},sink="s"}}', "1 0x9", "1x9"),
    "LongshoreConfigRefused": one(10, f"longshore_config_refused{{{I}}}", "0 1x10", "0 1 1 0x10"),
    "LongshoreMemoryNearBound": (
        15,
        [(f"container_memory_working_set_bytes{{{OWN}}}", "110x20"), (f"container_spec_memory_limit_bytes{{{OWN}}}", "128x20")],
        # Well below; no limit at all; another container at its limit.
        [(f"container_memory_working_set_bytes{{{OWN}}}", "60x20"), (f"container_spec_memory_limit_bytes{{{OWN}}}", "128x20"),
         (f"container_memory_working_set_bytes{{{OWN},x=\"1\"}}", "60x20"),
         (f"container_spec_memory_limit_bytes{{{OWN},x=\"1\"}}", "0x20"),
         ('container_memory_working_set_bytes{container="web"}', "128x20"),
         ('container_spec_memory_limit_bytes{container="web"}', "128x20")],
    ),
    "LongshoreLogsLost": one(12, f'longshore_log_lost_bytes_total{{{I},sink="s",reason="deleted"}}', "0x9 500x9", "500x20"),
    "LongshoreGap": one(12, f'longshore_gaps_total{{{I},sink="s"}}', "0x9 1x9", "3x20"),
    "LongshoreLossNear": (
        10,
        [(f"longshore_catalog_held_bytes{{{I}}}", "81x15"), (f'longshore_bound{{{I},sink="",name="held_bytes_max"}}', "100x15")],
        [(f"longshore_catalog_held_bytes{{{I}}}", "79x15"), (f'longshore_bound{{{I},sink="",name="held_bytes_max"}}', "100x15"),
         (f'longshore_bound{{{I},sink="",name="held_files_max"}}', "1x15")],
    ),
    "LongshoreLagGrowing": one(90, f'longshore_log_pending_bytes{{{I},sink="s"}}', "0+1000000x100", "50000000-100000x100"),
    "LongshoreSinkSilent": (
        10,
        [(f'longshore_sink_last_accepted_age_seconds{{{I},sink="s"}}', "600+60x20"),
         (f'longshore_log_pending_bytes{{{I},sink="s"}}', "9x20")],
        # Nothing is written.
        [(f'longshore_sink_last_accepted_age_seconds{{{I},sink="s"}}', "600+60x20"),
         (f'longshore_log_pending_bytes{{{I},sink="s"}}', "0x20")],
    ),
    "LongshoreSinkPaused": one(10, f'longshore_sink_state{{{I},sink="s",state="paused"}}', "1x20", "1 1 0x20"),
    "LongshoreSinkPaused 2": one(10, f'longshore_samples_state{{{I},sink="s",state="paused"}}', "1x20", "1 1 0x20"),
    "LongshoreSinkFailing": (
        30,
        [(f'longshore_sink_failures_total{{{I},sink="s",reason="timeout"}}', "0+6x40"),
         (f'longshore_sink_failures_total{{{I},sink="s",reason="http_503"}}', "0+6x40"),
         (f'longshore_sink_attempts_total{{{I},sink="s"}}', "0+60x40")],
        [(f'longshore_sink_failures_total{{{I},sink="s",reason="timeout"}}', "0+5x40"),
         (f'longshore_sink_attempts_total{{{I},sink="s"}}', "0+60x40"),
         (f'longshore_sink_failures_total{{{I},sink="idle",reason="timeout"}}', "9x40"),
         (f'longshore_sink_attempts_total{{{I},sink="idle"}}', "9x40")],
    ),
    "LongshoreDeadLetters": (
        12,
        [(f'longshore_log_dropped_bytes_total{{{I},sink="s",reason="rejected"}}', "0x9 7x9")],
        [(f'longshore_log_dropped_bytes_total{{{I},sink="s",reason="rejected"}}', "7x20"),
         (f'longshore_log_dropped_bytes_total{{{I},sink="s",reason="too_long"}}', "0+5x20")],
    ),
    "LongshoreDeadLettersFull": one(
        12, f'longshore_log_dropped_bytes_total{{{I},sink="s",reason="dead_letter_full"}}', "0x9 7x9", "7x20"),
    "LongshoreCheckpointStale": (
        20,
        [(f'longshore_checkpoints_total{{{I},sink="s"}}', "5x30"),
         (f'longshore_log_delivered_bytes_total{{{I},sink="s"}}', "0+10x30")],
        # Written as it delivers; and a quiet one.
        [(f'longshore_checkpoints_total{{{I},sink="s"}}', "0+5x30"),
         (f'longshore_log_delivered_bytes_total{{{I},sink="s"}}', "0+10x30"),
         (f'longshore_checkpoint_failures_total{{{I},sink="s"}}', "3x30"),
         (f'longshore_checkpoints_total{{{I},sink="quiet"}}', "5x30"),
         (f'longshore_log_delivered_bytes_total{{{I},sink="quiet"}}', "10x30")],
    ),
    "LongshoreCheckpointStale 2": one(
        20, f'longshore_checkpoint_failures_total{{{I},sink="s"}}', "0+2x30", "0 0 0 0 0 3x30"),
    "LongshoreLogsUnreadable 2": one(20, f"longshore_catalog_root_missing{{{I}}}", "1x30", "0x30"),
    "LongshoreLogsUnreadable": (
        20,
        [(f'longshore_catalog_open_errors_total{{{I},kind="permission"}}', "0+3x30")],
        [(f'longshore_catalog_open_errors_total{{{I},kind="permission"}}', "3x30"),
         (f'longshore_catalog_open_errors_total{{{I},kind="not_found"}}', "0+3x30"),
         (f"longshore_catalog_root_missing{{{I}}}", "0x30")],
    ),
    "LongshorePodsUnknown": one(15, f'longshore_chains_waiting{{{I},sink="s"}}', "2x20", "2 2 2 2 2 0 2x20"),
    "LongshoreSamplesDropped": (
        20,
        [(f'longshore_samples_dropped_total{{{I},sink="s",reason="too_old"}}', "0+9x30")],
        [(f'longshore_samples_dropped_total{{{I},sink="s",reason="too_old"}}', "9x30"),
         (f'longshore_samples_dropped_total{{{I},sink="s",reason="stopped"}}', "0+9x30")],
    ),
    "LongshoreSamplesStale": one(10, f"longshore_node_sample_age_seconds{{{I}}}", "100+60x20", "15x20"),
    "NodeDiskFull": (
        10,
        [(f"node_filesystem_avail_bytes{{{FS}}}", "4x20"), (f"node_filesystem_size_bytes{{{FS}}}", "100x20"),
         (f"node_filesystem_readonly{{{FS}}}", "0x20")],
        # Full and read-only is what an image of a disk is.
        [(f"node_filesystem_avail_bytes{{{FS}}}", "0x20"), (f"node_filesystem_size_bytes{{{FS}}}", "100x20"),
         (f"node_filesystem_readonly{{{FS}}}", "1x20"),
         (f"node_filesystem_avail_bytes{{{FS},x=\"1\"}}", "6x20"), (f"node_filesystem_size_bytes{{{FS},x=\"1\"}}", "100x20"),
         (f"node_filesystem_readonly{{{FS},x=\"1\"}}", "0x20")],
    ),
    "NodeDiskFullSoon": (
        480,
        [(f"node_filesystem_avail_bytes{{{FS}}}", "900-1x500"), (f"node_filesystem_size_bytes{{{FS}}}", "2000x500"),
         (f"node_filesystem_readonly{{{FS}}}", "0x500")],
        # Full within a day as well, but most of it is free: an hour of copying.
        [(f"node_filesystem_avail_bytes{{{FS}}}", "2000-1x500"), (f"node_filesystem_size_bytes{{{FS}}}", "2000x500"),
         (f"node_filesystem_readonly{{{FS}}}", "0x500"),
         (f"node_filesystem_avail_bytes{{{FS},x=\"1\"}}", "700x500"), (f"node_filesystem_size_bytes{{{FS},x=\"1\"}}", "2000x500"),
         (f"node_filesystem_readonly{{{FS},x=\"1\"}}", "0x500")],
    ),
    "NodeInodesLow": (
        20,
        [(f"node_filesystem_files_free{{{FS}}}", "4x30"), (f"node_filesystem_files{{{FS}}}", "100x30"),
         (f"node_filesystem_readonly{{{FS}}}", "0x30")],
        # btrfs has no fixed number of them and says 0 of 0.
        [(f"node_filesystem_files_free{{{FS}}}", "0x30"), (f"node_filesystem_files{{{FS}}}", "0x30"),
         (f"node_filesystem_readonly{{{FS}}}", "0x30")],
    ),
    "NodeDiskReadOnly": one(30, f"node_filesystem_readonly{{{FS}}}", "0x20 1x20", "1x40"),
    "NodeDiskNotAnswering": one(
        20, f'node_filesystem_device_error{{{FS},device_error="stuck"}}', "1x30", "1x9 _x30"),
    "NodeCpuPressure": one(30, f"node_pressure_cpu_waiting_seconds_total{{{I}}}", "0+30x40", "0+20x40"),
    "NodeMemoryPressure": one(30, f"node_pressure_memory_stalled_seconds_total{{{I}}}", "0+6x40", "0+1x40"),
    "NodeIoPressure": one(30, f"node_pressure_io_stalled_seconds_total{{{I}}}", "0+15x40", "0+10x40"),
    "NodeOomKills": one(12, f"node_vmstat_oom_kill{{{I}}}", "4x9 5x9", "4x20"),
    "NodeIpExhaustion": one(15, f'node_ip_utilization_ratio{{{I},family="ipv4"}}', "0.95x20", "0.85x20"),
    "NodeIpLeaked": one(70, f'node_ip_leaked{{{I},family="ipv4",source="host_local"}}', "2x80", "2x20 0 2x80"),
    "NodeConntrackFull": (
        10,
        [(f"node_nf_conntrack_entries{{{I}}}", "81x15"), (f"node_nf_conntrack_entries_limit{{{I}}}", "100x15")],
        [(f"node_nf_conntrack_entries{{{I}}}", "79x15"), (f"node_nf_conntrack_entries_limit{{{I}}}", "100x15")],
    ),
    "NodeClockSkew": (
        15,
        # promtool's time begins at 0: this node is 7 s late, and its sample 10 s old.
        [(f"node_time_seconds{{{I}}}", "-17+60x20"), (f"longshore_node_sample_age_seconds{{{I}}}", "10x20")],
        [(f"node_time_seconds{{{I}}}", "-14+60x20"), (f"longshore_node_sample_age_seconds{{{I}}}", "14x20")],
    ),
}


def promtool_tests(rules, turned=False):
    """The file for `promtool test rules`; JSON is YAML. Both kinds of series stand beside each other, on two nodes, and
    only the one may fire. `turned` round, each test has to fail."""
    tests = []
    for case, (minutes, fires, quiet) in CASES.items():
        series = fires + [(one.replace('instance="n1"', 'instance="n2"'), values) for one, values in quiet]
        tests.append({
            "name": case,
            "interval": "1m",
            "input_series": [{"series": one, "values": values} for one, values in series],
            "promql_expr_test": [{
                "expr": f'count by (instance) (ALERTS{{alertname="{alert_of(case)}",alertstate="firing"}})',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": '{instance="n2"}' if turned else '{instance="n1"}', "value": 1}],
            }],
        })
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": tests}
