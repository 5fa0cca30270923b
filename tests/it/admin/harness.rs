//! An admin server over boards, a catalog and a clock in the test's hands.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore::admin::bounds::Bound;
use longshore::admin::configured::Configured;
use longshore::admin::server::{Server, ServerLimits, serve_within};
use longshore::admin::{CatalogHealth, Shared, SinkStats, Sources, Stat};
use longshore::agent::cluster::ClusterView;
use longshore::catalog::chain::Identity;
use longshore::clock::{Clock, Time};
use longshore::config::kubernetes::Kubernetes;
use longshore::config::metrics::Metrics;
use longshore::config::{
    Admin as AdminConfig, Compression, Config, Limits, Lines, Logs, OwnLog, ReadFrom, Rows,
    Signals, Sink, SinkKind,
};
use longshore::kube::stats::Counted;
use longshore::own_log::limit::RateLimit;
use longshore::pipeline::board::{Board, ChainView, Health, SegmentView, View};
use longshore::pipeline::ledger::{Accounts, Amount};
use longshore::pods::PodState;
use longshore::record::{ChainKey, ChainMeta};

/// A clock that goes on when told.
pub struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Time {
        Time::from_ms(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// The catalog's side of the admin server.
pub struct Catalog {
    stepped_ms: AtomicU64,
    scanned: AtomicBool,
}

impl Catalog {
    pub fn step(&self, now: Time) {
        self.stepped_ms.store(now.as_ms(), Ordering::SeqCst);
    }

    pub fn set_scanned(&self, scanned: bool) {
        self.scanned.store(scanned, Ordering::SeqCst);
    }
}

/// The names under which the catalog's numbers are exported.
const CATALOG: [&str; 15] = [
    "longshore_catalog_chains",
    "longshore_catalog_segments",
    "longshore_catalog_held_files",
    "longshore_catalog_held_bytes",
    "longshore_catalog_scans_total",
    "longshore_catalog_scans_failed_total",
    "longshore_catalog_root_missing",
    "longshore_catalog_watches",
    "longshore_catalog_watch_failures_total",
    "longshore_catalog_refused_names_total",
    "longshore_catalog_refused_files_total",
    "longshore_catalog_damaged_files_total",
    "longshore_catalog_truncations_total",
    "longshore_catalog_budget_losses_total",
    "longshore_catalog_deleted_losses_total",
];

/// Those that have one series per kind of error.
const CATALOG_ERRORS: [&str; 2] = [
    "longshore_catalog_scan_errors_total",
    "longshore_catalog_open_errors_total",
];

/// The names under which a file sink's numbers are exported.
const FILE_SINK: [&str; 8] = [
    "longshore_file_sink_files",
    "longshore_file_sink_bytes",
    "longshore_file_sink_rolls_total",
    "longshore_file_sink_retired_files_total",
    "longshore_file_sink_retired_bytes_total",
    "longshore_file_sink_write_errors_total",
    "longshore_file_sink_cut_bytes_total",
    "longshore_file_sink_damaged_files_total",
];

fn sevens(names: &[&'static str]) -> Vec<Stat> {
    let stat = |name: &&'static str| Stat::new(name, "For the test.", 7);
    names.iter().map(stat).collect()
}

impl CatalogHealth for Catalog {
    fn stepped_at(&self) -> Time {
        Time::from_ms(self.stepped_ms.load(Ordering::SeqCst))
    }

    fn first_scan_done(&self) -> bool {
        self.scanned.load(Ordering::SeqCst)
    }

    fn stats(&self) -> Vec<Stat> {
        let mut stats = sevens(&CATALOG);
        for name in CATALOG_ERRORS {
            for kind in ["permission", "io"] {
                let mut stat = Stat::new(name, "For the test.", 1);
                stat.label = Some(("kind", kind));
                stats.push(stat);
            }
        }
        stats
    }
}

fn config() -> Config {
    let sink = |name: &str, workers: usize| Sink {
        lines: Lines::default(),
        name: name.to_owned(),
        kind: SinkKind::Blackhole,
        signals: Signals {
            logs: true,
            metrics: true,
        },
        select: longshore::config::select::Select::default(),
        rows: Rows::default(),
        compression: Compression::None,
        read_from: ReadFrom::Beginning,
        multiline: longshore::config::multiline::Multiline::default(),
        workers,
        limits: Limits::default(),
    };
    Config {
        node: "node-1".to_owned(),
        cluster_name: None,
        preset: None,
        state_dir: PathBuf::from("/nowhere"),
        shutdown_grace_ms: 20_000,
        reload_grace_ms: 5_000,
        logs: Logs::default(),
        metrics: Metrics::new(&|_| None),
        kubernetes: Kubernetes::new(&|_| None),
        admin: AdminConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        },
        own_log: OwnLog {
            level: tracing::Level::INFO,
            json: false,
        },
        sinks: vec![sink("files", 2), sink("web", 1)],
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The server under test.
pub struct Admin {
    /// Workers 0 and 1 of `files`, then the one of `web`.
    pub boards: Vec<Arc<Board>>,
    pub samples: Arc<longshore::samples::board::Board>,
    pub catalog: Arc<Catalog>,
    hands: Arc<Hands>,
    server: Option<Server>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// With the limits of a running agent.
    pub fn start() -> Admin {
        Admin::with_limits(ServerLimits::default())
    }

    pub fn with_limits(limits: ServerLimits) -> Admin {
        let hands = Arc::new(Hands(AtomicU64::new(1_000)));
        let catalog = Arc::new(Catalog {
            stepped_ms: AtomicU64::new(0),
            scanned: AtomicBool::new(true),
        });
        let boards: Vec<Arc<Board>> = [("files", 0), ("files", 1), ("web", 0)]
            .into_iter()
            .map(|(sink, worker)| Arc::new(Board::new(sink, worker)))
            .collect();
        let samples = Arc::new(longshore::samples::board::Board::new("web"));
        samples.publish(longshore::samples::board::View {
            failures: vec![("http_500", 1)],
            ..Default::default()
        });
        let sources = Sources {
            boards: boards.clone(),
            sample_boards: vec![samples.clone()],
            clock: hands.clone(),
            catalog: catalog.clone(),
            cluster: Some(Arc::new(ClusterView {
                pods: Arc::default(),
                counted: vec![Counted::new("pods")],
                clock: hands.clone(),
            })),
            samples: Some(Arc::default()),
            extra: vec![Arc::new(SinkStats {
                sink: "files".to_owned(),
                read: Box::new(|| sevens(&FILE_SINK)),
            })],
            configured: Arc::new(Configured::started(hands.now())),
            own_log: Arc::new(RateLimit::new(hands.clone())),
            started: hands.now(),
            version: "1.2.3",
            node: "node-1".to_owned(),
            bounds: Bound::of(&config()),
            proc: PathBuf::from("/proc"),
            basis: longshore::admin::explain::Basis::default(),
            container_series_max: 10,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let handle = runtime.handle().clone();
        let server = serve_within(
            limits,
            listener,
            Arc::new(Shared::from_pointee(sources)),
            &handle,
        )
        .unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            // Either way of ending the channel ends the runtime.
            let _ended: Result<(), _> = runtime.block_on(stopped);
        });
        Admin {
            boards,
            samples,
            catalog,
            hands,
            server: Some(server),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// With something to show in every family.
    pub fn full() -> Admin {
        let admin = Admin::start();
        admin.advance(Duration::from_secs(10));
        admin.beat();
        let mut one = chain("pod-full", 0, 77);
        one.error = Some("permission denied".to_owned());
        one.accounts.see(40);
        one.accounts.deliver(Amount {
            bytes: 40,
            lines: 2,
        });
        let mut view = view_of(&[one]);
        view.namespaces.deliver(
            "shop",
            Amount {
                bytes: 40,
                lines: 2,
            },
        );
        view.health = Health::Retrying;
        view.last_error = Some((admin.now(), "cannot write: disk full".to_owned()));
        view.last_verdict = Some("retry");
        view.last_accepted = Some(admin.now());
        view.counters.failures = vec![("disk", 3)];
        view.counters.read_errors = vec![("permission", 1)];
        view.counters.redactions = vec![("jwt", 1)];
        admin.boards[0].publish(view);
        admin.advance(Duration::from_secs(1));
        admin
    }

    pub fn now(&self) -> Time {
        self.hands.now()
    }

    pub fn advance(&self, by: Duration) {
        self.hands
            .0
            .fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Everything has just stepped.
    pub fn beat(&self) {
        self.catalog.step(self.now());
        for board in &self.boards {
            board.stepped(self.now());
        }
        self.samples.stepped(self.now());
    }

    /// A connection whose reads and writes give up when the test hangs.
    pub fn connect(&self) -> TcpStream {
        let address = self.server.as_ref().unwrap().address();
        let stream = TcpStream::connect(address).unwrap();
        let guard = Some(Duration::from_secs(60));
        stream.set_read_timeout(guard).unwrap();
        stream.set_write_timeout(guard).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    pub fn ask(&self, request: &str) -> Answer {
        self.try_ask(request.as_bytes()).unwrap()
    }

    /// `None` when the server hangs up without an answer.
    pub fn try_ask(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        // A server that refuses may close before it has all of the request.
        let _refused: std::io::Result<()> = stream.write_all(request);
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("reading the answer: {error}"),
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let code = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        Some(Answer {
            code,
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.server = None;
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// One chain with some bytes pending.
pub fn chain(pod: &str, restart: u32, pending_bytes: u64) -> ChainView {
    let mut accounts = Accounts::default();
    accounts.see(pending_bytes);
    ChainView {
        meta: Arc::new(ChainMeta {
            key: ChainKey {
                pod_uid: format!("uid-{pod}"),
                container: "main".to_owned(),
                restart,
            },
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container_id: "0a1b2c".to_owned(),
            pod_state: PodState::Unasked,
        }),
        plan: Arc::default(),
        accounts,
        segments: vec![SegmentView {
            serial: 1,
            identity: Some(Identity(0xab)),
            len_bytes: 100,
            read: 40,
            cursors: [40, 30],
        }],
        error: None,
    }
}

/// What a worker with these chains shows.
pub fn view_of(chains: &[ChainView]) -> View {
    let mut totals = Accounts::default();
    for chain in chains {
        totals += &chain.accounts;
    }
    View {
        totals,
        chains: chains.to_vec(),
        ..View::default()
    }
}
