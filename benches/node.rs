//! What one sample costs, in CPU time of the whole process and in allocations: of the node on this machine's own files
//! (or on those below HOST_PROC, HOST_SYS and HOST_ROOT), and of 100 containers on files made up for it. How to run
//! and read it: README.md in this folder.
#![allow(clippy::print_stdout)] // the report is what this program is for

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use longshore::admin::process::Process;
use longshore::clock::SystemClock;
use longshore::config::Config;
use longshore::config::metrics::Profile;
use longshore::config::parse::{DEFAULT_YAML, host_name, parse, process_environment};
use longshore::node::Collect;
use longshore::node::container::names::LogTree;
use longshore::node::container::{ContainerSettings, Containers};
use longshore::node::exposition::render;
use longshore::node::gpu::Gpus;
use longshore::node::host::{Host, HostError};
use longshore::node::ip::endpoint::Fetch;
use longshore::node::ip::{IpSettings, IpUsage, SharedFacts};
use longshore::node::sampler::Sampler;
use longshore::node::snapshot::Snapshot;
use rustix::time::{ClockId, clock_gettime};

use self::tree::{Tree, Version};

#[path = "node/tree.rs"]
mod tree;

/// Counts nothing but while a profiler is there.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Samples before anything is measured, and measured.
const WARM: u32 = 100;
const SAMPLES: u32 = 1_000;
/// Samples whose allocations are counted; slow.
const COUNTED: u32 = 20;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Collectors = Vec<Box<dyn Collect>>;

/// A collector that reads below roots of its own.
struct At(Host, Box<dyn Collect>);

impl Collect for At {
    fn name(&self) -> &'static str {
        self.1.name()
    }

    fn collect(&mut self, _: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        self.1.collect(&self.0, out)
    }
}

/// No address manager is asked.
struct Nobody;

impl Fetch for Nobody {
    fn get(&mut self, _: &str) -> Result<String, String> {
        Err("nobody".to_owned())
    }
}

fn main() -> Outcome<()> {
    let parsed = parse(DEFAULT_YAML, "default", &process_environment, &host_name());
    let mut config = parsed.map_err(|mistakes| format!("{mistakes:?}"))?;
    config.metrics.interval_ms = 0;
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    println!(
        "containers: 100 in 50 pods, files below {}",
        parent.display()
    );
    let mut trees = vec![
        ("node", None),
        ("v2", Some(Tree::new(&parent, Version::Unified)?)),
        ("v1", Some(Tree::new(&parent, Version::Separate)?)),
    ];
    if let Some(only) = std::env::args().skip(1).find(|it| !it.starts_with('-')) {
        trees.retain(|(name, _)| *name == only);
    }
    println!(
        "\nof            profile   series  ms CPU/sample  allocations/sample  KiB grown in {SAMPLES} samples"
    );
    for (profile_name, profile) in [
        ("minimal", Profile::Minimal),
        ("standard", Profile::Standard),
    ] {
        config.metrics.profile = profile;
        for (name, tree) in &trees {
            let of = if tree.is_some() {
                format!("node + {name}")
            } else {
                (*name).to_owned()
            };
            let whole = whole(&config, tree.as_ref())?;
            println!("{of:13} {profile_name:8} {whole}");
        }
    }
    for (name, tree) in &trees {
        println!("\n{name:4} collector  series  ms CPU/sample  allocations/sample");
        let all = match tree {
            Some(tree) => of_containers(tree),
            None => longshore::node::collectors(&config),
        };
        each(&config, all)?;
    }
    println!("\n          page of bytes    ms CPU");
    for (name, tree) in &trees {
        let (bytes, ms) = page(&config, tree.as_ref())?;
        println!("node + {name:4} {bytes:>11} {ms:>9.3}");
    }
    Ok(())
}

/// All collectors: the node's on this machine, the containers' on a tree.
fn collectors(config: &Config, tree: Option<&Tree>) -> Collectors {
    let mut all = tree.map(of_containers).unwrap_or_default();
    all.extend(longshore::node::collectors(config));
    all
}

fn of_containers(tree: &Tree) -> Collectors {
    let names = LogTree::new(&tree.path("log/containers"), &tree.path("log/pods"));
    let containers = Containers::new(ContainerSettings::default(), Box::new(names));
    let addresses = IpUsage::new(
        IpSettings::default(),
        Box::new(Nobody),
        containers.live(),
        SharedFacts::default(),
    );
    let all: Collectors = vec![Box::new(containers), Box::new(addresses), Box::new(Gpus)];
    let at = |one| Box::new(At(tree.host(), one)) as Box<dyn Collect>;
    all.into_iter().map(at).collect()
}

/// A row of the first table.
fn whole(config: &Config, tree: Option<&Tree>) -> Outcome<String> {
    let all = collectors(config, tree);
    let mut sampler = Sampler::new(&config.metrics, all, Arc::new(SystemClock::new()));
    for _ in 0..WARM {
        sampler.step();
    }
    let before = resident()?;
    let ms = cpu_ms(SAMPLES, || {
        black_box(sampler.step());
    });
    let grown = resident()?.saturating_sub(before) / 1_024;
    let allocations = allocations(|| {
        sampler.step();
    });
    let series = sampler.published().series();
    Ok(format!(
        "{series:>7} {ms:>14.3} {allocations:>19.1} {grown:>10}"
    ))
}

/// A row for each collector.
fn each(config: &Config, mut all: Collectors) -> Outcome<()> {
    let metrics = &config.metrics;
    let host = host(config);
    let epoch = SystemTime::UNIX_EPOCH;
    let mut snapshot = Snapshot::new(epoch, Arc::new(|_| true), metrics.series_max);
    for collector in &mut all {
        let mut sample = || {
            snapshot.reset(SystemTime::now());
            // What cannot be read here costs what it costs.
            let _result = black_box(collector.collect(&host, &mut snapshot));
        };
        (0..WARM).for_each(|_| sample());
        let ms = cpu_ms(SAMPLES, &mut sample);
        let allocations = allocations(sample);
        println!(
            "{:15} {:>7} {ms:>14.3} {allocations:>19.1}",
            collector.name(),
            snapshot.series()
        );
    }
    Ok(())
}

/// Bytes of a page of everything, and what it takes to write it.
fn page(config: &Config, tree: Option<&Tree>) -> Outcome<(usize, f64)> {
    let metrics = &config.metrics;
    let epoch = SystemTime::UNIX_EPOCH;
    let mut snapshot = Snapshot::new(epoch, Arc::new(|_| true), metrics.series_max);
    let host = host(config);
    let mut all = collectors(config, tree);
    // Not all names are known at once.
    for _ in 0..2 {
        snapshot.reset(epoch);
        for collector in &mut all {
            let _result = collector.collect(&host, &mut snapshot);
        }
    }
    let mut page = String::new();
    let ms = cpu_ms(SAMPLES / 10, || {
        page.clear();
        render(black_box(&snapshot), |_| true, &mut page);
    });
    Ok((page.len(), ms))
}

fn host(config: &Config) -> Host {
    Host {
        proc: config.metrics.proc.clone(),
        sys: config.metrics.sys.clone(),
        root: config.metrics.root.clone(),
    }
}

/// Milliseconds of CPU time, user and system, of all threads, for each of so many rounds.
fn cpu_ms(rounds: u32, mut round: impl FnMut()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    };
    let before = now();
    for _ in 0..rounds {
        round();
    }
    (now() - before).as_secs_f64() * 1_000.0 / f64::from(rounds)
}

/// Allocations of each round; reallocations are some.
fn allocations(mut round: impl FnMut()) -> f64 {
    let profiler = dhat::Profiler::builder().testing().build();
    (0..COUNTED).for_each(|_| round());
    let stats = dhat::HeapStats::get();
    drop(profiler);
    stats.total_blocks as f64 / f64::from(COUNTED)
}

/// Resident bytes of this process.
fn resident() -> Outcome<u64> {
    let process = Process::read(Path::new("/proc"));
    let resident = process.resident_bytes;
    resident.ok_or_else(|| "/proc tells nothing of this process".into())
}
