//! One thread that asks all collectors once per interval and publishes what they say as one snapshot.
//!
//! Invariants: a published snapshot never changes, so all who look at it see the same; a collector that fails costs
//! its own series alone, and is a series that says so; there are two snapshots in memory, not more, unless a reader
//! holds on to an old one.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use super::Collect;
use super::host::{Host, HostError};
use super::snapshot::{Snapshot, Spec, Unit, Wanted};
use crate::clock::{Clock, Time};
use crate::config::metrics::Metrics;
use crate::waker::Waker;

static DURATION: Spec = Spec::gauge(
    "node_scrape_collector_duration_seconds",
    Unit::Seconds,
    "How long a collector took.",
);
static SUCCESS: Spec = Spec::gauge(
    "node_scrape_collector_success",
    Unit::One,
    "1 if a collector could read and understand all that this kernel has.",
);
static SOURCE_ERROR: Spec = Spec::gauge(
    "node_scrape_collector_source_error",
    Unit::One,
    "Always 1; which source a collector could not use, and why. What it read beside it is there.",
);

/// The last snapshot, for all who show it or send it on.
#[derive(Default)]
pub struct Published {
    current: ArcSwapOption<Snapshot>,
    samples: AtomicU64,
    series: AtomicU64,
    refused: AtomicU64,
    forgotten: AtomicU64,
    sampled_ms: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
}

impl Published {
    /// The last snapshot; none before the first is taken.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// Wakes somebody whenever there is another one.
    pub fn subscribe(&self, waker: Waker) {
        let wakers = self.wakers.lock();
        wakers.unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    /// Snapshots taken.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Series of the last one.
    pub fn series(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    /// Series refused, in all of them: there twice, or beyond the bound.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Names of families that were forgotten, because too many are known that nobody uses.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// When the last one was taken.
    pub fn sampled_at(&self) -> Time {
        Time::from_ms(self.sampled_ms.load(Ordering::Relaxed))
    }

    /// Publishes a snapshot; gives back the one before it.
    fn publish(&self, snapshot: Arc<Snapshot>, now: Time) -> Option<Arc<Snapshot>> {
        self.series
            .store(snapshot.series() as u64, Ordering::Relaxed);
        self.refused
            .fetch_add(snapshot.refused(), Ordering::Relaxed);
        self.forgotten
            .fetch_add(snapshot.forgotten(), Ordering::Relaxed);
        self.sampled_ms.store(now.as_ms(), Ordering::Relaxed);
        let before = self.current.swap(Some(snapshot));
        self.samples.fetch_add(1, Ordering::Release);
        let wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.iter().for_each(Waker::wake);
        before
    }
}

/// See the module.
pub struct Sampler {
    host: Host,
    clock: Arc<dyn Clock>,
    interval: Duration,
    wanted: Arc<Wanted>,
    series_max: usize,
    collectors: Vec<Box<dyn Collect>>,
    published: Arc<Published>,
    spare: Option<Arc<Snapshot>>,
    failing: HashMap<&'static str, bool>,
    next: Time,
}

impl Sampler {
    /// Of these collectors, which read below the config's roots.
    pub fn new(
        config: &Metrics,
        collectors: Vec<Box<dyn Collect>>,
        clock: Arc<dyn Clock>,
    ) -> Sampler {
        let names = config.clone();
        Sampler {
            host: Host {
                proc: config.proc.clone(),
                sys: config.sys.clone(),
                root: config.root.clone(),
            },
            interval: Duration::from_millis(config.interval_ms),
            wanted: Arc::new(move |family| names.wants(family)),
            series_max: config.series_max,
            collectors,
            published: Arc::default(),
            spare: None,
            failing: HashMap::new(),
            next: clock.now(),
            clock,
        }
    }

    /// Where the snapshots are.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Takes a sample if it is time to. When the next one is due.
    pub fn step(&mut self) -> Time {
        let now = self.clock.now();
        if now < self.next {
            return self.next;
        }
        let snapshot = Arc::new(self.sample());
        self.spare = self.published.publish(snapshot, now);
        // Samples that were missed are not made up for.
        self.next = self.next + self.interval;
        if self.next <= self.clock.now() {
            self.next = self.clock.now() + self.interval;
        }
        self.next
    }

    fn sample(&mut self) -> Snapshot {
        let mut snapshot = self.empty(self.clock.wall());
        for collector in &mut self.collectors {
            let name = collector.name();
            let began = self.clock.now();
            let result = collector.collect(&self.host, &mut snapshot);
            let took = self.clock.now().since(began).as_secs_f64();
            let labels = [("collector", name)];
            // What this kernel does not have is not missing.
            let failure = result
                .err()
                .filter(|error| !matches!(error, HostError::Missing { .. }));
            let success = if failure.is_none() { 1.0 } else { 0.0 };
            snapshot.add(&DURATION, &labels, took);
            snapshot.add(&SUCCESS, &labels, success);
            if let Some(error) = &failure {
                let (path, reason) = facts(error);
                let labels = [("collector", name), ("path", &*path), ("reason", reason)];
                snapshot.add(&SOURCE_ERROR, &labels, 1.0);
            }
            log(&mut self.failing, name, failure.as_ref());
        }
        snapshot
    }

    /// The snapshot before the last, emptied, if nobody looks at it any more; else a new one.
    fn empty(&mut self, taken: SystemTime) -> Snapshot {
        let spare = self
            .spare
            .take()
            .and_then(|spare| Arc::try_unwrap(spare).ok());
        match spare {
            Some(mut spare) => {
                spare.reset(taken);
                spare
            }
            None => Snapshot::new(taken, Arc::clone(&self.wanted), self.series_max),
        }
    }

    /// Runs it on a thread of its own.
    pub fn start(self) -> io::Result<Running> {
        let stop = Arc::new(AtomicBool::new(false));
        let its_stop = Arc::clone(&stop);
        let published = Arc::clone(&self.published);
        let thread = std::thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || self.run(&its_stop))?;
        Ok(Running {
            published,
            stop,
            thread: thread.thread().clone(),
        })
    }

    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let next = self.step();
            std::thread::park_timeout(next.since(self.clock.now()));
        }
    }
}

/// A source that failed, and why in a word.
fn facts(error: &HostError) -> (String, &'static str) {
    let (path, reason) = match error {
        HostError::Missing { path } => (path, "missing"),
        HostError::Unreadable { path, source } => (
            path,
            match source.kind() {
                io::ErrorKind::PermissionDenied => "permission",
                io::ErrorKind::NotFound => "hidden",
                _ => "io",
            },
        ),
        HostError::TooLong { path } => (path, "too_long"),
        HostError::Malformed { path, .. } => (path, "malformed"),
    };
    (path.display().to_string(), reason)
}

/// Says so once when a collector begins to fail, and when it is well again.
fn log(
    failing: &mut HashMap<&'static str, bool>,
    collector: &'static str,
    error: Option<&HostError>,
) {
    let before = failing.insert(collector, error.is_some()).unwrap_or(false);
    match (before, error) {
        (false, Some(error)) => {
            tracing::warn!(collector, %error, "a measure of the node is incomplete");
        }
        (true, None) => tracing::info!(collector, "the measure of the node is complete again"),
        _ => {}
    }
}

/// A running sampler.
pub struct Running {
    published: Arc<Published>,
    stop: Arc<AtomicBool>,
    thread: Thread,
}

impl Running {
    /// Where the snapshots are.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Ends it. It is not waited for: a sample may be waiting for a file system, and nothing depends on its end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::node::fixture::value;

    /// A clock that is moved by hand.
    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Time {
            Time::from_ms(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    const COUNT: Spec = Spec::counter("test_total", Unit::Count, "Rounds.");

    struct Counts(f64, bool);

    impl Collect for Counts {
        fn name(&self) -> &'static str {
            "counts"
        }

        fn collect(&mut self, _: &Host, out: &mut Snapshot) -> Result<(), HostError> {
            self.0 += 1.0;
            out.add(&COUNT, &[], self.0);
            out.add(&COUNT, &[], self.0);
            let path = PathBuf::from("/p");
            if self.1 {
                return Err(HostError::TooLong { path });
            }
            Err(HostError::Missing { path })
        }
    }

    fn sampler(fails: bool, clock: &Arc<Hand>) -> Sampler {
        let config = Metrics::new(&|_| None);
        let clock: Arc<dyn Clock> = Arc::<Hand>::clone(clock);
        Sampler::new(&config, vec![Box::new(Counts(0.0, fails))], clock)
    }

    #[test]
    fn samples_are_taken_in_time_and_missed_ones_are_not_made_up_for() {
        let clock = Arc::new(Hand::default());
        let mut sampler = sampler(false, &clock);
        assert!(sampler.published().latest().is_none());
        assert_eq!(sampler.step(), Time::from_ms(15_000));
        assert_eq!(sampler.step(), Time::from_ms(15_000));
        assert_eq!(sampler.published().samples(), 1);
        clock.0.store(16_000, Ordering::Relaxed);
        assert_eq!(sampler.step(), Time::from_ms(30_000));
        clock.0.store(100_000, Ordering::Relaxed);
        assert_eq!(sampler.step(), Time::from_ms(115_000));
        let published = sampler.published();
        assert_eq!((published.samples(), published.refused()), (3, 3));
        let latest = published.latest().unwrap();
        assert_eq!(value(&latest, "test_total", &[]), 3.0);
        assert_eq!(latest.taken, clock.wall());
        assert_eq!(published.sampled_at(), clock.now());
    }

    #[test]
    fn a_failure_is_a_series_and_what_is_missing_is_none() {
        let labels = [("collector", "counts")];
        let clock = Arc::new(Hand::default());
        for (fails, success) in [(true, 0.0), (false, 1.0)] {
            let mut sampler = sampler(fails, &clock);
            sampler.step();
            let latest = sampler.published().latest().unwrap();
            assert_eq!(
                value(&latest, "node_scrape_collector_success", &labels),
                success
            );
            let error = [
                ("collector", "counts"),
                ("path", "/p"),
                ("reason", "too_long"),
            ];
            let error = latest.value("node_scrape_collector_source_error", &error);
            assert_eq!(error, fails.then_some(1.0));
            assert_eq!(value(&latest, "test_total", &[]), 1.0);
        }
    }

    #[test]
    fn a_reader_keeps_what_it_looks_at() {
        let clock = Arc::new(Hand::default());
        let mut sampler = sampler(false, &clock);
        sampler.step();
        let first = sampler.published().latest().unwrap();
        for round in 1..5_u64 {
            clock.0.store(round * 15_000, Ordering::Relaxed);
            sampler.step();
        }
        assert_eq!(value(&first, "test_total", &[]), 1.0);
        assert_eq!(
            value(&sampler.published().latest().unwrap(), "test_total", &[]),
            5.0
        );
    }

    #[test]
    fn whoever_waits_is_woken_and_a_stopped_sampler_ends() {
        let (woken, wakes) = std::sync::mpsc::channel();
        let sampler = sampler(false, &Arc::new(Hand::default()));
        let published = Arc::clone(sampler.published());
        published.subscribe(Waker::new(move || woken.send(()).unwrap()));
        let running = sampler.start().unwrap();
        wakes.recv().unwrap();
        assert!(running.published().latest().is_some());
        drop(running);
        drop(published);
        // The channel closes when the sampler has let go of what it published.
        assert!(wakes.recv().is_err());
    }
}
