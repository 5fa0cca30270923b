//! `agent-settings`.

use crate::cli::import::draft::Draft;
use crate::cli::import::notes::Outcome;
use crate::cli::import::value::Value;

use super::{Row, by, duration_ms, lacking, needless, not, unless_off};

const BUFFER: &str = "the log files are the buffer; memory is bounded by payload_slots of the sink";
const LONG_LINES: &str =
    "a line of any length is read; a message is cut at record_bytes_max, marked and counted";

/// The section's settings.
pub(super) const ROWS: &[Row] = &[
    by(
        "agent_settings.fbit_config.log_flush_interval_secs",
        |value, draft| seconds(value, &mut draft.flush_ms),
    ),
    needless(
        "agent_settings.fbit_config.tail_mem_buf_limit_megabytes",
        BUFFER,
    ),
    needless(
        "agent_settings.fbit_config.tail_buf_chunksize_megabytes",
        LONG_LINES,
    ),
    needless(
        "agent_settings.fbit_config.tail_buf_maxsize_megabytes",
        LONG_LINES,
    ),
    by("agent_settings.fbit_config.tail_ignore_older", ignore_older),
    needless(
        "agent_settings.fbit_config.enable_internal_metrics",
        "the agent's own metrics are always at /metrics of admin.listen",
    ),
    needless("agent_settings.fbit_config.storage_type", BUFFER),
    needless("agent_settings.fbit_config.storage_max_chunks_up", BUFFER),
    needless(
        "agent_settings.fbit_config.enable_threading",
        "each sink reads on threads of its own: workers",
    ),
    needless(
        "agent_settings.mdsd_config.monitoring_max_event_rate",
        "there is no fixed rate; a sink slows down as the service says",
    ),
    needless(
        "agent_settings.mdsd_config.backpressure_memory_threshold_in_mb",
        BUFFER,
    ),
    lacking(
        "agent_settings.mdsd_config.upload_max_size_in_mb",
        "a call of the Logs Ingestion API is at most 1 MB, which is the default of payload_bytes_max",
        "nothing, or a lower payload_bytes_max",
    ),
    by(
        "agent_settings.mdsd_config.upload_frequency_seconds",
        |value, draft| seconds(value, &mut draft.upload_ms),
    ),
    by("agent_settings.mdsd_config.compression_level", compression),
    unless_off(
        "agent_settings.high_log_scale.enabled",
        "there is no mode for it: throughput is that of the sink's workers and of its rules",
        "where one core is not enough, `workers: 2` or more; where a rule's 2 GB a minute are not, a list in `dcr`",
    ),
    needless(
        "agent_settings.prometheus_fbit_settings.*",
        "what is scraped does not go through a buffer of its own",
    ),
    needless(
        "agent_settings.node_prometheus_fbit_settings.*",
        "what is scraped does not go through a buffer of its own",
    ),
    needless(
        "agent_settings.cluster_prometheus_fbit_settings.*",
        "what is scraped does not go through a buffer of its own",
    ),
    unless_off(
        "agent_settings.proxy_config.ignore_proxy_settings",
        "a proxy is taken from the agent's environment",
        "leave HTTPS_PROXY and HTTP_PROXY out of the pod, or set NO_PROXY to `*`",
    ),
    needless(
        "agent_settings.network_listener_waittime.*",
        "there are no listeners between the agent's parts",
    ),
    needless(
        "agent_settings.resource_optimization.enabled",
        "there is one process",
    ),
    needless(
        "agent_settings.telemetry_config.disable_telemetry",
        "nothing is reported to anybody",
    ),
    needless(
        "agent_settings.k8s_metadata_config.kube_meta_cache_ttl_secs",
        "changes of pods are watched; nothing is cached for a time",
    ),
    needless(
        "agent_settings.chunk_config.*",
        "an agent lists its own node's pods alone",
    ),
    lacking(
        "agent_settings.networkflow_logs_config.*",
        "network flows are not collected",
        "the store of the cluster's network observability",
    ),
];

fn seconds(value: &Value, to: &mut Option<u64>) -> Outcome {
    let Some(found) = value.whole().filter(|seconds| *seconds > 0) else {
        return not("a whole number of seconds");
    };
    let kept_ms = found.saturating_mul(1_000).min(600_000);
    *to = Some(kept_ms);
    match kept_ms / 1_000 == found {
        true => Outcome::Taken,
        false => Outcome::lacking(
            "flush_interval_ms is at most 600000, which was taken",
            "nothing: larger calls are not cheaper",
        ),
    }
}

fn ignore_older(value: &Value, draft: &mut Draft) -> Outcome {
    /// 365 days: the most that `age_max_ms` takes.
    const AGE_MAX_MS: u64 = 31_536_000_000;
    match value.text().and_then(duration_ms) {
        Some(0) => Outcome::needless("no limit there as here"),
        Some(found_ms @ 1_000..=AGE_MAX_MS) => {
            draft.age_max_ms = Some(found_ms);
            Outcome::Taken
        }
        _ => not("a duration such as 5m, 2h or 1d, at most a year"),
    }
}

fn compression(value: &Value, draft: &mut Draft) -> Outcome {
    match value.whole() {
        Some(level @ 0..=9) => {
            draft.compression = Some(level);
            Outcome::Taken
        }
        _ => not("a whole number, 0 to 9"),
    }
}
