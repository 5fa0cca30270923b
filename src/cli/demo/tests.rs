//! The player against a reference reader, and the demo's verdict with reference agents: one that copies every line,
//! one that loses a line, one that cannot start. The reference shares no code with the agent or with the count.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::thread::JoinHandle;

use serde_json::json;

use super::agent::Running;
use super::lines::Moment;
use super::plan::{Plan, Played};
use super::player::Player;
use super::*;
use crate::config::SinkKind;
use crate::pipeline::board::View;
use crate::pipeline::ledger::Amount;

/// One record as the reference reader finds it.
#[derive(Clone, Debug)]
pub struct Found {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub id: String,
    pub stream: String,
    pub message: Vec<u8>,
    pub partial: bool,
}

impl Found {
    /// The row of a sink that makes no mistake.
    pub fn row(&self) -> String {
        let mut row = json!({
            "TimeGenerated": "2020-01-01T00:00:00Z",
            "Computer": "demo-node",
            "ContainerId": self.id,
            "ContainerName": self.container,
            "PodName": self.pod,
            "PodNamespace": self.namespace,
            "LogMessage": String::from_utf8_lossy(&self.message),
            "LogSource": self.stream,
            "KubernetesMetadata": {"podUid": self.uid},
        });
        if self.partial {
            row["LogFlags"] = json!(["partial"]);
        }
        row.to_string()
    }
}

/// All records of one container instance, from the bytes of its files one behind the other. `log` is the path of its
/// live log.
fn records(log: &Path, id: &str, bytes: &[u8]) -> Vec<Found> {
    let name = |path: Option<&Path>| {
        path.unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let pod_directory = name(log.parent().unwrap().parent());
    let owner: Vec<&str> = pod_directory.split('_').collect();
    let mut open: HashMap<&str, Vec<u8>> = HashMap::new();
    let mut found = Vec::new();
    let record = |stream: &str, message, partial| Found {
        namespace: owner[0].into(),
        pod: owner[1].into(),
        uid: owner[2].into(),
        container: name(log.parent()),
        id: id.into(),
        stream: stream.into(),
        message,
        partial,
    };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let torn = !line.ends_with(b"\n");
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields = line.splitn(4, |byte| *byte == b' ').skip(1);
        let stream = std::str::from_utf8(fields.next().unwrap()).unwrap();
        let tag = fields.next().unwrap();
        let message = open.entry(stream).or_default();
        message.extend_from_slice(fields.next().unwrap());
        if tag == b"F" {
            found.push(record(stream, std::mem::take(message), torn));
        }
    }
    for (stream, message) in open {
        if !message.is_empty() {
            found.push(record(stream, message, true));
        }
    }
    found
}

fn ids(links: &Path) -> HashMap<PathBuf, String> {
    let links = fs::read_dir(links).unwrap().filter_map(|link| {
        let link = link.unwrap().path();
        let name = link.file_stem().unwrap().to_str().unwrap();
        let id = name.rsplit('-').next().unwrap().to_owned();
        // Gone since it was listed: its pod has been deleted.
        Some((fs::read_link(&link).ok()?, id))
    });
    links.collect()
}

fn live_log(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap().to_str().unwrap();
    path.with_file_name(format!("{}.log", name.split('.').next().unwrap()))
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).map(|entries| {
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.collect::<Vec<_>>()
    });
    let mut paths = entries.unwrap_or_default();
    paths.sort();
    paths
}

fn log_files(pods: &Path) -> Vec<PathBuf> {
    let containers = below(pods).into_iter().flat_map(|pod| below(&pod));
    containers.flat_map(|container| below(&container)).collect()
}

/// Everything that is in the files: records, and decompressed bytes.
pub fn read_all(root: &Path) -> (Vec<Found>, u64) {
    let ids = ids(&root.join(LINKS));
    let mut chains: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in log_files(&root.join(PODS)) {
        chains.entry(live_log(&path)).or_default().push(path);
    }
    let (mut found, mut total) = (Vec::new(), 0);
    for (log, mut files) in chains {
        // The live file sorts first and is the newest.
        files.sort_by_key(|path| (*path == log, path.clone()));
        let mut bytes = Vec::new();
        for path in files {
            let mut file = File::open(&path).unwrap();
            if path.extension().unwrap() == "gz" {
                flate2::read::GzDecoder::new(file)
                    .read_to_end(&mut bytes)
                    .unwrap();
            } else {
                file.read_to_end(&mut bytes).unwrap();
            }
        }
        total += bytes.len() as u64;
        found.extend(records(&log, &ids[&log], &bytes));
    }
    (found, total)
}

/// A short play of which no file has been deleted, with rotation and compression in it.
pub fn short_play(root: &Path) -> Played {
    let plan = Plan {
        seed: 3,
        rounds: 200,
        rotate_bytes: 40_000,
        busy_bytes_per_s: 60_000,
        start: Moment(1_700_000_000_000_000_000),
    };
    let mut player = Player::new(plan, &root.join(PODS), &root.join(LINKS)).unwrap();
    for _ in 0..400 {
        player.round(true).unwrap();
    }
    player.into_played()
}

#[test]
fn the_players_own_count_is_what_a_reference_reader_finds_in_the_files() {
    let root = tempfile::tempdir().unwrap();
    let played = short_play(root.path());
    let (found, bytes) = read_all(root.path());
    let totals = played.totals;
    assert_eq!(totals.lines, found.len() as u64);
    assert_eq!(totals.bytes, bytes);
    let instances = played.instances.iter();
    let numbered: u64 = instances.flat_map(|instance| instance.lines).sum();
    assert_eq!(numbered, totals.lines);
    let partial = found.iter().filter(|found| found.partial).count();
    assert_eq!(partial as u64, totals.unfinished);
    for (what, count) in [
        ("rotations", totals.chores.rotations),
        ("compressed", totals.chores.compressed),
        ("restarts", totals.restarts),
        ("short pods", totals.short_pods),
        ("long lines", totals.long_lines),
        ("unfinished", totals.unfinished),
        ("binary", totals.binary),
    ] {
        assert!(count > 0, "the play lacks {what}");
    }
}

#[test]
fn the_same_seed_plays_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let totals = [&one, &two].map(|root| short_play(root.path()).totals);
    assert_eq!(totals[0], totals[1]);
    let messages = [&one, &two].map(|root| {
        let (found, _) = read_all(root.path());
        let rows: Vec<String> = found.iter().map(Found::row).collect();
        rows
    });
    assert_eq!(messages[0], messages[1]);
}

#[test]
fn a_whole_play_deletes_its_short_lived_pods_and_keeps_five_files_of_a_log() {
    let root = tempfile::tempdir().unwrap();
    let plan = Plan {
        seed: 5,
        rounds: 500,
        rotate_bytes: 20_000,
        busy_bytes_per_s: 40_000,
        start: Moment(1_700_000_000_000_000_000),
    };
    let (pods, links) = (root.path().join(PODS), root.path().join(LINKS));
    let mut player = Player::new(plan, &pods, &links).unwrap();
    while player.round(false).unwrap() {}
    let totals = player.into_played().totals;
    assert_eq!(totals.chores.pods_deleted, totals.short_pods);
    assert_eq!(below(&pods).len() as u64, totals.pods);
    assert!(totals.chores.retired > 0 && totals.chores.collected > 0);
    let mut logs: HashMap<PathBuf, usize> = HashMap::new();
    for path in log_files(&pods) {
        *logs.entry(live_log(&path)).or_default() += 1;
    }
    assert!(logs.values().all(|files| *files <= kubelet::FILES_MAX));
    assert!(logs.values().any(|files| *files == kubelet::FILES_MAX));
    for (log, _) in ids(&links) {
        assert!(log.exists(), "a link leads nowhere: {}", log.display());
    }
}

/// A segment that the reference agent follows through its descriptor, whatever its name becomes.
struct Followed {
    first_time: Vec<u8>,
    file: Option<File>,
    offset: u64,
}

/// What the reference agent has copied; outlives a restart, as a checkpoint does.
#[derive(Default)]
struct Copied {
    chains: BTreeMap<PathBuf, (Vec<Followed>, Vec<u8>)>,
    inflated: HashSet<PathBuf>,
    ids: HashMap<PathBuf, String>,
    accounts: Accounts,
    starts: u32,
}

/// The whole text of a compressed segment, the first bytes of a plain one.
fn head(path: &Path) -> Option<(File, Vec<u8>)> {
    let mut file = File::open(path).ok()?;
    let mut text = vec![0; 64];
    if path.extension()? == "gz" {
        text.clear();
        flate2::read::GzDecoder::new(&mut file)
            .read_to_end(&mut text)
            .ok()?;
    } else {
        let read = file.read_at(&mut text, 0).ok()?;
        text.truncate(read);
    }
    Some((file, text))
}

impl Copied {
    /// Takes up the segments of one chain that are new, oldest first, until one is not to be had just now.
    fn find(&mut self, log: &Path, mut paths: Vec<PathBuf>) {
        paths.sort_by_key(|path| (path == log, path.clone()));
        let (segments, bytes) = self.chains.entry(log.to_owned()).or_default();
        for path in paths {
            let gzip = path.extension().unwrap() == "gz";
            if gzip && self.inflated.contains(&path) {
                continue;
            }
            let Some((file, text)) = head(&path) else {
                return;
            };
            // No two lines of a chain have the same time.
            let Some(end) = text.iter().position(|byte| *byte == b' ') else {
                return;
            };
            let first_time = text[..end].to_vec();
            let known = segments.iter().any(|known| known.first_time == first_time);
            if gzip {
                self.inflated.insert(path);
            }
            if known {
                continue;
            }
            copy(&mut self.accounts, segments, bytes);
            if gzip {
                bytes.extend_from_slice(&text);
                account(&mut self.accounts, text.len());
            }
            segments.push(Followed {
                first_time,
                file: (!gzip).then_some(file),
                offset: 0,
            });
        }
    }

    fn look(&mut self, config: &Config) {
        self.ids.extend(ids(&config.logs.container_links));
        let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for path in log_files(&config.logs.pod_logs) {
            if path.extension().is_some_and(|extension| extension != "tmp") {
                found.entry(live_log(&path)).or_default().push(path);
            }
        }
        for (log, paths) in found {
            self.find(&log, paths);
        }
        for (segments, bytes) in self.chains.values_mut() {
            copy(&mut self.accounts, segments, bytes);
        }
    }

    fn rows(&self) -> Vec<String> {
        let records = self
            .chains
            .iter()
            .flat_map(|(log, (_, bytes))| records(log, &self.ids[log], bytes));
        records.map(|found| found.row()).collect()
    }
}

fn account(accounts: &mut Accounts, bytes: usize) {
    let bytes = bytes as u64;
    accounts.see(bytes);
    accounts.deliver(Amount { bytes, lines: 0 });
}

/// Copies what was appended.
fn copy(accounts: &mut Accounts, segments: &mut [Followed], bytes: &mut Vec<u8>) {
    let mut block = vec![0; 65_536];
    for followed in segments {
        let Some(file) = &followed.file else {
            continue;
        };
        loop {
            let read = file.read_at(&mut block, followed.offset).unwrap();
            if read == 0 {
                break;
            }
            followed.offset += read as u64;
            bytes.extend_from_slice(&block[..read]);
            account(accounts, read);
        }
    }
}

struct Copier {
    boards: Vec<Arc<Board>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    copied: Arc<Mutex<Copied>>,
    rows: PathBuf,
    forget: usize,
}

impl Copier {
    fn start(config: &Config, copied: Arc<Mutex<Copied>>, forget: usize) -> Copier {
        copied.lock().unwrap().starts += 1;
        let board = Arc::new(Board::new("rows", 0));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, ending, seen, looked) = (
            Arc::clone(&board),
            Arc::clone(&stop),
            Arc::clone(&copied),
            config.clone(),
        );
        let thread = std::thread::spawn(move || {
            loop {
                let last = ending.load(Ordering::Acquire);
                let mut copied = seen.lock().unwrap();
                copied.look(&looked);
                theirs.publish(View {
                    totals: copied.accounts,
                    ..View::default()
                });
                drop(copied);
                if last {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let SinkKind::File(sink) = &config.sinks[0].kind else {
            panic!("the demo's sink is no file");
        };
        Copier {
            boards: vec![board],
            stop,
            thread,
            copied,
            rows: sink.directory.clone(),
            forget,
        }
    }
}

impl Running for Copier {
    fn boards(&self) -> Vec<Arc<Board>> {
        self.boards.clone()
    }

    fn stop(self: Box<Self>, _grace: Duration) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
        let copied = self.copied.lock().unwrap();
        if copied.starts < 2 {
            return;
        }
        fs::create_dir_all(&self.rows).unwrap();
        let rows: Vec<String> = copied.rows().into_iter().skip(self.forget).collect();
        fs::write(self.rows.join("0.ndjson.open"), rows.join("\n") + "\n").unwrap();
    }
}

const ARGS: DemoArgs = DemoArgs {
    seconds: 5,
    seed: 1,
    keep: false,
};

fn directory_named_in(text: &str) -> PathBuf {
    let first = text.lines().next().unwrap();
    PathBuf::from(first.rsplit(" in ").next().unwrap())
}

fn run(start: Start<'_>) -> (u8, String) {
    let mut out = Vec::new();
    let code = perform(&ARGS, false, start, &AtomicBool::new(false), &mut out);
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn a_demo_with_an_exact_agent_ends_well_and_clears_up() {
    let copied = Arc::new(Mutex::new(Copied::default()));
    let (code, text) =
        run(&|config: &Config| Ok(Box::new(Copier::start(config, Arc::clone(&copied), 0))));
    assert_eq!(copied.lock().unwrap().starts, 2);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Every line arrived exactly once."), "{text}");
    assert!(text.lines().all(|line| !line.contains("FAILED")), "{text}");
    assert!(!directory_named_in(&text).exists());
}

#[test]
fn a_demo_with_an_agent_that_loses_a_line_says_so_and_fails() {
    let copied = Arc::new(Mutex::new(Copied::default()));
    let (code, text) =
        run(&|config: &Config| Ok(Box::new(Copier::start(config, Arc::clone(&copied), 1))));
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("FAILED: not every line arrived exactly once."),
        "{text}"
    );
    assert!(text.contains("1 line of "), "{text}");
    assert!(!directory_named_in(&text).exists());
}

#[test]
fn a_demo_whose_agent_does_not_start_says_why_and_clears_up() {
    let (code, text) = run(&|_: &Config| Err("no luck".to_owned()));
    assert_eq!(code, 1);
    assert!(
        text.contains("FAILED: the agent did not start: no luck."),
        "{text}"
    );
    assert!(!directory_named_in(&text).exists());
}

#[test]
fn an_interrupted_demo_clears_up() {
    let copied = Arc::new(Mutex::new(Copied::default()));
    let mut out = Vec::new();
    let code = perform(
        &ARGS,
        false,
        &|config: &Config| Ok(Box::new(Copier::start(config, Arc::clone(&copied), 0))),
        &AtomicBool::new(true),
        &mut out,
    );
    let text = String::from_utf8(out).unwrap();
    assert_eq!(code, 130, "{text}");
    assert!(!directory_named_in(&text).exists());
}
