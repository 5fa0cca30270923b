//! What the node's metrics are called in OpenTelemetry: one table, by the semantic conventions for systems 1.44 and by
//! what the collector's receiver of host metrics says.
//!
//! A family that has no row goes under its own name. Invariant: a sample gives at least one point under every naming,
//! or none only where what its value is counted against is missing.

use self::Amount::{Less, Own, Since};
use self::Sum::{Counter, Gauge, UpDown};
use crate::config::OtelNaming;
use crate::node::snapshot::{Kind, Unit};

/// What a metric is called and how its points look.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The family that it is made of.
    pub family: &'static str,
    /// How a point's value comes of a sample's.
    pub amount: Amount,
    /// Under the semantic conventions.
    pub semconv: Option<Name>,
    /// As the collector's receiver has it.
    pub hostmetrics: Option<Name>,
}

/// A metric's name, unit, kind and attributes.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Name.
    pub name: &'static str,
    /// UCUM.
    pub unit: &'static str,
    /// What its values mean.
    pub sum: Sum,
    /// Attributes that are made of the labels.
    pub labels: &'static [(Source, &'static str)],
    /// Attributes that are the same for all its points of this row.
    pub fixed: &'static [(&'static str, &'static str)],
}

/// What values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Only grows.
    Counter,
    /// Adds up over attributes, and may fall.
    UpDown,
    /// A state.
    Gauge,
}

/// How a point's value comes of a sample's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// It is the sample's.
    Own,
    /// Less that of the series with the same labels of another family.
    Less(&'static str),
    /// It is the time since the moment that the sample names.
    Since,
}

/// Where an attribute's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A label.
    Label(&'static str),
    /// A label, as a number.
    Number(&'static str),
    /// The label `cpu`, with `cpu` in front.
    CpuName,
    /// The label `mode` of CPU time, in the words of the conventions.
    CpuMode,
    /// The label `mode` of CPU time, in the receiver's words.
    CpuState,
    /// Whether the filesystem is read-only: `ro` or `rw`.
    FilesystemMode,
}

impl Row {
    /// The name under a naming.
    pub fn name(&self, naming: OtelNaming) -> Option<&Name> {
        match naming {
            OtelNaming::Prometheus => None,
            OtelNaming::Semconv => self.semconv.as_ref(),
            OtelNaming::Hostmetrics => self.hostmetrics.as_ref(),
        }
    }
}

/// The rows of a family.
pub fn rows(family: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.family == family)
}

/// A unit as UCUM has it.
pub const fn ucum(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "s",
        Unit::Bytes => "By",
        Unit::One | Unit::Count => "1",
    }
}

/// What a kind of Prometheus is; what the kernel does not tell is taken as a state.
pub const fn sum(kind: Kind) -> Sum {
    match kind {
        Kind::Counter => Sum::Counter,
        Kind::Gauge | Kind::Untyped => Sum::Gauge,
    }
}

/// The label `mode` of CPU time in the words of the conventions; they know no soft interrupts, but let others be said.
pub fn cpu_mode(mode: &str) -> &str {
    match mode {
        "irq" => "interrupt",
        mode => mode,
    }
}

/// The same in the receiver's words.
pub fn cpu_state(mode: &str) -> &str {
    match mode {
        "irq" => "interrupt",
        "iowait" => "wait",
        mode => mode,
    }
}

type Labels = &'static [(Source, &'static str)];
type Fixed = &'static [(&'static str, &'static str)];

const NONE: Labels = &[];
const DISK: Labels = &[(Source::Label("device"), "system.device")];
const DEVICE: Labels = &[(Source::Label("device"), "device")];
const INTERFACE: Labels = &[(Source::Label("device"), "network.interface.name")];
const FILESYSTEM: Labels = &[
    (Source::Label("device"), "system.device"),
    (Source::FilesystemMode, "system.filesystem.mode"),
    (Source::Label("mountpoint"), "system.filesystem.mountpoint"),
    (Source::Label("fstype"), "system.filesystem.type"),
];
const MOUNT: Labels = &[
    (Source::Label("device"), "device"),
    (Source::FilesystemMode, "mode"),
    (Source::Label("mountpoint"), "mountpoint"),
    (Source::Label("fstype"), "type"),
];

const fn named(
    name: &'static str,
    unit: &'static str,
    sum: Sum,
    labels: Labels,
    fixed: Fixed,
) -> Option<Name> {
    Some(Name {
        name,
        unit,
        sum,
        labels,
        fixed,
    })
}

const fn row(
    family: &'static str,
    amount: Amount,
    semconv: Option<Name>,
    hostmetrics: Option<Name>,
) -> Row {
    Row {
        family,
        amount,
        semconv,
        hostmetrics,
    }
}

/// THE table.
#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    row("node_boot_time_seconds", Since,
        named("system.uptime", "s", Gauge, NONE, &[]),
        named("system.uptime", "s", Gauge, NONE, &[])),
    row("node_cpu_seconds_total", Own,
        named("system.cpu.time", "s", Counter, &[(Source::Number("cpu"), "cpu.logical_number"), (Source::CpuMode, "cpu.mode")], &[]),
        named("system.cpu.time", "s", Counter, &[(Source::CpuName, "cpu"), (Source::CpuState, "state")], &[])),
    row("node_load1", Own, None, named("system.cpu.load_average.1m", "{thread}", Gauge, NONE, &[])),
    row("node_load5", Own, None, named("system.cpu.load_average.5m", "{thread}", Gauge, NONE, &[])),
    row("node_load15", Own, None, named("system.cpu.load_average.15m", "{thread}", Gauge, NONE, &[])),
    row("node_memory_MemTotal_bytes", Own,
        named("system.memory.limit", "By", UpDown, NONE, &[]),
        named("system.memory.limit", "By", UpDown, NONE, &[])),
    row("node_memory_MemTotal_bytes", Less("node_memory_MemAvailable_bytes"),
        named("system.memory.usage", "By", UpDown, NONE, &[("system.memory.state", "used")]),
        named("system.memory.usage", "By", UpDown, NONE, &[("state", "used")])),
    row("node_memory_MemFree_bytes", Own,
        named("system.memory.usage", "By", UpDown, NONE, &[("system.memory.state", "free")]),
        named("system.memory.usage", "By", UpDown, NONE, &[("state", "free")])),
    row("node_memory_Buffers_bytes", Own,
        named("system.memory.usage", "By", UpDown, NONE, &[("system.memory.state", "buffers")]),
        named("system.memory.usage", "By", UpDown, NONE, &[("state", "buffered")])),
    row("node_memory_Cached_bytes", Own,
        named("system.memory.usage", "By", UpDown, NONE, &[("system.memory.state", "cached")]),
        named("system.memory.usage", "By", UpDown, NONE, &[("state", "cached")])),
    row("node_memory_Shmem_bytes", Own, named("system.memory.shared", "By", UpDown, NONE, &[]), None),
    row("node_memory_MemAvailable_bytes", Own,
        named("system.memory.linux.available", "By", UpDown, NONE, &[]),
        named("system.linux.memory.available", "By", UpDown, NONE, &[])),
    row("node_memory_SReclaimable_bytes", Own,
        named("system.memory.linux.slab.usage", "By", UpDown, NONE, &[("system.memory.linux.slab.state", "reclaimable")]),
        named("system.memory.usage", "By", UpDown, NONE, &[("state", "slab_reclaimable")])),
    row("node_memory_SUnreclaim_bytes", Own,
        named("system.memory.linux.slab.usage", "By", UpDown, NONE, &[("system.memory.linux.slab.state", "unreclaimable")]),
        named("system.memory.usage", "By", UpDown, NONE, &[("state", "slab_unreclaimable")])),
    row("node_memory_SwapTotal_bytes", Less("node_memory_SwapFree_bytes"),
        named("system.paging.usage", "By", UpDown, NONE, &[("system.paging.state", "used")]),
        named("system.paging.usage", "By", UpDown, NONE, &[("state", "used")])),
    row("node_memory_SwapFree_bytes", Own,
        named("system.paging.usage", "By", UpDown, NONE, &[("system.paging.state", "free")]),
        named("system.paging.usage", "By", UpDown, NONE, &[("state", "free")])),
    row("node_disk_read_bytes_total", Own,
        named("system.disk.io", "By", Counter, DISK, &[("disk.io.direction", "read")]),
        named("system.disk.io", "By", Counter, DEVICE, &[("direction", "read")])),
    row("node_disk_written_bytes_total", Own,
        named("system.disk.io", "By", Counter, DISK, &[("disk.io.direction", "write")]),
        named("system.disk.io", "By", Counter, DEVICE, &[("direction", "write")])),
    row("node_disk_reads_completed_total", Own,
        named("system.disk.operations", "{operation}", Counter, DISK, &[("disk.io.direction", "read")]),
        named("system.disk.operations", "{operations}", Counter, DEVICE, &[("direction", "read")])),
    row("node_disk_writes_completed_total", Own,
        named("system.disk.operations", "{operation}", Counter, DISK, &[("disk.io.direction", "write")]),
        named("system.disk.operations", "{operations}", Counter, DEVICE, &[("direction", "write")])),
    row("node_disk_reads_merged_total", Own,
        named("system.disk.merged", "{operation}", Counter, DISK, &[("disk.io.direction", "read")]),
        named("system.disk.merged", "{operations}", Counter, DEVICE, &[("direction", "read")])),
    row("node_disk_writes_merged_total", Own,
        named("system.disk.merged", "{operation}", Counter, DISK, &[("disk.io.direction", "write")]),
        named("system.disk.merged", "{operations}", Counter, DEVICE, &[("direction", "write")])),
    row("node_disk_read_time_seconds_total", Own,
        named("system.disk.operation_time", "s", Counter, DISK, &[("disk.io.direction", "read")]),
        named("system.disk.operation_time", "s", Counter, DEVICE, &[("direction", "read")])),
    row("node_disk_write_time_seconds_total", Own,
        named("system.disk.operation_time", "s", Counter, DISK, &[("disk.io.direction", "write")]),
        named("system.disk.operation_time", "s", Counter, DEVICE, &[("direction", "write")])),
    row("node_disk_io_time_seconds_total", Own,
        named("system.disk.io_time", "s", Counter, DISK, &[]),
        named("system.disk.io_time", "s", Counter, DEVICE, &[])),
    row("node_disk_io_time_weighted_seconds_total", Own, None,
        named("system.disk.weighted_io_time", "s", Counter, DEVICE, &[])),
    row("node_disk_io_now", Own, None,
        named("system.disk.pending_operations", "{operations}", UpDown, DEVICE, &[])),
    row("node_filesystem_size_bytes", Own, named("system.filesystem.limit", "By", UpDown, FILESYSTEM, &[]), None),
    row("node_filesystem_size_bytes", Less("node_filesystem_free_bytes"),
        named("system.filesystem.usage", "By", UpDown, FILESYSTEM, &[("system.filesystem.state", "used")]),
        named("system.filesystem.usage", "By", UpDown, MOUNT, &[("state", "used")])),
    row("node_filesystem_avail_bytes", Own,
        named("system.filesystem.usage", "By", UpDown, FILESYSTEM, &[("system.filesystem.state", "free")]),
        named("system.filesystem.usage", "By", UpDown, MOUNT, &[("state", "free")])),
    row("node_filesystem_free_bytes", Less("node_filesystem_avail_bytes"),
        named("system.filesystem.usage", "By", UpDown, FILESYSTEM, &[("system.filesystem.state", "reserved")]),
        named("system.filesystem.usage", "By", UpDown, MOUNT, &[("state", "reserved")])),
    row("node_filesystem_files", Less("node_filesystem_files_free"), None,
        named("system.filesystem.inodes.usage", "{inodes}", UpDown, MOUNT, &[("state", "used")])),
    row("node_filesystem_files_free", Own, None,
        named("system.filesystem.inodes.usage", "{inodes}", UpDown, MOUNT, &[("state", "free")])),
    row("node_network_receive_bytes_total", Own,
        named("system.network.io", "By", Counter, INTERFACE, &[("network.io.direction", "receive")]),
        named("system.network.io", "By", Counter, DEVICE, &[("direction", "receive")])),
    row("node_network_transmit_bytes_total", Own,
        named("system.network.io", "By", Counter, INTERFACE, &[("network.io.direction", "transmit")]),
        named("system.network.io", "By", Counter, DEVICE, &[("direction", "transmit")])),
    row("node_network_receive_packets_total", Own,
        named("system.network.packet.count", "{packet}", Counter, DISK, &[("network.io.direction", "receive")]),
        named("system.network.packets", "{packets}", Counter, DEVICE, &[("direction", "receive")])),
    row("node_network_transmit_packets_total", Own,
        named("system.network.packet.count", "{packet}", Counter, DISK, &[("network.io.direction", "transmit")]),
        named("system.network.packets", "{packets}", Counter, DEVICE, &[("direction", "transmit")])),
    row("node_network_receive_drop_total", Own,
        named("system.network.packet.dropped", "{packet}", Counter, INTERFACE, &[("network.io.direction", "receive")]),
        named("system.network.dropped", "{packets}", Counter, DEVICE, &[("direction", "receive")])),
    row("node_network_transmit_drop_total", Own,
        named("system.network.packet.dropped", "{packet}", Counter, INTERFACE, &[("network.io.direction", "transmit")]),
        named("system.network.dropped", "{packets}", Counter, DEVICE, &[("direction", "transmit")])),
    row("node_network_receive_errs_total", Own,
        named("system.network.errors", "{error}", Counter, INTERFACE, &[("network.io.direction", "receive")]),
        named("system.network.errors", "{errors}", Counter, DEVICE, &[("direction", "receive")])),
    row("node_network_transmit_errs_total", Own,
        named("system.network.errors", "{error}", Counter, INTERFACE, &[("network.io.direction", "transmit")]),
        named("system.network.errors", "{errors}", Counter, DEVICE, &[("direction", "transmit")])),
    row("node_nf_conntrack_entries", Own, None,
        named("system.network.conntrack.count", "{entries}", UpDown, NONE, &[])),
    row("node_nf_conntrack_entries_limit", Own, None,
        named("system.network.conntrack.max", "{entries}", UpDown, NONE, &[])),
    row("node_forks_total", Own,
        named("system.process.created", "{process}", Counter, NONE, &[]),
        named("system.processes.created", "{processes}", Counter, NONE, &[])),
    row("node_procs_running", Own, None,
        named("system.processes.count", "{processes}", UpDown, NONE, &[("status", "running")])),
    row("node_procs_blocked", Own, None,
        named("system.processes.count", "{processes}", UpDown, NONE, &[("status", "blocked")])),
];
