//! What one sample of the node costs, in CPU time of the whole process, on this machine's own files or on those below
//! HOST_PROC, HOST_SYS and HOST_ROOT. How to run and read it: README.md in this folder.
#![allow(clippy::print_stdout)] // the report is what this program is for

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use longshore::admin::process::Process;
use longshore::clock::SystemClock;
use longshore::config::metrics::Profile;
use longshore::config::parse::{DEFAULT_YAML, host_name, parse, process_environment};
use longshore::node::exposition::render;
use longshore::node::host::Host;
use longshore::node::sampler::Sampler;
use longshore::node::snapshot::Snapshot;

/// Samples before anything is measured, and measured.
const WARM: u32 = 100;
const SAMPLES: u32 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let parsed = parse(DEFAULT_YAML, "default", &process_environment, &host_name());
    let mut config = parsed.map_err(|mistakes| format!("{mistakes:?}"))?;
    config.metrics.interval_ms = 0;
    println!("profile      series   ms CPU/sample   KiB grown in {SAMPLES} samples");
    for (name, profile) in [
        ("minimal", Profile::Minimal),
        ("standard", Profile::Standard),
    ] {
        config.metrics.profile = profile;
        let collectors = longshore::node::collectors(&config);
        let mut sampler = Sampler::new(&config.metrics, collectors, Arc::new(SystemClock::new()));
        for _ in 0..WARM {
            sampler.step();
        }
        let (cpu, resident) = usage()?;
        for _ in 0..SAMPLES {
            black_box(sampler.step());
        }
        let (cpu_after, resident_after) = usage()?;
        let grown = resident_after.saturating_sub(resident) / 1_024;
        let ms = (cpu_after - cpu) * 1_000.0 / f64::from(SAMPLES);
        println!(
            "{name:10} {:>8} {ms:>15.3} {grown:>8}",
            sampler.published().series()
        );
    }

    println!("\ncollector    ms CPU/sample");
    let metrics = &config.metrics;
    let host = Host {
        proc: metrics.proc.clone(),
        sys: metrics.sys.clone(),
        root: metrics.root.clone(),
    };
    let mut snapshot = Snapshot::new(
        SystemTime::UNIX_EPOCH,
        Arc::new(|_| true),
        metrics.series_max,
    );
    for collector in &mut longshore::node::collectors(&config) {
        let (cpu, _) = usage()?;
        for _ in 0..SAMPLES {
            snapshot.reset(SystemTime::UNIX_EPOCH);
            // What cannot be read here costs what it costs.
            let _result = black_box(collector.collect(&host, &mut snapshot));
        }
        let ms = (usage()?.0 - cpu) * 1_000.0 / f64::from(SAMPLES);
        println!("{:12} {ms:>13.3}", collector.name());
    }

    for collector in &mut longshore::node::collectors(&config) {
        let _result = collector.collect(&host, &mut snapshot);
    }
    let mut page = String::new();
    let (cpu, _) = usage()?;
    for _ in 0..SAMPLES {
        page.clear();
        render(black_box(&snapshot), |_| true, &mut page);
    }
    let ms = (usage()?.0 - cpu) * 1_000.0 / f64::from(SAMPLES);
    println!("\npage of {} bytes: {ms:.3} ms CPU", page.len());
    Ok(())
}

/// CPU seconds and resident bytes of this process.
fn usage() -> Result<(f64, u64), Box<dyn Error>> {
    let process = Process::read(Path::new("/proc"));
    let both = process.cpu_seconds.zip(process.resident_bytes);
    both.ok_or_else(|| "/proc tells nothing of this process".into())
}
