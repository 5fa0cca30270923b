//! The limits in force, as a list of names and numbers, so that a usage can be held against its bound.

use crate::config::{Config, Limits, Sink};

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The sink it belongs to; empty: the agent.
    pub sink: String,
    /// Its name in the configuration, unit last.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
}

impl Bound {
    /// All limits of a configuration, the agent's first.
    pub fn of(config: &Config) -> Vec<Bound> {
        let mut bounds = Vec::new();
        add(&mut bounds, "", &agent_bounds(config));
        add(
            &mut bounds,
            "",
            &[("series_max", config.metrics.series_max as u64)],
        );
        for sink in &config.sinks {
            add(&mut bounds, &sink.name, &sink_bounds(sink));
        }
        bounds
    }
}

fn add(bounds: &mut Vec<Bound>, sink: &str, list: &[(&'static str, u64)]) {
    bounds.extend(list.iter().map(|(name, value)| Bound {
        sink: sink.to_owned(),
        name,
        value: *value,
    }));
}

fn agent_bounds(config: &Config) -> [(&'static str, u64); 8] {
    let logs = &config.logs;
    [
        ("poll_active_ms", logs.poll_active_ms),
        ("poll_idle_ms", logs.poll_idle_ms),
        ("rescan_interval_ms", logs.rescan_interval_ms),
        ("forget_after_ms", logs.forget_after_ms),
        ("held_bytes_max", logs.held_bytes_max),
        ("held_files_max", logs.held_files_max as u64),
        ("shutdown_grace_ms", config.shutdown_grace_ms),
        ("reload_grace_ms", config.reload_grace_ms),
    ]
}

fn sink_bounds(sink: &Sink) -> Vec<(&'static str, u64)> {
    // Taken apart in full: a new limit does not compile until it is listed.
    let Limits {
        record_bytes_max,
        block_bytes,
        join_bytes_max,
        partial_timeout_ms,
        payload_bytes_max,
        payload_uncompressed_bytes_max,
        payload_records_max,
        flush_interval_ms,
        payload_slots,
        requests_in_flight,
        backoff_min_ms,
        backoff_max_ms,
        probe_interval_ms,
        stuck_after_ms,
        rejects_per_minute_max,
        dead_letter_bytes_max,
        gzip_open_max,
        checkpoint_interval_ms,
        samples_bytes_max,
        samples_age_max_ms,
    } = sink.limits;
    vec![
        ("workers", sink.workers as u64),
        ("record_bytes_max", record_bytes_max as u64),
        ("block_bytes", block_bytes as u64),
        ("join_bytes_max", join_bytes_max as u64),
        ("partial_timeout_ms", partial_timeout_ms),
        ("payload_bytes_max", payload_bytes_max as u64),
        (
            "payload_uncompressed_bytes_max",
            payload_uncompressed_bytes_max as u64,
        ),
        ("payload_records_max", u64::from(payload_records_max)),
        ("flush_interval_ms", flush_interval_ms),
        ("payload_slots", payload_slots as u64),
        ("requests_in_flight", requests_in_flight as u64),
        ("backoff_min_ms", backoff_min_ms),
        ("backoff_max_ms", backoff_max_ms),
        ("probe_interval_ms", probe_interval_ms),
        ("stuck_after_ms", stuck_after_ms),
        ("rejects_per_minute_max", u64::from(rejects_per_minute_max)),
        ("dead_letter_bytes_max", dead_letter_bytes_max),
        ("gzip_open_max", gzip_open_max as u64),
        ("checkpoint_interval_ms", checkpoint_interval_ms),
        ("samples_bytes_max", samples_bytes_max as u64),
        ("samples_age_max_ms", samples_age_max_ms),
    ]
}
