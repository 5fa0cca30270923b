//! One simulated node: the real catalog and workers on virtual time, which can be killed and started again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use longshore::catalog::Catalog;
use longshore::catalog::chain::Chain;
use longshore::catalog::feed::{Event, Feed, Shard};
use longshore::catalog::stats::CatalogStats;
use longshore::clock::{Clock, Time};
use longshore::config::{Compression, Limits, Logs, RowFormat, Sink, SinkKind};
use longshore::encode::Encode;
use longshore::encode::log_batch::LogBatch;
use longshore::encode::rows::Rows;
use longshore::pipeline::board::{Board, View};
use longshore::pipeline::drain::After;
use longshore::pipeline::worker::{Parts, Step, Worker};
use longshore::pods::PodState;
use longshore::record::ChainMeta;
use longshore::select::lines::LinesPlanner;
use longshore::select::plan::Planner;
use longshore::waker::Waker;

use super::sink::{SimLetters, SimSink};
use super::store::{Disk, SimStore};
use crate::support::sim_clock::SimClock;
use crate::support::sim_files::SimFiles;

pub const ROOT: &str = "/var/log/pods";

/// A sink with what outlives the agent: its destination and its checkpoints.
pub struct Place {
    pub config: Sink,
    pub sink: SimSink,
    pub disk: Disk,
    /// The accounts of all workers, as last looked at.
    pub views: Vec<Arc<View>>,
}

/// The agent while it runs.
struct Agent {
    catalog: Catalog,
    /// Hears of all chains, as a sink would that reads nothing.
    herald: Arc<Feed>,
    feeds: Vec<Arc<Feed>>,
    chains: Vec<Arc<Chain>>,
    next_look: Time,
    workers: Vec<(usize, Worker, Arc<Board>)>,
    untils: Vec<Time>,
}

pub struct Rig {
    pub clock: SimClock,
    pub files: SimFiles,
    pub logs: Logs,
    pub places: Vec<Place>,
    pub stats: Option<Arc<CatalogStats>>,
    /// How often the agent was started.
    pub life: u32,
    /// What the cluster says of pods, by uid; of others nobody is asked.
    pub pods: BTreeMap<String, PodState>,
    agent: Option<Agent>,
    last_seen: BTreeMap<(usize, usize), u64>,
}

/// A sink as most tests want it: small payloads, short waits.
pub fn sink(name: &str) -> Sink {
    let mut sink = Sink::new(name.to_owned(), SinkKind::Blackhole);
    sink.rows.record_uid = true;
    sink.compression = Compression::Gzip(1);
    sink.limits = Limits {
        record_bytes_max: 512,
        block_bytes: 1024,
        payload_bytes_max: 16 * 1024,
        payload_uncompressed_bytes_max: 64 * 1024,
        payload_records_max: 60,
        flush_interval_ms: 200,
        requests_in_flight: 1,
        partial_timeout_ms: 10_000,
        backoff_min_ms: 50,
        backoff_max_ms: 1_000,
        probe_interval_ms: 2_000,
        stuck_after_ms: 20_000,
        rejects_per_minute_max: 50,
        ..Limits::default()
    };
    sink
}

fn planner(place: &Place) -> Planner {
    let config = &place.config;
    Planner::new(config.select.clone())
        .with_multiline(&config.multiline)
        .with_lines(Arc::new(LinesPlanner::new(config.lines.clone())))
}

impl Agent {
    /// Gives chains what is known of their pods.
    fn tell(&mut self, pods: &BTreeMap<String, PodState>) {
        let mut events = Vec::new();
        self.herald.drain(&mut events);
        for event in events {
            if let Event::Added { chain, .. } = event {
                self.chains.push(chain);
            }
        }
        for chain in &self.chains {
            let meta = chain.meta();
            let state = pods.get(&meta.key.pod_uid);
            if let Some(state) = state.filter(|state| **state != meta.pod_state) {
                chain.set_meta(ChainMeta {
                    pod_state: state.clone(),
                    ..(*meta).clone()
                });
                for feed in &self.feeds {
                    feed.changed(chain);
                }
            }
        }
    }
}

impl Rig {
    pub fn new(logs: Logs, sinks: Vec<Sink>, seed: u64) -> Rig {
        let clock = SimClock::default();
        let files = SimFiles::new(&clock);
        files.mkdir(ROOT);
        let places = sinks.into_iter().enumerate().map(|(at, config)| Place {
            sink: SimSink::new(seed.wrapping_add(at as u64), &config),
            config,
            disk: Disk::default(),
            views: Vec::new(),
        });
        Rig {
            places: places.collect(),
            clock,
            files,
            logs,
            stats: None,
            life: 0,
            pods: BTreeMap::new(),
            agent: None,
            last_seen: BTreeMap::new(),
        }
    }

    /// A node with default limits on logs.
    pub fn simple(sinks: Vec<Sink>) -> Rig {
        Rig::new(Logs::default(), sinks, 1)
    }

    pub fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    /// Starts the agent from what is durable.
    pub fn start(&mut self) {
        assert!(!self.is_up());
        self.life += 1;
        self.last_seen.clear();
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let (mut feeds, mut workers) = (Vec::new(), Vec::new());
        for (number, place) in self.places.iter().enumerate() {
            place.sink.begin_life(self.life);
            let config = &place.config;
            for (worker, checkpoint) in place.disk.load_for(config).into_iter().enumerate() {
                let shard = Shard {
                    sink: number,
                    worker,
                    workers: config.workers,
                };
                let feed = Arc::new(Feed::new(shard, feeds.len(), Waker::none()));
                for chain in checkpoint.iter().flat_map(|checkpoint| &checkpoint.chains) {
                    feed.remember(&chain.key());
                }
                let board = Arc::new(Board::new(&config.name, worker));
                let parts = self.parts(place, worker, &feed, &board, &clock);
                workers.push((number, Worker::new(parts, checkpoint), board));
                feeds.push(feed);
            }
        }
        let files = Arc::new(self.files.clone());
        let shard = Shard {
            sink: self.places.len(),
            worker: 0,
            workers: 1,
        };
        let herald = Arc::new(Feed::new(shard, feeds.len(), Waker::none()));
        feeds.push(Arc::clone(&herald));
        let planners = self.places.iter().map(planner);
        let planners: Vec<Planner> = planners.collect();
        let sinks = self.places.len();
        let catalog = Catalog::new(&self.logs, files, clock, sinks, feeds.clone(), None);
        let catalog = catalog.wanted_by(Arc::new(move |chain| {
            planners.iter().any(|planner| planner.may_want(chain))
        }));
        self.stats = Some(catalog.stats());
        let untils = vec![Time::ZERO; workers.len()];
        self.agent = Some(Agent {
            catalog,
            herald,
            feeds,
            chains: Vec::new(),
            next_look: Time::ZERO,
            workers,
            untils,
        });
    }

    fn parts(
        &self,
        place: &Place,
        worker: usize,
        feed: &Arc<Feed>,
        board: &Arc<Board>,
        clock: &Arc<dyn Clock>,
    ) -> Parts {
        let config = &place.config;
        let encoder = || -> Box<dyn Encode> {
            match config.rows.format {
                RowFormat::Protobuf => Box::new(LogBatch::new(&config.rows, "node-1", None)),
                _ => Box::new(Rows::new(&config.rows, "node-1", None)),
            }
        };
        let in_flight = config.limits.requests_in_flight;
        Parts {
            sink: config.clone(),
            feed: Arc::clone(feed),
            files: Arc::new(self.files.clone()),
            clock: Arc::clone(clock),
            encoders: [encoder(), encoder()],
            transport: Box::new(place.sink.transport(&self.clock, in_flight)),
            dead_letters: Box::new(SimLetters(place.sink.clone())),
            store: Box::new(SimStore {
                disk: place.disk.clone(),
                clock: self.clock.clone(),
                worker,
                workers: config.workers,
                waiting: VecDeque::new(),
            }),
            board: Arc::clone(board),
            forget_after: Duration::from_millis(self.logs.forget_after_ms),
            planner: planner(place),
            seed: 7,
        }
    }

    /// The agent is killed.
    pub fn crash(&mut self) {
        self.agent = None;
    }

    /// The agent is asked to stop and given this long. Returns whether it drained.
    pub fn stop(&mut self, grace_ms: u64) -> bool {
        let end_ms = self.clock.ms() + grace_ms;
        let Some(agent) = &mut self.agent else {
            return true;
        };
        for (_, worker, _) in &mut agent.workers {
            worker.drain(After::Restart);
        }
        let drained = |rig: &Rig| {
            let agent = rig.agent.as_ref().unwrap();
            agent
                .workers
                .iter()
                .all(|(_, worker, _)| worker.is_drained())
        };
        while !drained(self) && self.clock.ms() < end_ms {
            self.tick(end_ms);
        }
        let drained = drained(self);
        let now = self.clock.now();
        let agent = self.agent.take().unwrap();
        let boards: Vec<_> = agent
            .workers
            .iter()
            .map(|(at, _, board)| (*at, Arc::clone(board)))
            .collect();
        for (_, worker, _) in agent.workers {
            worker.finish(now);
        }
        self.take_views(&boards);
        drained
    }

    /// Time passes, with the agent or without.
    pub fn run_ms(&mut self, ms: u64) {
        let end_ms = self.clock.ms() + ms;
        while self.is_up() && self.clock.ms() < end_ms {
            self.tick(end_ms);
        }
        self.clock.set(Time::from_ms(end_ms));
    }

    /// Runs until `done` says so; `false` if that takes longer than `ms`.
    pub fn run_until(&mut self, ms: u64, mut done: impl FnMut(&Rig) -> bool) -> bool {
        let end_ms = self.clock.ms() + ms;
        while self.clock.ms() < end_ms {
            if done(self) {
                return true;
            }
            self.tick(end_ms);
        }
        done(self)
    }

    /// Does everything that is due now, then moves the clock to what is due next.
    fn tick(&mut self, end_ms: u64) {
        let Some(agent) = &mut self.agent else {
            self.clock.set(Time::from_ms(self.clock.ms() + 1));
            return;
        };
        let now = self.clock.now();
        for _ in 0..1_000 {
            if agent.next_look > now {
                break;
            }
            agent.next_look = agent.catalog.step(now);
        }
        agent.tell(&self.pods);
        for (at, (_, worker, board)) in agent.workers.iter_mut().enumerate() {
            agent.untils[at] = settle(worker, now, board);
        }
        let boards: Vec<_> = agent
            .workers
            .iter()
            .map(|(at, _, board)| (*at, Arc::clone(board)))
            .collect();
        let verdicts = self.places.iter().filter_map(|place| place.sink.due_ms());
        let mut next_ms = verdicts.min().unwrap_or(u64::MAX).min(end_ms);
        for until in agent.untils.iter().chain([&agent.next_look]) {
            next_ms = next_ms.min(until.as_ms());
        }
        self.take_views(&boards);
        self.clock.set(Time::from_ms(next_ms.max(now.as_ms() + 1)));
    }

    /// Invariant (a), at every view: the accounts of each chain and their sum balance, never shrink, and (f) the
    /// bounds on memory hold.
    fn take_views(&mut self, boards: &[(usize, Arc<Board>)]) {
        for place in &mut self.places {
            place.views.clear();
        }
        for (number, board) in boards {
            let view = board.view();
            if std::env::var_os("LONGSHORE_SIM_TRACE").is_some_and(|how| how == "2") {
                for chain in &view.chains {
                    let segments = chain
                        .segments
                        .iter()
                        .map(|segment| (segment.len_bytes, segment.read, segment.cursors));
                    let segments: Vec<_> = segments.collect();
                    eprintln!(
                        "  {} ms: {number} {} {segments:?} {:?}",
                        self.clock.ms(),
                        chain.meta.key,
                        chain.error
                    );
                }
            }
            check_view(&view, &self.places[*number].config);
            let before = self
                .last_seen
                .insert((*number, board.worker), view.totals.seen);
            assert!(
                before.is_none_or(|before| before <= view.totals.seen),
                "`seen` shrinks"
            );
            self.places[*number].views.push(view);
        }
    }
}

/// Steps until there is nothing left to do at this moment.
fn settle(worker: &mut Worker, now: Time, board: &Board) -> Time {
    for _ in 0..20_000 {
        if let Step::Idle { until } = worker.step(now) {
            assert!(
                until > now,
                "{} is idle until now: it would spin",
                board.sink
            );
            return until;
        }
    }
    panic!(
        "worker {} of {} does not come to rest: {:#?}",
        board.worker,
        board.sink,
        board.view()
    );
}

fn check_view(view: &View, config: &Sink) {
    let limits = &config.limits;
    assert!(
        view.totals.balances(),
        "the totals do not balance: {:?}",
        view.totals
    );
    for chain in &view.chains {
        let name = &chain.meta.key;
        assert!(
            chain.accounts.balances(),
            "{name} does not balance: {:?}",
            chain.accounts
        );
        for segment in &chain.segments {
            let [out, err] = segment.cursors;
            assert!(
                out <= segment.len_bytes
                    && err <= segment.len_bytes
                    && segment.read <= segment.len_bytes,
                "{name} is ahead of its file: {segment:?}"
            );
        }
    }
    assert!(
        view.payloads_waiting <= limits.payload_slots,
        "more payloads than slots"
    );
    assert!(
        view.join_bytes <= limits.join_bytes_max,
        "the join pool is over its bound"
    );
}
