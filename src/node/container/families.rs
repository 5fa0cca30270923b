//! The families of containers and pods, by the names, labels and definitions that dashboards know from cAdvisor.

use std::time::SystemTime;

use super::Disks;
use super::process::Traffic;
use crate::node::cgroup::parse::{Io, Limit};
use crate::node::cgroup::{Limits, Usage, Wants};
use crate::node::snapshot::{Kind, Shared, Snapshot, Spec, Unit};

const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Spec {
    Spec::counter(name, unit, help)
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Spec {
    Spec::gauge(name, unit, help)
}

use Unit::{Bytes, Count, One, Seconds};

static CPU: Spec = counter(
    "container_cpu_usage_seconds_total",
    Seconds,
    "CPU time used.",
);
static CPU_USER: Spec = counter(
    "container_cpu_user_seconds_total",
    Seconds,
    "CPU time used in user mode.",
);
static CPU_SYSTEM: Spec = counter(
    "container_cpu_system_seconds_total",
    Seconds,
    "CPU time used in the kernel.",
);
static PERIODS: Spec = counter(
    "container_cpu_cfs_periods_total",
    Count,
    "Periods in which the CPU quota was enforced.",
);
static THROTTLED: Spec = counter(
    "container_cpu_cfs_throttled_periods_total",
    Count,
    "Periods in which the CPU quota was used up.",
);
static THROTTLED_TIME: Spec = counter(
    "container_cpu_cfs_throttled_seconds_total",
    Seconds,
    "Time held back by the CPU quota.",
);
static MEMORY: Spec = gauge(
    "container_memory_usage_bytes",
    Bytes,
    "Memory in use, page cache included.",
);
static WORKING_SET: Spec = gauge(
    "container_memory_working_set_bytes",
    Bytes,
    "Memory in use but for page cache that was not used lately.",
);
static RSS: Spec = gauge("container_memory_rss", Bytes, "Anonymous memory.");
static CACHE: Spec = gauge("container_memory_cache", Bytes, "Page cache.");
static SWAP: Spec = gauge("container_memory_swap", Bytes, "Swapped out.");
static MAPPED: Spec = gauge("container_memory_mapped_file", Bytes, "Mapped files.");
static MEMORY_MAX: Spec = gauge(
    "container_memory_max_usage_bytes",
    Bytes,
    "The most memory that was in use.",
);
static FAULTS: Spec = counter(
    "container_memory_failures_total",
    Count,
    "Page faults; pgmajfault: with a read from disk.",
);
static KILLS: Spec = counter(
    "container_oom_events_total",
    Count,
    "Processes killed for want of memory.",
);
static READ_BYTES: Spec = counter("container_fs_reads_bytes_total", Bytes, "Read from a disk.");
static WRITTEN_BYTES: Spec = counter(
    "container_fs_writes_bytes_total",
    Bytes,
    "Written to a disk.",
);
static READS: Spec = counter("container_fs_reads_total", Count, "Reads from a disk.");
static WRITES: Spec = counter("container_fs_writes_total", Count, "Writes to a disk.");
static PROCESSES: Spec = gauge("container_processes", Count, "Processes.");
static THREADS: Spec = gauge("container_threads", Count, "Threads.");
static THREADS_MAX: Spec = gauge(
    "container_threads_max",
    Count,
    "The most threads that are allowed; 0: no limit.",
);
static PERIOD: Spec = gauge(
    "container_spec_cpu_period",
    Count,
    "The period of the CPU quota, in microseconds.",
);
static QUOTA: Spec = gauge(
    "container_spec_cpu_quota",
    Count,
    "The CPU quota of each period, in microseconds.",
);
static SHARES: Spec = gauge("container_spec_cpu_shares", Count, "Share of the CPU.");
static LIMIT: Spec = gauge(
    "container_spec_memory_limit_bytes",
    Bytes,
    "Memory limit; 0: none.",
);
static SWAP_LIMIT: Spec = gauge(
    "container_spec_memory_swap_limit_bytes",
    Bytes,
    "Swap limit; 0: none.",
);
static RESERVATION: Spec = gauge(
    "container_spec_memory_reservation_limit_bytes",
    Bytes,
    "Memory that is kept for it; 0: none.",
);
static STARTED: Spec = gauge(
    "container_start_time_seconds",
    Seconds,
    "When it started, since the Unix epoch.",
);
static SEEN: Spec = gauge(
    "container_last_seen",
    Seconds,
    "When it was last seen, since the Unix epoch.",
);
static CPU_WAITING: Spec = counter(
    "container_pressure_cpu_waiting_seconds_total",
    Seconds,
    "Time in which at least one task waited for a CPU.",
);
static CPU_STALLED: Spec = counter(
    "container_pressure_cpu_stalled_seconds_total",
    Seconds,
    "Time in which all tasks waited for a CPU.",
);
static MEMORY_WAITING: Spec = counter(
    "container_pressure_memory_waiting_seconds_total",
    Seconds,
    "Time in which at least one task waited for memory.",
);
static MEMORY_STALLED: Spec = counter(
    "container_pressure_memory_stalled_seconds_total",
    Seconds,
    "Time in which all tasks waited for memory.",
);
static IO_WAITING: Spec = counter(
    "container_pressure_io_waiting_seconds_total",
    Seconds,
    "Time in which at least one task waited for a disk.",
);
static IO_STALLED: Spec = counter(
    "container_pressure_io_stalled_seconds_total",
    Seconds,
    "Time in which all tasks waited for a disk.",
);
static RECEIVED: [Spec; 4] = [
    counter(
        "container_network_receive_bytes_total",
        Bytes,
        "Bytes received.",
    ),
    counter(
        "container_network_receive_packets_total",
        Count,
        "Packets received.",
    ),
    counter(
        "container_network_receive_errors_total",
        Count,
        "Errors while receiving.",
    ),
    counter(
        "container_network_receive_packets_dropped_total",
        Count,
        "Packets dropped while receiving.",
    ),
];
static SENT: [Spec; 4] = [
    counter(
        "container_network_transmit_bytes_total",
        Bytes,
        "Bytes sent.",
    ),
    counter(
        "container_network_transmit_packets_total",
        Count,
        "Packets sent.",
    ),
    counter(
        "container_network_transmit_errors_total",
        Count,
        "Errors while sending.",
    ),
    counter(
        "container_network_transmit_packets_dropped_total",
        Count,
        "Packets dropped while sending.",
    ),
];

/// 1 if something of the containers could not be read or was left out.
pub static SCRAPE_ERROR: Spec = gauge(
    "container_scrape_error",
    One,
    "1 if something of the containers could not be read or was left out.",
);
/// Pods and containers beyond the bound.
pub static OMITTED: Spec = gauge(
    "longshore_node_containers_omitted",
    Count,
    "Cgroups that are left out because there are too many.",
);

/// What of a cgroup has to be read for the families that are wanted.
pub fn wants(out: &Snapshot) -> Wants {
    let any = |specs: &[&Spec]| specs.iter().any(|spec| out.wants(spec));
    Wants {
        cpu: any(&[
            &CPU,
            &CPU_USER,
            &CPU_SYSTEM,
            &PERIODS,
            &THROTTLED,
            &THROTTLED_TIME,
        ]),
        memory: any(&[&MEMORY, &WORKING_SET, &RSS, &CACHE, &SWAP, &MAPPED, &FAULTS]),
        memory_max: any(&[&MEMORY_MAX]),
        kills: any(&[&KILLS]),
        io: any(&[&READ_BYTES, &WRITTEN_BYTES, &READS, &WRITES]),
        threads: any(&[&THREADS]),
        processes: any(&[&PROCESSES]),
        pressure: any(&[
            &CPU_WAITING,
            &CPU_STALLED,
            &MEMORY_WAITING,
            &MEMORY_STALLED,
            &IO_WAITING,
            &IO_STALLED,
        ]),
    }
}

/// Whether any limit is wanted.
pub fn wants_limits(out: &Snapshot) -> bool {
    let all = [
        &PERIODS,
        &PERIOD,
        &QUOTA,
        &SHARES,
        &LIMIT,
        &SWAP_LIMIT,
        &RESERVATION,
        &THREADS_MAX,
    ];
    all.into_iter().any(|spec| out.wants(spec))
}

/// Whether anything of pods' networks is wanted.
pub fn wants_network(out: &Snapshot) -> bool {
    RECEIVED.iter().chain(&SENT).any(|spec| out.wants(spec))
}

/// Where samples of one cgroup go: with its labels, and the moment since when its counters count.
pub struct Out<'a> {
    /// The samples.
    pub snapshot: &'a mut Snapshot,
    /// Its own labels.
    pub labels: Shared,
    /// When the container started.
    pub since: Option<SystemTime>,
}

impl Out<'_> {
    fn add(&mut self, spec: &Spec, value: Option<f64>) {
        self.with(spec, &[], value);
    }

    /// A sample with labels beside those of the cgroup.
    fn with(&mut self, spec: &Spec, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            let since = match spec.kind {
                Kind::Counter => self.since,
                _ => None,
            };
            self.snapshot
                .add_shared(spec, &self.labels, labels, value, since);
        }
    }

    /// What a cgroup has used.
    pub(super) fn usage(&mut self, usage: &Usage, disks: &Disks) {
        self.with(&CPU, &[("cpu", "total")], seconds(usage.cpu_ns));
        self.add(&CPU_USER, seconds(usage.user_ns));
        self.add(&CPU_SYSTEM, seconds(usage.system_ns));
        self.add(&MEMORY, float(usage.memory));
        self.add(&WORKING_SET, float(usage.working_set()));
        self.add(&RSS, float(usage.rss));
        self.add(&CACHE, float(usage.cache));
        self.add(&SWAP, float(usage.swap));
        self.add(&MAPPED, float(usage.mapped_file));
        self.add(&MEMORY_MAX, float(usage.memory_max));
        self.add(&KILLS, float(usage.kills));
        self.add(&PROCESSES, float(usage.processes));
        self.add(&THREADS, float(usage.threads));
        self.faults(usage);
        for (device, io) in &usage.io {
            self.io(disks.get(device), io);
        }
        for (waiting, stalled, pressure) in [
            (&CPU_WAITING, &CPU_STALLED, usage.cpu_pressure),
            (&MEMORY_WAITING, &MEMORY_STALLED, usage.memory_pressure),
            (&IO_WAITING, &IO_STALLED, usage.io_pressure),
        ] {
            self.add(waiting, float(pressure.some).map(|us| us / 1e6));
            self.add(stalled, float(pressure.full).map(|us| us / 1e6));
        }
    }

    fn faults(&mut self, usage: &Usage) {
        for (kind, value) in [
            ("pgfault", usage.faults),
            ("pgmajfault", usage.major_faults),
        ] {
            for scope in ["container", "hierarchy"] {
                let labels = [("failure_type", kind), ("scope", scope)];
                self.with(&FAULTS, &labels, float(value));
            }
        }
    }

    fn io(&mut self, device: &str, io: &Io) {
        for (spec, value) in [
            (&READ_BYTES, io.read_bytes),
            (&WRITTEN_BYTES, io.written_bytes),
            (&READS, io.reads),
            (&WRITES, io.writes),
        ] {
            self.with(spec, &[("device", device)], Some(value as f64));
        }
    }

    /// What a cgroup may use, and its throttling, which means something only where there is a quota.
    pub fn limits(&mut self, limits: &Limits, usage: &Usage) {
        self.add(&PERIOD, float(limits.period_us));
        self.add(&SHARES, float(limits.shares));
        self.add(&LIMIT, most(limits.memory));
        self.add(&SWAP_LIMIT, most(limits.swap));
        self.add(&RESERVATION, most(limits.reservation));
        self.add(&THREADS_MAX, most(limits.threads));
        if let Some(Limit::Of(quota)) = limits.quota_us {
            self.add(&QUOTA, Some(quota as f64));
            self.add(&PERIODS, float(usage.periods));
            self.add(&THROTTLED, float(usage.throttled_periods));
            self.add(&THROTTLED_TIME, seconds(usage.throttled_ns));
        }
    }

    /// When it started and that it is there.
    pub fn times(&mut self) {
        let started = self.since.and_then(epoch_seconds);
        self.add(&STARTED, started);
        let seen = epoch_seconds(self.snapshot.taken);
        self.add(&SEEN, seen.map(f64::floor));
    }

    /// What one interface of a pod has carried.
    pub fn traffic(&mut self, interface: &str, traffic: &Traffic) {
        for (specs, values) in [(&RECEIVED, traffic.received), (&SENT, traffic.sent)] {
            for (spec, value) in specs.iter().zip(values) {
                self.with(spec, &[("interface", interface)], Some(value as f64));
            }
        }
    }
}

fn float(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn seconds(ns: Option<u64>) -> Option<f64> {
    ns.map(|ns| ns as f64 / 1e9)
}

/// A limit as a number, where none is 0. Version 1 writes none as the largest number of whole pages.
fn most(limit: Option<Limit>) -> Option<f64> {
    limit.map(|limit| match limit {
        Limit::Of(value) if value <= 1 << 62 => value as f64,
        _ => 0.0,
    })
}

fn epoch_seconds(at: SystemTime) -> Option<f64> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}
