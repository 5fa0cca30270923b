// The helpers of tests are tests too: a failed expectation in them is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "node/tree.rs"]
mod tree;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use longshore::clock::SystemClock;
use longshore::config::Config;
use longshore::config::metrics::{MINIMAL, Profile};
use longshore::config::parse::{DEFAULT_YAML, parse};
use longshore::node::exposition::render;
use longshore::node::sampler::Sampler;
use longshore::node::snapshot::Snapshot;
use proptest::prelude::*;

use crate::admin::page::Page;
use tree::Tree;

/// The default configuration on another root, with another profile.
fn config(root: &Path, profile: Profile) -> Config {
    let mut config = parse(DEFAULT_YAML, "default", &|_| None, "node-1").unwrap();
    config.metrics.profile = profile;
    if root != Path::new("/") {
        config.metrics.proc = root.join("proc");
        config.metrics.sys = root.join("sys");
        config.metrics.root = root.join("root");
    }
    config
}

fn sampler(config: &Config) -> Sampler {
    let collectors = longshore::node::collectors(config);
    Sampler::new(&config.metrics, collectors, Arc::new(SystemClock::new()))
}

fn sampled(config: &Config) -> Arc<Snapshot> {
    let mut sampler = sampler(config);
    sampler.step();
    sampler.published().latest().unwrap()
}

/// The families of a sample, read by a strict reader of the page.
fn page(snapshot: &Snapshot) -> Page {
    let mut text = String::new();
    render(snapshot, |_| true, &mut text);
    Page::parse(&text)
}

fn failed(page: &Page) -> BTreeSet<String> {
    let zero = |sample: &&crate::admin::page::Sample| sample.value == 0.0;
    let samples = &page.families["node_scrape_collector_success"].samples;
    samples
        .iter()
        .filter(zero)
        .map(|sample| sample.labels["collector"].clone())
        .collect()
}

/// The families in METRICS.md's table of the node: names, or beginnings and endings with `*` between or behind them.
fn documented() -> Vec<String> {
    let text = include_str!("../../METRICS.md");
    let section = text.split("\n## The node\n").nth(1).unwrap();
    let rows = section
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| "));
    let names = rows.flat_map(|row| {
        let cell = row.split('|').nth(2).unwrap();
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    names.collect()
}

fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => pattern == name,
    }
}

#[test]
fn metrics_md_lists_every_family_of_the_node_and_no_other() {
    let tree = Tree::whole();
    let mut page = page(&sampled(&config(tree.path(), Profile::Full)));
    assert_eq!(failed(&page), BTreeSet::new());
    tree.write("proc/loadavg", b"junk");
    let with_an_error = sampled(&config(tree.path(), Profile::Full));
    page.families.extend(self::page(&with_an_error).families);
    let documented = documented();
    for name in page.families.keys() {
        let count = documented
            .iter()
            .filter(|pattern| is_meant(pattern, name))
            .count();
        assert_eq!(count, 1, "METRICS.md has to list {name} once");
    }
    for pattern in documented {
        let mut names = page.families.keys();
        assert!(
            names.any(|name| is_meant(&pattern, name)),
            "METRICS.md lists {pattern}"
        );
    }
}

#[test]
fn the_minimal_profile_is_its_27_names() {
    let tree = Tree::whole();
    let page = page(&sampled(&config(tree.path(), Profile::Minimal)));
    let names = page.families.keys().map(String::as_str);
    let of_node: Vec<&str> = names
        .filter(|name| !name.starts_with("node_scrape_"))
        .collect();
    assert_eq!(of_node, MINIMAL);
}

#[test]
fn cpus_that_are_offline_leave_gaps_and_not_wrong_numbers() {
    let tree = Tree::whole();
    let page = page(&sampled(&config(tree.path(), Profile::Standard)));
    for cpu in tree::cpus() {
        let labels = [("cpu", &*cpu.to_string()), ("mode", "user")];
        assert_eq!(
            page.sum("node_cpu_seconds_total", &labels),
            f64::from(cpu) / 100.0
        );
    }
    let series = page.families["node_cpu_seconds_total"].samples.len();
    assert_eq!(series, 8 * tree::cpus().len());
}

/// With `hidepid`, or a procfs that is not the host's, what is the first process' is missing, and is said to be.
#[test]
fn a_hidden_first_process_is_a_series_and_the_rest_is_there() {
    let tree = Tree::whole();
    std::fs::remove_dir_all(tree.path().join("proc/1")).unwrap();
    let page = page(&sampled(&config(tree.path(), Profile::Standard)));
    let expected = [
        "addresses",
        "arp",
        "conntrack",
        "filesystem",
        "netclass",
        "netdev",
        "netstat",
        "sockstat",
        "softnet",
    ];
    assert_eq!(failed(&page), BTreeSet::from(expected.map(str::to_owned)));
    let reasons = page.label_values("node_scrape_collector_source_error", &[], "reason");
    assert_eq!(reasons, BTreeSet::from(["hidden".to_owned()]));
    assert!(page.sum("node_memory_MemTotal_bytes", &[]) > 0.0);
    assert!(page.sum("node_nf_conntrack_entries_limit", &[]) > 0.0);
}

#[test]
fn a_host_without_any_file_is_a_page_all_the_same() {
    let tree = Tree::empty();
    let page = page(&sampled(&config(tree.path(), Profile::Full)));
    assert!(page.families.contains_key("node_time_seconds"));
    // Lacking is no failure of its own; the first process has to be there.
    assert!(failed(&page).contains("netdev") && !failed(&page).contains("pressure"));
}

#[test]
fn what_is_kept_and_dropped_by_name() {
    let tree = Tree::whole();
    let mut config = config(tree.path(), Profile::Minimal);
    let pattern = |text| longshore::config::pattern::Pattern::whole(text).unwrap();
    config.metrics.keep = vec![pattern("node_(arp|load).*")];
    config.metrics.drop = vec![pattern("node_load1")];
    let page = page(&sampled(&config));
    let names: Vec<&str> = page.families.keys().map(String::as_str).collect();
    assert_eq!(names, ["node_arp_entries", "node_load15", "node_load5"]);
}

/// The machine that runs the test, whatever it is.
#[test]
fn this_node_can_be_measured() {
    let page = page(&sampled(&config(Path::new("/"), Profile::Standard)));
    for name in [
        "node_cpu_seconds_total",
        "node_load1",
        "node_memory_MemTotal_bytes",
        "node_uname_info",
    ] {
        assert!(
            page.families.contains_key(name),
            "{name}: {:?}",
            failed(&page)
        );
    }
    assert_eq!(
        page.families["node_exporter_build_info"].label_names(),
        ["version"]
    );
}

#[test]
fn samples_of_the_same_node_hold_the_same_series() {
    let tree = Tree::whole();
    let mut config = config(tree.path(), Profile::Full);
    config.metrics.interval_ms = 0;
    let mut sampler = sampler(&config);
    let mut counts = BTreeSet::new();
    for _ in 0..50 {
        sampler.step();
        counts.insert(sampler.published().series());
    }
    assert_eq!((counts.len(), sampler.published().samples()), (1, 50));
    assert_eq!(sampler.published().refused(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Invariant: whatever one file of a node holds, the page is well formed, and other collectors are untouched.
    #[test]
    fn garbage_in_any_file_is_a_well_formed_page(
        file in any::<prop::sample::Index>(),
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            "[a-z0-9A-Z:_()/. \\n\\t-]{0,400}".prop_map(String::into_bytes),
        ],
    ) {
        let tree = Tree::whole();
        let files = tree::files();
        let (path, _) = &files[file.index(files.len())];
        tree.write(path, &bytes);
        let page = page(&sampled(&config(tree.path(), Profile::Full)));
        prop_assert!(page.families.contains_key("node_time_seconds"));
        // `1/net/dev` is also how the class of interfaces knows its names.
        prop_assert!(failed(&page).len() <= 2, "{path}: {:?}", failed(&page));
    }
}
