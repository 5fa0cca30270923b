use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Time;
use crate::config::Compression;
use crate::node::snapshot::{Kind, Spec, Unit};
use crate::samples::payload::{Codec, Packer};

const BOOT_S: f64 = 1_000.0;
const TAKEN_S: u64 = 5_000;

fn shape(naming: OtelNaming, records_max: u32) -> Otlp {
    let limits = Limits {
        payload_records_max: records_max,
        ..Limits::default()
    };
    Otlp::new(naming, "n1", Some("blue"), &Attributes::default(), &limits)
}

fn snapshot(taken_s: u64) -> Snapshot {
    let taken = UNIX_EPOCH + Duration::from_secs(taken_s);
    Snapshot::new(taken, Arc::new(|_| true), 10_000)
}

fn shaped(shape: &mut Otlp, snapshot: &Snapshot) -> (Vec<Plain>, Unshaped) {
    let mut plains = Vec::new();
    let unshaped = shape.snapshot(snapshot, &mut |plain| plains.push(plain));
    (plains, unshaped)
}

/// Points of payloads as text (`name{attributes} unit kind`), each with its value and its times.
fn points(plains: &[Plain]) -> BTreeMap<String, (f64, u64, u64)> {
    let mut all = BTreeMap::new();
    for plain in plains {
        let mut request = Request::decode(plain.bytes.as_slice()).unwrap();
        let resource = &mut request.resource_metrics[0];
        let names: Vec<_> = resource.scope_metrics[0]
            .metrics
            .iter()
            .map(|it| it.name.clone())
            .collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "a metric is there twice");
        let mut count = 0;
        for metric in &mut resource.scope_metrics[0].metrics {
            let kind = match metric.data.as_ref().unwrap() {
                Data::Gauge(_) => "gauge",
                Data::Sum(sum) => {
                    assert_eq!(sum.aggregation_temporality, 2);
                    if sum.is_monotonic {
                        "counter"
                    } else {
                        "updown"
                    }
                }
            };
            let (name, unit) = (metric.name.clone(), metric.unit.clone());
            for point in metric.points_mut().unwrap() {
                let attributes = point.attributes.iter().map(|pair| {
                    let value = pair.value.clone().and_then(|any| any.value).unwrap();
                    match value {
                        Any::Text(text) => format!("{}={text}", pair.key),
                        Any::Int(number) => format!("{}:{number}", pair.key),
                    }
                });
                let attributes: Vec<_> = attributes.collect();
                let (value, form) = match point.value.unwrap() {
                    Number::Double(value) => (value, "double"),
                    Number::Int(value) => (value as f64, "int"),
                };
                let key = format!("{name}{{{}}} {unit} {kind} {form}", attributes.join(","));
                let times = (value, point.start_time_unix_nano, point.time_unix_nano);
                assert_eq!(all.insert(key, times), None, "a point is there twice");
                count += 1;
            }
        }
        assert_eq!(count, plain.items.ends.len());
    }
    all
}

/// Name, labels, value.
type Series<'a> = (&'static str, &'a [(&'a str, &'a str)], f64);

/// What is sent under a name that the table has, of these series.
#[track_caller]
fn row(series: &[Series<'_>], semconv: &[&str], hostmetrics: &[&str]) {
    for (naming, expected) in [
        (OtelNaming::Semconv, semconv),
        (OtelNaming::Hostmetrics, hostmetrics),
    ] {
        let mut snapshot = snapshot(TAKEN_S);
        for (name, labels, value) in series {
            let kind = if name.ends_with("_total") {
                Kind::Counter
            } else {
                Kind::Gauge
            };
            let spec = Spec {
                name: (*name).into(),
                help: "Help.".into(),
                kind,
                unit: Unit::One,
            };
            snapshot.add(&spec, labels, *value);
        }
        let (plains, unshaped) = shaped(&mut shape(naming, 1_000), &snapshot);
        assert_eq!(unshaped, Unshaped::default());
        let sent = points(&plains);
        let sent = sent
            .iter()
            .map(|(key, (value, ..))| format!("{key} {value}"));
        let sent: Vec<String> = sent.filter(|text| text.starts_with("system.")).collect();
        let mut expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        expected.sort();
        assert_eq!(sent, expected, "{naming:?}");
    }
}

#[test]
fn uptime() {
    let uptime = ["system.uptime{} s gauge double 4000"];
    row(&[("node_boot_time_seconds", &[], BOOT_S)], &uptime, &uptime);
}

#[test]
fn cpu_time() {
    row(
        &[
            (
                "node_cpu_seconds_total",
                &[("cpu", "3"), ("mode", "iowait")],
                1.5,
            ),
            (
                "node_cpu_seconds_total",
                &[("cpu", "3"), ("mode", "irq")],
                2.5,
            ),
            (
                "node_cpu_seconds_total",
                &[("cpu", "3"), ("mode", "softirq")],
                3.5,
            ),
            (
                "node_cpu_seconds_total",
                &[("cpu", "3"), ("mode", "user")],
                4.5,
            ),
        ],
        &[
            "system.cpu.time{cpu.logical_number:3,cpu.mode=iowait} s counter double 1.5",
            "system.cpu.time{cpu.logical_number:3,cpu.mode=interrupt} s counter double 2.5",
            "system.cpu.time{cpu.logical_number:3,cpu.mode=softirq} s counter double 3.5",
            "system.cpu.time{cpu.logical_number:3,cpu.mode=user} s counter double 4.5",
        ],
        &[
            "system.cpu.time{cpu=cpu3,state=wait} s counter double 1.5",
            "system.cpu.time{cpu=cpu3,state=interrupt} s counter double 2.5",
            "system.cpu.time{cpu=cpu3,state=softirq} s counter double 3.5",
            "system.cpu.time{cpu=cpu3,state=user} s counter double 4.5",
        ],
    );
}

#[test]
fn load() {
    row(
        &[
            ("node_load1", &[], 0.5),
            ("node_load5", &[], 1.5),
            ("node_load15", &[], 2.5),
        ],
        &[],
        &[
            "system.cpu.load_average.1m{} {thread} gauge double 0.5",
            "system.cpu.load_average.5m{} {thread} gauge double 1.5",
            "system.cpu.load_average.15m{} {thread} gauge double 2.5",
        ],
    );
}

#[test]
fn memory() {
    row(
        &[
            ("node_memory_MemTotal_bytes", &[], 1000.0),
            ("node_memory_MemAvailable_bytes", &[], 700.0),
            ("node_memory_MemFree_bytes", &[], 300.0),
            ("node_memory_Buffers_bytes", &[], 50.0),
            ("node_memory_Cached_bytes", &[], 250.0),
            ("node_memory_Shmem_bytes", &[], 9.0),
            ("node_memory_SReclaimable_bytes", &[], 20.0),
            ("node_memory_SUnreclaim_bytes", &[], 10.0),
            ("node_memory_SwapTotal_bytes", &[], 400.0),
            ("node_memory_SwapFree_bytes", &[], 100.0),
        ],
        &[
            "system.memory.limit{} By updown int 1000",
            "system.memory.usage{system.memory.state=used} By updown int 300",
            "system.memory.usage{system.memory.state=free} By updown int 300",
            "system.memory.usage{system.memory.state=buffers} By updown int 50",
            "system.memory.usage{system.memory.state=cached} By updown int 250",
            "system.memory.shared{} By updown int 9",
            "system.memory.linux.available{} By updown int 700",
            "system.memory.linux.slab.usage{system.memory.linux.slab.state=reclaimable} By updown int 20",
            "system.memory.linux.slab.usage{system.memory.linux.slab.state=unreclaimable} By updown int 10",
            "system.paging.usage{system.paging.state=used} By updown int 300",
            "system.paging.usage{system.paging.state=free} By updown int 100",
        ],
        &[
            "system.memory.limit{} By updown int 1000",
            "system.memory.usage{state=used} By updown int 300",
            "system.memory.usage{state=free} By updown int 300",
            "system.memory.usage{state=buffered} By updown int 50",
            "system.memory.usage{state=cached} By updown int 250",
            "system.linux.memory.available{} By updown int 700",
            "system.memory.usage{state=slab_reclaimable} By updown int 20",
            "system.memory.usage{state=slab_unreclaimable} By updown int 10",
            "system.paging.usage{state=used} By updown int 300",
            "system.paging.usage{state=free} By updown int 100",
        ],
    );
}

#[test]
fn disks() {
    let of = |name: &'static str, value: f64| (name, &[("device", "sda")][..], value);
    row(
        &[
            of("node_disk_read_bytes_total", 1.0),
            of("node_disk_written_bytes_total", 2.0),
            of("node_disk_reads_completed_total", 3.0),
            of("node_disk_writes_completed_total", 4.0),
            of("node_disk_reads_merged_total", 5.0),
            of("node_disk_writes_merged_total", 6.0),
            of("node_disk_read_time_seconds_total", 7.5),
            of("node_disk_write_time_seconds_total", 8.5),
            of("node_disk_io_time_seconds_total", 9.5),
            of("node_disk_io_time_weighted_seconds_total", 10.5),
            of("node_disk_io_now", 11.0),
        ],
        &[
            "system.disk.io{system.device=sda,disk.io.direction=read} By counter int 1",
            "system.disk.io{system.device=sda,disk.io.direction=write} By counter int 2",
            "system.disk.operations{system.device=sda,disk.io.direction=read} {operation} counter int 3",
            "system.disk.operations{system.device=sda,disk.io.direction=write} {operation} counter int 4",
            "system.disk.merged{system.device=sda,disk.io.direction=read} {operation} counter int 5",
            "system.disk.merged{system.device=sda,disk.io.direction=write} {operation} counter int 6",
            "system.disk.operation_time{system.device=sda,disk.io.direction=read} s counter double 7.5",
            "system.disk.operation_time{system.device=sda,disk.io.direction=write} s counter double 8.5",
            "system.disk.io_time{system.device=sda} s counter double 9.5",
        ],
        &[
            "system.disk.io{device=sda,direction=read} By counter int 1",
            "system.disk.io{device=sda,direction=write} By counter int 2",
            "system.disk.operations{device=sda,direction=read} {operations} counter int 3",
            "system.disk.operations{device=sda,direction=write} {operations} counter int 4",
            "system.disk.merged{device=sda,direction=read} {operations} counter int 5",
            "system.disk.merged{device=sda,direction=write} {operations} counter int 6",
            "system.disk.operation_time{device=sda,direction=read} s counter double 7.5",
            "system.disk.operation_time{device=sda,direction=write} s counter double 8.5",
            "system.disk.io_time{device=sda} s counter double 9.5",
            "system.disk.weighted_io_time{device=sda} s counter double 10.5",
            "system.disk.pending_operations{device=sda} {operations} updown int 11",
        ],
    );
}

#[test]
fn filesystems() {
    let labels: &[(&str, &str)] = &[
        ("device", "/dev/sda1"),
        ("mountpoint", "/m"),
        ("fstype", "ext4"),
    ];
    for (read_only, mode) in [(0.0, "rw"), (1.0, "ro")] {
        let semconv = |rest: &str, value: u32| {
            let of = format!(
                "system.device=/dev/sda1,system.filesystem.mode={mode},system.filesystem.mountpoint=/m,system.filesystem.type=ext4"
            );
            match rest {
                "" => format!("system.filesystem.limit{{{of}}} By updown int {value}"),
                state => format!(
                    "system.filesystem.usage{{{of},system.filesystem.state={state}}} By updown int {value}"
                ),
            }
        };
        let host = |what: &str, state: &str, unit: &str, value: u32| {
            format!(
                "system.filesystem.{what}{{device=/dev/sda1,mode={mode},mountpoint=/m,type=ext4,state={state}}} {unit} updown int {value}"
            )
        };
        let semconv = [
            semconv("", 100),
            semconv("used", 60),
            semconv("free", 30),
            semconv("reserved", 10),
        ];
        let hostmetrics = [
            host("usage", "used", "By", 60),
            host("usage", "free", "By", 30),
            host("usage", "reserved", "By", 10),
            host("inodes.usage", "used", "{inodes}", 3),
            host("inodes.usage", "free", "{inodes}", 5),
        ];
        row(
            &[
                ("node_filesystem_readonly", labels, read_only),
                ("node_filesystem_size_bytes", labels, 100.0),
                ("node_filesystem_free_bytes", labels, 40.0),
                ("node_filesystem_avail_bytes", labels, 30.0),
                ("node_filesystem_files", labels, 8.0),
                ("node_filesystem_files_free", labels, 5.0),
            ],
            &semconv.each_ref().map(String::as_str),
            &hostmetrics.each_ref().map(String::as_str),
        );
    }
}

#[test]
fn networks() {
    let of = |name: &'static str, value: f64| (name, &[("device", "eth0")][..], value);
    row(
        &[
            of("node_network_receive_bytes_total", 1.0),
            of("node_network_transmit_bytes_total", 2.0),
            of("node_network_receive_packets_total", 3.0),
            of("node_network_transmit_packets_total", 4.0),
            of("node_network_receive_drop_total", 5.0),
            of("node_network_transmit_drop_total", 6.0),
            of("node_network_receive_errs_total", 7.0),
            of("node_network_transmit_errs_total", 8.0),
            ("node_nf_conntrack_entries", &[], 9.0),
            ("node_nf_conntrack_entries_limit", &[], 10.0),
        ],
        &[
            "system.network.io{network.interface.name=eth0,network.io.direction=receive} By counter int 1",
            "system.network.io{network.interface.name=eth0,network.io.direction=transmit} By counter int 2",
            "system.network.packet.count{system.device=eth0,network.io.direction=receive} {packet} counter int 3",
            "system.network.packet.count{system.device=eth0,network.io.direction=transmit} {packet} counter int 4",
            "system.network.packet.dropped{network.interface.name=eth0,network.io.direction=receive} {packet} counter int 5",
            "system.network.packet.dropped{network.interface.name=eth0,network.io.direction=transmit} {packet} counter int 6",
            "system.network.errors{network.interface.name=eth0,network.io.direction=receive} {error} counter int 7",
            "system.network.errors{network.interface.name=eth0,network.io.direction=transmit} {error} counter int 8",
        ],
        &[
            "system.network.io{device=eth0,direction=receive} By counter int 1",
            "system.network.io{device=eth0,direction=transmit} By counter int 2",
            "system.network.packets{device=eth0,direction=receive} {packets} counter int 3",
            "system.network.packets{device=eth0,direction=transmit} {packets} counter int 4",
            "system.network.dropped{device=eth0,direction=receive} {packets} counter int 5",
            "system.network.dropped{device=eth0,direction=transmit} {packets} counter int 6",
            "system.network.errors{device=eth0,direction=receive} {errors} counter int 7",
            "system.network.errors{device=eth0,direction=transmit} {errors} counter int 8",
            "system.network.conntrack.count{} {entries} updown int 9",
            "system.network.conntrack.max{} {entries} updown int 10",
        ],
    );
}

#[test]
fn processes() {
    row(
        &[
            ("node_forks_total", &[], 1.0),
            ("node_procs_running", &[], 2.0),
            ("node_procs_blocked", &[], 3.0),
        ],
        &["system.process.created{} {process} counter int 1"],
        &[
            "system.processes.created{} {processes} counter int 1",
            "system.processes.count{status=running} {processes} updown int 2",
            "system.processes.count{status=blocked} {processes} updown int 3",
        ],
    );
}

const REQUESTS: Spec = Spec::counter("requests_total", Unit::Count, "Requests.");
const HEAT: Spec = Spec::gauge("heat_bytes", Unit::Bytes, "Heat.");
const BOOTED: Spec = Spec::gauge(BOOT, Unit::Seconds, "Start.");

#[test]
fn a_family_without_a_row_goes_under_its_own_name() {
    for naming in [
        OtelNaming::Prometheus,
        OtelNaming::Semconv,
        OtelNaming::Hostmetrics,
    ] {
        let mut snapshot = snapshot(TAKEN_S);
        snapshot.add(&REQUESTS, &[("a", "1")], 2.0);
        snapshot.add(&HEAT, &[], f64::INFINITY);
        let (plains, unshaped) = shaped(&mut shape(naming, 10), &snapshot);
        assert_eq!(unshaped, Unshaped::default());
        let at = TAKEN_S * 1_000_000_000;
        let expected = [
            (
                "heat_bytes{} By gauge double".to_owned(),
                (f64::INFINITY, 0, at),
            ),
            (
                "requests_total{a=1} 1 counter double".to_owned(),
                (2.0, 0, at),
            ),
        ];
        assert_eq!(points(&plains), BTreeMap::from(expected));
        let request = Request::decode(plains[0].bytes.as_slice()).unwrap();
        let resource = request.resource_metrics[0].resource.clone().unwrap();
        let expected = [
            KeyValue::text("service.name", "longshore"),
            KeyValue::text("k8s.cluster.name", "blue"),
            KeyValue::text("k8s.node.name", "n1"),
            KeyValue::text("host.name", "n1"),
        ];
        assert_eq!(resource.attributes, expected);
    }
}

#[test]
fn a_value_that_lacks_its_other_half_is_unfit() {
    let spec = Spec::gauge("node_memory_SwapTotal_bytes", Unit::Bytes, "Swap.");
    let mut snapshot = snapshot(TAKEN_S);
    snapshot.add(&spec, &[], 1.0);
    let (plains, unshaped) = shaped(&mut shape(OtelNaming::Semconv, 10), &snapshot);
    assert_eq!((plains.len(), unshaped.unfit), (0, 1));
}

/// Since when a counter counts, in seconds, after each of some snapshots (moment, boot, value).
fn starts(snapshots: &[(u64, f64, f64)]) -> Vec<u64> {
    let mut shape = shape(OtelNaming::Prometheus, 10);
    let starts = snapshots.iter().map(|(taken_s, boot_s, value)| {
        let mut snapshot = snapshot(*taken_s);
        snapshot.add(&BOOTED, &[], *boot_s);
        snapshot.add(&REQUESTS, &[], *value);
        let (plains, _) = shaped(&mut shape, &snapshot);
        points(&plains)["requests_total{} 1 counter double"].1 / 1_000_000_000
    });
    starts.collect()
}

#[test]
fn a_start_moves_only_when_the_counter_falls() {
    // The kernel's idea of the moment of its start moves with the clock.
    let snapshots = [
        (100, 10.0, 5.0),
        (110, 11.0, 5.0),
        (120, 9.0, 7.0),
        (130, 10.0, 3.0),
        (140, 10.0, 4.0),
    ];
    assert_eq!(starts(&snapshots), [10, 10, 10, 120, 120]);
}

#[test]
fn a_source_that_knows_its_start_is_believed() {
    let mut snapshot = snapshot(TAKEN_S);
    snapshot.add(&BOOTED, &[], BOOT_S);
    let since = UNIX_EPOCH + Duration::from_secs(4_321);
    snapshot.add_since(&REQUESTS, &[], 1.0, Some(since));
    let (plains, _) = shaped(&mut shape(OtelNaming::Prometheus, 10), &snapshot);
    let (_, start, _) = points(&plains)["requests_total{} 1 counter double"];
    assert_eq!(start, 4_321_000_000_000);
}

proptest! {
    /// However payloads are filled, and whatever is cut out of them, each point is there once, and no payload has more
    /// than it may.
    #[test]
    fn points_are_cut_out_one_by_one(
        counts in prop::collection::vec(1_usize..9, 1..9),
        records_max in 1_u32..20,
        picks in prop::collection::vec(any::<bool>(), 80),
    ) {
        let mut snapshot = snapshot(TAKEN_S);
        for (family, count) in counts.iter().enumerate() {
            let spec = Spec {
                name: format!("family_{family}").into(),
                ..if family % 2 == 0 { REQUESTS } else { HEAT }
            };
            for number in 0..*count {
                snapshot.add(&spec, &[("n", &number.to_string())], number as f64);
            }
        }
        let (plains, unshaped) = shaped(&mut shape(OtelNaming::Prometheus, records_max), &snapshot);
        prop_assert_eq!(unshaped, Unshaped::default());
        let all = points(&plains);
        prop_assert_eq!(all.len(), counts.iter().sum::<usize>());
        let mut packer = Packer::new(Codec::Http(Compression::Gzip(1)));
        let mut kept = BTreeMap::new();
        for plain in plains {
            prop_assert!(plain.items.ends.len() <= records_max as usize);
            let numbers = 0..plain.items.ends.len();
            let (keep, leave): (Vec<usize>, Vec<usize>) = numbers.partition(|number| picks[*number]);
            let whole = packer.pack(plain.clone(), 0, Time::ZERO).unwrap();
            for part in [keep, leave] {
                let cut = packer.cut(&whole, part.iter().copied()).unwrap();
                prop_assert_eq!(cut.samples(), part.len() as u64);
                let cut = plain.cut(part);
                kept.extend(points(&[cut]));
            }
        }
        prop_assert_eq!(kept, all);
    }
}
