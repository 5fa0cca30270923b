//! `/metrics`: the page, made afresh for each scrape from one look at the boards.
//!
//! Invariants: the accounts of a sink balance within a page; every value of a fixed reason label is there, zero
//! included; the number of series is bounded by the sinks, the reasons and
//! [`container_series_max`](super::Sources::container_series_max), and no series outlives what it describes,
//! because no state is kept from one page to the next. METRICS.md lists the families; a test holds the two
//! together.

pub mod families;

use std::cell::RefCell;
use std::collections::BTreeSet;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use self::families::{PER_CONTAINER, PER_LABEL, PER_NAMESPACE, PER_SINK};
use super::process::Process;
use super::summary::{self, Summary};
use super::text::{Kind, Page};
use super::{Sources, Stat};
use crate::node::exposition;
use crate::node::sampler::Published;

/// The page: what the agent says of itself, then the last sample of the node.
pub fn render(sources: &Sources) -> String {
    let sinks = summary::sinks(sources);
    let mut page = Page::default();
    page.merge(&facade(sources, &sinks));
    attempt_times(&mut page, &sinks);
    namespaces(&mut page, &sinks);
    containers(&mut page, &sinks, sources.container_series_max);
    Process::read(&sources.proc).render(&mut page);
    let mut text = page.finish();
    if let Some(snapshot) = sources.samples.as_ref().and_then(|it| it.latest()) {
        exposition::render(&snapshot, is_not_own, &mut text);
    }
    text
}

/// What the agent says of itself comes first on the page, and no family may be on it twice.
fn is_not_own(family: &str) -> bool {
    !family.starts_with("longshore_") && !family.starts_with("process_")
}

/// All that the `metrics` facade can carry, through a recorder that lives for this page only: so a page never
/// mixes two looks, and two scrapes do not meet.
fn facade(sources: &Sources, sinks: &[Summary]) -> String {
    let scrape = Scrape::new();
    for sink in sinks {
        let name = ("sink", sink.sink.as_str());
        for (family, help, value) in PER_SINK {
            scrape.set(family, help, &[name], value(sink));
        }
        for (family, help, label, values) in PER_LABEL {
            for (text, value) in values(sink) {
                scrape.set(family, help, &[name, (label, text)], value);
            }
        }
        ages(&scrape, sources, sink);
    }
    for extra in &sources.extra {
        scrape.stats(&(extra.read)(), &[("sink", extra.sink.as_str())]);
    }
    scrape.stats(&sources.catalog.stats(), &[]);
    if let Some(cluster) = &sources.cluster {
        scrape.stats(&cluster.stats(), &[]);
    }
    super::samples::render(&scrape, sources);
    agent(&scrape, sources);
    scrape.recorder.handle().render()
}

fn ages(scrape: &Scrape, sources: &Sources, sink: &Summary) {
    let name = ("sink", sink.sink.as_str());
    let accepted = sink.last_accepted().unwrap_or(sources.started);
    scrape.set_gauge(
        "longshore_sink_last_accepted_age_seconds",
        "Time since the sink last accepted a payload, or since the agent's start if it has not.",
        &[name],
        sources.clock.now().since(accepted).as_secs_f64(),
    );
    let oldest = sink.workers.iter().map(|worker| worker.stepped_at).min();
    scrape.set_gauge(
        "longshore_sink_step_age_seconds",
        "Time since the slowest worker of the sink last stepped.",
        &[name],
        sources.step_age(oldest.unwrap_or_default()).as_secs_f64(),
    );
}

fn agent(scrape: &Scrape, sources: &Sources) {
    scrape.set_gauge(
        "longshore_catalog_step_age_seconds",
        "Time since the catalog last stepped.",
        &[],
        sources.step_age(sources.catalog.stepped_at()).as_secs_f64(),
    );
    scrape.set(
        "longshore_ready",
        "1 once every log that existed at the start is known.",
        &[],
        u64::from(sources.catalog.first_scan_done()),
    );
    configured(scrape, sources);
    if let Some(node) = &sources.samples {
        samples(scrape, sources, node);
    }
    scrape.set(
        "longshore_own_log_suppressed_total",
        "Messages that the agent did not write to its own log because they repeated too often.",
        &[],
        sources.own_log.suppressed(),
    );
    scrape.set(
        "longshore_build_info",
        "Always 1; the label says what runs.",
        &[("version", sources.version)],
        1,
    );
    for bound in &sources.bounds {
        scrape.set(
            "longshore_bound",
            "A limit in force, by its name in the configuration; an empty sink means the agent.",
            &[("sink", &bound.sink), ("name", bound.name)],
            bound.value,
        );
    }
}

fn configured(scrape: &Scrape, sources: &Sources) {
    let configured = &sources.configured;
    scrape.set(
        "longshore_config_refused",
        "1 while the newest configuration is refused and the one before is in force; /status says why.",
        &[],
        u64::from(configured.refused().is_some()),
    );
    for (result, count) in [
        ("applied", configured.applied()),
        ("refused", configured.refusals()),
    ] {
        scrape.set(
            "longshore_config_reloads_total",
            "New configurations that were found while the agent ran.",
            &[("result", result)],
            count,
        );
    }
    scrape.set_gauge(
        "longshore_config_age_seconds",
        "Time since the configuration in force came into force.",
        &[],
        sources
            .clock
            .now()
            .since(configured.applied_at())
            .as_secs_f64(),
    );
}

fn samples(scrape: &Scrape, sources: &Sources, node: &Published) {
    for (name, help, value) in [
        (
            "longshore_node_samples_total",
            "Samples of the node that were taken.",
            node.samples(),
        ),
        (
            "longshore_node_series",
            "Series of the last sample of the node.",
            node.series(),
        ),
        (
            "longshore_node_series_refused_total",
            "Series of samples that were refused: there twice, or beyond metrics.series_max.",
            node.refused(),
        ),
        (
            "longshore_node_names_forgotten_total",
            "Names of families that were forgotten: nobody used them any more, and too many were known.",
            node.forgotten(),
        ),
    ] {
        scrape.set(name, help, &[], value);
    }
    scrape.set_gauge(
        "longshore_node_sample_age_seconds",
        "Time since the last sample of the node was begun, or since the agent's start if there is none.",
        &[],
        sources.step_age(node.sampled_at()).as_secs_f64(),
    );
}

/// A counter with a fraction, which the facade does not know.
fn attempt_times(page: &mut Page, sinks: &[Summary]) {
    let mut family = page.family(
        "longshore_sink_attempt_seconds_total",
        "What the attempts that have ended took, together.",
    );
    for sink in sinks {
        let seconds = sink.counters.attempt_time.as_secs_f64();
        family.sample(&[("sink", &sink.sink)], seconds);
    }
}

fn namespaces(page: &mut Page, sinks: &[Summary]) {
    for (name, help, value) in PER_NAMESPACE {
        let mut family = page.family(name, help);
        for sink in sinks {
            for (namespace, amount) in sink.namespaces.iter() {
                let labels = [("sink", sink.sink.as_str()), ("namespace", namespace)];
                family.sample(&labels, value(&amount));
            }
        }
    }
}

fn containers(page: &mut Page, sinks: &[Summary], series_max: usize) {
    for sink in sinks {
        let containers = sink.containers();
        let named = containers.get(..series_max).unwrap_or(&containers);
        for (name, help, value) in PER_CONTAINER {
            let mut family = page.family(name, help);
            for container in named {
                let [namespace, pod, container_name] = container.names;
                let labels = [
                    ("sink", sink.sink.as_str()),
                    ("namespace", namespace),
                    ("pod", pod),
                    ("container", container_name),
                ];
                family.sample(&labels, value(container));
            }
        }
        page.family(
            "longshore_container_series_omitted",
            "Containers that have no series of their own on this page.",
        )
        .sample(&[("sink", &sink.sink)], containers.len() - named.len());
    }
}

/// A recorder for one page.
pub(super) struct Scrape {
    recorder: PrometheusRecorder,
    described: RefCell<BTreeSet<&'static str>>,
}

impl Scrape {
    fn new() -> Scrape {
        Scrape {
            recorder: PrometheusBuilder::new().build_recorder(),
            described: RefCell::default(),
        }
    }

    /// Sets one series. A gauge is exact up to 2^53 (eight pebibytes, when it counts bytes).
    pub(super) fn set(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        match Kind::of(name) {
            Kind::Counter => {
                self.describe(name, help);
                let key = key(name, labels);
                self.recorder
                    .register_counter(&key, &METADATA)
                    .absolute(value);
            }
            Kind::Gauge => self.set_gauge(name, help, labels, value as f64),
        }
    }

    /// Sets one gauge that has a fraction.
    pub(super) fn set_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.describe(name, help);
        let key = key(name, labels);
        self.recorder.register_gauge(&key, &METADATA).set(value);
    }

    fn stats(&self, stats: &[Stat], labels: &[(&'static str, &str)]) {
        for stat in stats {
            let mut labels = labels.to_vec();
            labels.extend(stat.label);
            self.set(stat.name, stat.help, &labels, stat.value);
        }
    }

    fn describe(&self, name: &'static str, help: &'static str) {
        if self.described.borrow_mut().insert(name) {
            match Kind::of(name) {
                Kind::Counter => self
                    .recorder
                    .describe_counter(name.into(), None, help.into()),
                Kind::Gauge => self.recorder.describe_gauge(name.into(), None, help.into()),
            }
        }
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels = labels
        .iter()
        .map(|(label, text)| Label::new(*label, (*text).to_owned()));
    Key::from_parts(name, labels.collect::<Vec<Label>>())
}

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
