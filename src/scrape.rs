//! Metrics of others on the own node: fetched, read, and joined into the snapshot.
//!
//! Each target is fetched on the network's thread at its own interval; a sample of the node takes over what was fetched
//! last, so that a slow target delays nobody. Invariants: of one target there are at most [`BODY_BYTES_MAX`] bytes and
//! `series_max` series; what failed is a sample that says so (`up` 0), and its series end.

pub mod text;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use self::text::Scraped;
use crate::clock::{Clock, Time};
use crate::config::Secret;
use crate::config::scrape::Scrape;
use crate::node::Collect;
use crate::node::host::{Host, HostError};
use crate::node::snapshot::{Snapshot, Spec, Unit};
use crate::sink::http::client::Exchange;
use crate::sink::http::{StartError, Surroundings, Wire};

/// A longer page is not read.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

const UP: Spec = Spec::gauge("up", Unit::One, "1 if the target could be scraped.");
const DURATION: Spec = Spec::gauge(
    "scrape_duration_seconds",
    Unit::Seconds,
    "How long the scrape took.",
);
const SAMPLES: Spec = Spec::gauge(
    "scrape_samples_scraped",
    Unit::Count,
    "Samples that the target showed.",
);
const MALFORMED: Spec = Spec::gauge(
    "scrape_lines_malformed",
    Unit::Count,
    "Lines of the target that could not be read, or were too many.",
);

/// What the last scrape of a target gave.
#[derive(Default)]
struct Last {
    scraped: Option<Scraped>,
    duration: Duration,
    done: Option<Time>,
}

/// One target.
pub struct Target {
    labels: Vec<(String, String)>,
    last: Arc<Mutex<Last>>,
    task: JoinHandle<()>,
    clock: Arc<dyn Clock>,
    stale_after: Duration,
}

impl Target {
    /// Begins to scrape a target. `surroundings`: as for sinks.
    pub fn start(
        config: &Scrape,
        surroundings: &Surroundings,
        runtime: &Handle,
    ) -> Result<Target, StartError> {
        let mut http = config.http.clone();
        let is_accept = |name: &str| name.eq_ignore_ascii_case("accept");
        if !http.headers.iter().any(|(name, _)| is_accept(name)) {
            let text = Secret::Literal("text/plain;version=0.0.4".to_owned());
            http.headers.push(("accept".to_owned(), text));
        }
        let wire = Wire {
            content_type: "text/plain",
            content_encoding: None,
        };
        let exchange = Exchange::new(surroundings, "scrape", &http, wire, 1)
            .map_err(|mistake| mistake.of("scrape"))?;
        let interval = Duration::from_millis(config.interval_ms);
        let last = Arc::new(Mutex::new(Last::default()));
        let task = runtime.spawn(run(
            exchange,
            config.clone(),
            Arc::clone(&last),
            Arc::clone(&surroundings.clock),
        ));
        Ok(Target {
            labels: config.target_labels(),
            last,
            task,
            clock: Arc::clone(&surroundings.clock),
            // One that is late is not gone yet.
            stale_after: 2 * interval + Duration::from_millis(config.http.request_timeout_ms),
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(exchange: Exchange, config: Scrape, last: Arc<Mutex<Last>>, clock: Arc<dyn Clock>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(config.interval_ms));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let began = clock.now();
        let fetched = exchange.fetch(BODY_BYTES_MAX).await;
        let scraped = match fetched {
            Ok((status, page)) if status.is_success() => Ok(text::read(&page, &config)),
            Ok((status, _)) => Err(status.to_string()),
            Err(failure) => Err(failure.text),
        };
        match &scraped {
            Err(problem) if !failing => {
                tracing::warn!(url = %exchange.what(), "cannot scrape: {problem}");
                failing = true;
            }
            Err(_) => {}
            Ok(_) => failing = false,
        }
        let done = clock.now();
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Last {
            scraped: scraped.ok(),
            duration: done.since(began),
            done: Some(done),
        };
    }
}

impl Collect for Target {
    fn name(&self) -> &'static str {
        "scrape"
    }

    fn collect(&mut self, _host: &Host, out: &mut Snapshot) -> Result<(), HostError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(done) = last.done else {
            return Ok(());
        };
        let labels = self.labels.iter();
        let labels: Vec<(&str, &str)> = labels.map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let is_late = self.clock.now().since(done) > self.stale_after;
        let scraped = last.scraped.as_ref().filter(|_| !is_late);
        out.add(&UP, &labels, f64::from(u8::from(scraped.is_some())));
        out.add(&DURATION, &labels, last.duration.as_secs_f64());
        let Some(scraped) = scraped else {
            return Ok(());
        };
        out.add(&SAMPLES, &labels, scraped.samples as f64);
        out.add(&MALFORMED, &labels, scraped.malformed as f64);
        let mut all: Vec<(&str, &str)> = Vec::new();
        for family in &scraped.families {
            for series in &family.series {
                all.clear();
                all.extend(series.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
                all.extend_from_slice(&labels);
                out.add(&family.spec, &all, series.value);
            }
        }
        Ok(())
    }
}
