use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use longshore::catalog::chain::{Chain, Loss, Segment};
use longshore::catalog::feed::{Event, Feed, Shard};
use longshore::catalog::stats::CatalogStats;
use longshore::catalog::{Catalog, WatchChange};
use longshore::clock::{Clock, Time};
use longshore::config::Logs;
use longshore::own_pod::OwnPod;
use longshore::waker::Waker;

use crate::support::sim_clock::SimClock;
use crate::support::sim_files::{SimFiles, gzipped};

#[path = "catalog/model.rs"]
mod model;
#[path = "catalog/pods.rs"]
mod pods;
#[path = "catalog/real.rs"]
mod real;

const ROOT: &str = "/var/log/pods";
const POD: &str = "/var/log/pods/default_web-1_uid-1";
const DIR: &str = "/var/log/pods/default_web-1_uid-1/main";
const LOG: &str = "/var/log/pods/default_web-1_uid-1/main/0.log";
const LINKS: &str = "/var/log/containers";

/// A catalog on a simulated node, with one worker that listens and, if asked, reads.
struct Rig {
    clock: SimClock,
    files: SimFiles,
    catalog: Catalog,
    stats: Arc<CatalogStats>,
    feed: Arc<Feed>,
    next: Time,
    chains: BTreeMap<String, Arc<Chain>>,
    added: usize,
    scanned: usize,
    reading: bool,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(Logs::default(), None)
    }

    fn with(logs: Logs, own_pod: Option<OwnPod>) -> Rig {
        let clock = SimClock::default();
        let files = SimFiles::new(&clock);
        files.mkdir(ROOT);
        Rig::on(logs, own_pod, clock, files)
    }

    fn on(logs: Logs, own_pod: Option<OwnPod>, clock: SimClock, files: SimFiles) -> Rig {
        let shard = Shard {
            sink: 0,
            worker: 0,
            workers: 1,
        };
        let feed = Arc::new(Feed::new(shard, 0, Waker::none()));
        let catalog = Catalog::new(
            &logs,
            Arc::new(files.clone()),
            Arc::new(clock.clone()),
            1,
            vec![Arc::clone(&feed)],
            own_pod,
        );
        Rig {
            stats: catalog.stats(),
            clock,
            files,
            catalog,
            feed,
            next: Time::ZERO,
            chains: BTreeMap::new(),
            added: 0,
            scanned: 0,
            reading: false,
        }
    }

    fn step(&mut self) {
        self.next = self.catalog.step(self.clock.now());
        let mut events = Vec::new();
        self.feed.drain(&mut events);
        for event in events {
            match event {
                Event::Added { chain, .. } => {
                    self.added += 1;
                    self.chains.insert(chain.meta().key.to_string(), chain);
                }
                Event::Changed(chain) => {
                    let key = chain.meta().key.to_string();
                    assert!(
                        self.chains.contains_key(&key),
                        "{key} changed before it was added"
                    );
                    if chain.forgotten() {
                        self.chains.remove(&key);
                    }
                }
                Event::Scanned => self.scanned += 1,
            }
        }
        if self.reading {
            self.read();
        }
    }

    /// What a worker does: reads all there is, settles what is finished or gone.
    fn read(&self) {
        for segment in self
            .chains
            .values()
            .flat_map(|chain| chain.segments().to_vec())
        {
            let over = segment.finished() || segment.gone().is_some();
            segment.pass(0, if over { u64::MAX } else { segment.len_bytes() });
        }
    }

    fn run_ms(&mut self, ms: u64) {
        let end = Time::from_ms(self.clock.ms() + ms);
        while self.next <= end {
            self.clock.set(self.next);
            self.step();
        }
        self.clock.set(end);
    }

    fn chain(&self, key: &str) -> Arc<Chain> {
        let found = self.chains.get(key);
        Arc::clone(found.unwrap_or_else(|| panic!("{key} of {:?}", self.chains.keys())))
    }

    fn segments(&self, key: &str) -> Vec<Arc<Segment>> {
        self.chain(key).segments().to_vec()
    }

    /// All that can be read of a chain, in order.
    fn content(&self, key: &str) -> String {
        let read = |segment: &Arc<Segment>| self.read_segment(segment);
        String::from_utf8(self.segments(key).iter().flat_map(read).collect()).unwrap()
    }

    fn read_segment(&self, segment: &Segment) -> Vec<u8> {
        if segment.gone().is_some() {
            return Vec::new();
        }
        let opened = segment.open(&self.files).unwrap();
        let mut bytes = vec![0; opened.handle.meta().unwrap().len_bytes as usize];
        let count = opened.handle.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(count);
        if !opened.gzip {
            return bytes;
        }
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }
}

const WEB: &str = "uid-1/main/0";

/// Line `n`, with a timestamp of its own.
fn line(n: u64) -> String {
    let (minute, second) = (n / 60 % 60, n % 60);
    let hour = n / 3600;
    format!(
        "2024-01-01T{hour:02}:{minute:02}:{second:02}.{:09}Z stdout F line {n}\n",
        n * 7
    )
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(line).collect()
}

fn rotated(n: u64) -> String {
    format!("{LOG}.20240101-{n:06}")
}

/// One pod with one container whose log has the first lines.
fn web(rig: &Rig) {
    rig.files.mkdir(DIR);
    rig.files.append(LOG, lines(0..10));
}

#[test]
fn a_log_is_found_and_grows() {
    let mut rig = Rig::new();
    web(&rig);
    rig.run_ms(1_000);
    let segments = rig.segments(WEB);
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].len_bytes(), lines(0..10).len() as u64);
    assert!(segments[0].identity().is_some());
    assert!(rig.chain(WEB).preexisting);
    let meta = rig.chain(WEB).meta();
    assert_eq!(
        (meta.namespace.as_str(), meta.pod.as_str()),
        ("default", "web-1")
    );
    rig.files.append(LOG, lines(10..20));
    rig.run_ms(1_000);
    assert_eq!(rig.content(WEB), lines(0..20));
    assert_eq!(rig.segments(WEB).len(), 1);
    assert_eq!(rig.added, 1);
}

#[test]
fn without_watches_a_new_containers_log_is_known_within_a_second() {
    for delay in (0..2_000).step_by(97) {
        let mut rig = Rig::new();
        rig.files.mkdir(LINKS);
        rig.run_ms(5_000 + delay);
        web(&rig);
        rig.run_ms(1_000);
        assert_eq!(rig.content(WEB), lines(0..10), "made after {delay} ms");
        assert!(!rig.chain(WEB).preexisting);
        // A restart in a directory that has been quiet for long.
        rig.run_ms(20_000 + delay);
        let restarted = format!("{DIR}/1.log");
        rig.files.append(&restarted, lines(10..20));
        rig.run_ms(1_000);
        assert_eq!(
            rig.content("uid-1/main/1"),
            lines(10..20),
            "made after {delay} ms"
        );
    }
}

#[test]
fn a_log_that_lives_for_a_second_and_a_half_is_held_and_settled() {
    let mut rig = Rig::new();
    rig.files.mkdir(LINKS);
    rig.run_ms(3_210);
    web(&rig);
    rig.run_ms(1_500);
    rig.files.remove_all(POD);
    rig.run_ms(60_000);
    assert_eq!(rig.content(WEB), lines(0..10));
    assert!(rig.chain(WEB).ended());
    assert!(
        rig.segments(WEB)
            .iter()
            .all(|segment| segment.ended() && segment.finished())
    );
    rig.reading = true;
    rig.run_ms(5_000);
    assert!(rig.segments(WEB).is_empty());
    assert_eq!(rig.files.handles(), 0);
    assert!(rig.chains.contains_key(WEB), "nothing is forgotten yet");
    rig.run_ms(620_000);
    assert!(rig.chains.is_empty());
    assert_eq!(
        (rig.stats.chains.get(), rig.stats.deleted_losses.get()),
        (0, 0)
    );
}

/// The kubelet's sequence: compress what is plain, rename, reopen. The runtime writes to the renamed file until then.
fn rotate(rig: &mut Rig, stamp: u64, numbers: std::ops::Range<u64>, gap_ms: u64) {
    for entry in longshore::files::Files::list(&rig.files, Path::new(DIR)).unwrap() {
        let name = entry.name.to_str().unwrap().to_owned();
        if name.starts_with("0.log.") && !name.ends_with(".gz") {
            rig.files.gzip(format!("{DIR}/{name}"));
        }
    }
    let writer = rig.files.writer(LOG);
    rig.files.rename(LOG, rotated(stamp));
    rig.run_ms(gap_ms);
    writer.append(line(numbers.start).as_bytes());
    rig.run_ms(gap_ms);
    rig.files.append(LOG, lines(numbers.start + 1..numbers.end));
}

#[test]
fn rotation_in_the_kubelets_sequence_keeps_every_line_in_order() {
    let mut rig = Rig::new();
    web(&rig);
    rig.run_ms(500);
    for round in 1..=5 {
        rotate(&mut rig, round, round * 10..round * 10 + 10, 90);
        rig.run_ms(3_000);
        assert_eq!(rig.content(WEB), lines(0..round * 10 + 10), "round {round}");
        assert_eq!(rig.segments(WEB).len() as u64, round + 1);
    }
    let ended: Vec<bool> = rig
        .segments(WEB)
        .iter()
        .map(|segment| segment.ended())
        .collect();
    assert_eq!(ended, [true, true, true, true, true, false]);
}

#[test]
fn three_rotations_between_two_looks_hide_nothing() {
    for held in [64, 0] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        web(&rig);
        rig.run_ms(500);
        for round in 1..=3 {
            rotate(&mut rig, round, round * 10..round * 10 + 10, 0);
        }
        rig.run_ms(2_000);
        assert_eq!(rig.content(WEB), lines(0..40), "{held} descriptors");
        assert_eq!(rig.segments(WEB).len(), 4);
    }
}

#[test]
fn what_was_there_before_is_ordered_by_its_first_lines() {
    let mut rig = Rig::new();
    rig.files.mkdir(DIR);
    rig.files.append(
        format!("{}.gz", rotated(1)),
        gzipped(lines(0..10).as_bytes()),
    );
    rig.files.append(rotated(2), lines(10..20));
    rig.files.append(format!("{}.tmp", rotated(2)), "half");
    rig.files.append(LOG, lines(20..30));
    rig.run_ms(1_000);
    assert_eq!(rig.content(WEB), lines(0..30));
    let lens: Vec<u64> = rig
        .segments(WEB)
        .iter()
        .map(|segment| segment.len_bytes())
        .collect();
    assert_eq!(
        lens,
        [lines(0..10), lines(10..20), lines(20..30)].map(|text| text.len() as u64)
    );
}

#[test]
fn an_inode_reused_at_once_with_an_equal_size_is_another_segment() {
    for held in [64, 0] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        rig.files.mkdir(DIR);
        rig.files.append(LOG, line(11));
        rig.run_ms(500);
        let inode = longshore::files::Files::stat(&rig.files, Path::new(LOG))
            .unwrap()
            .inode;
        rig.files.rename(LOG, rotated(1));
        rig.files.gzip(rotated(1));
        rig.files.append(LOG, line(12));
        let reused = longshore::files::Files::stat(&rig.files, Path::new(LOG))
            .unwrap()
            .inode;
        assert_eq!(reused == inode, held == 0, "a held inode is not free");
        rig.run_ms(2_000);
        assert_eq!(rig.content(WEB), line(11) + &line(12), "{held} descriptors");
        assert_eq!(rig.segments(WEB).len(), 2);
    }
}

#[test]
fn new_device_and_inode_numbers_change_nothing() {
    for held in [64, 0] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        web(&rig);
        rig.files.append(rotated(1), lines(100..110));
        rig.run_ms(500);
        let before: Vec<u64> = rig
            .segments(WEB)
            .iter()
            .map(|segment| segment.serial)
            .collect();
        rig.files.renumber(ROOT);
        rig.run_ms(30_000);
        let after: Vec<u64> = rig
            .segments(WEB)
            .iter()
            .map(|segment| segment.serial)
            .collect();
        assert_eq!(before, after, "{held} descriptors");
        rig.files.append(LOG, lines(10..20));
        rig.run_ms(12_000);
        assert_eq!(
            rig.segments(WEB).last().unwrap().len_bytes(),
            lines(0..20).len() as u64
        );
    }
}

#[test]
fn docker_logs_are_followed_through_their_link() {
    let mut rig = Rig::new();
    let id = "ab".repeat(32);
    let docker = format!("/var/lib/docker/containers/{id}");
    let log = format!("{docker}/{id}-json.log");
    let json = |n: u64| {
        format!(
            "{{\"log\":\"{n}\\n\",\"stream\":\"stdout\",\"time\":\"2024-01-01T00:00:{n:02}Z\"}}\n"
        )
    };
    rig.files.mkdir(&docker);
    rig.files.mkdir(DIR);
    rig.files
        .append(format!("{log}.2.gz"), gzipped(json(1).as_bytes()));
    rig.files.append(format!("{log}.1"), json(2));
    rig.files.append(&log, json(3));
    rig.files.append(format!("{docker}/config.v2.json"), "{}");
    rig.files.symlink(&log, LOG);
    rig.run_ms(1_000);
    assert!(rig.chain(WEB).docker);
    assert_eq!(rig.chain(WEB).meta().container_id, id);
    assert_eq!(rig.content(WEB), json(1) + &json(2) + &json(3));
    // Its rotation shifts the numbers.
    rig.files
        .rename(format!("{log}.2.gz"), format!("{log}.3.gz"));
    rig.files.rename(format!("{log}.1"), format!("{log}.2"));
    rig.files.rename(&log, format!("{log}.1"));
    rig.run_ms(100);
    rig.files.append(&log, json(4));
    rig.run_ms(2_000);
    assert_eq!(rig.content(WEB), json(1) + &json(2) + &json(3) + &json(4));
    assert_eq!(rig.segments(WEB).len(), 4);
}

#[test]
fn links_and_devices_in_the_place_of_a_log_are_refused() {
    let mut rig = Rig::new();
    let id = "cd".repeat(32);
    rig.files.mkdir("/etc");
    rig.files.append("/etc/shadow", "root:secret\n");
    rig.files.mkdir(DIR);
    rig.files.symlink("/etc/shadow", LOG);
    rig.files.symlink("/etc/shadow", format!("{DIR}/1.log.1"));
    rig.files.pipe(format!("{DIR}/2.log"));
    rig.files.mkdir(format!("{DIR}/3.log"));
    // The right name, but a link at the end of it, and one hop too many.
    rig.files.mkdir(format!("/c/{id}"));
    rig.files
        .symlink("/etc/shadow", format!("/c/{id}/{id}-json.log"));
    rig.files
        .symlink(format!("/c/{id}/{id}-json.log"), format!("{DIR}/4.log"));
    rig.files.mkdir("/var/log/pods/not a pod");
    rig.files.symlink("/etc", "/var/log/pods/a_b_c");
    rig.run_ms(30_000);
    assert!(rig.chains.is_empty(), "{:?}", rig.chains);
    assert_eq!(rig.files.opened(), 0);
    assert_eq!(rig.stats.refused_files.get(), 5);
    assert_eq!(rig.stats.refused_names.get(), 2);
}

#[test]
fn copytruncate_moves_the_segment_to_its_copy() {
    for held in [64, 0] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        web(&rig);
        rig.run_ms(1_000);
        let first = rig.segments(WEB)[0].serial;
        rig.files.append(format!("{LOG}.1"), lines(0..10));
        rig.run_ms(200);
        assert_eq!(rig.segments(WEB).len(), 1, "a copy is no new segment");
        rig.files.truncate(LOG, 0);
        rig.files.append(LOG, line(10));
        rig.run_ms(2_000);
        assert_eq!(rig.content(WEB), lines(0..11), "{held} descriptors");
        assert_eq!(rig.segments(WEB)[0].serial, first);
        assert!(rig.segments(WEB)[0].ended());
    }
}

#[test]
fn truncation_without_a_copy_loses_the_segment_and_begins_another() {
    for held in [64, 0] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        web(&rig);
        rig.run_ms(1_000);
        rig.files.truncate(LOG, 0);
        rig.run_ms(1_000);
        rig.files.append(LOG, line(10));
        rig.run_ms(2_000);
        let segments = rig.segments(WEB);
        assert_eq!(segments.len(), 2, "{held} descriptors");
        assert!(segments[0].gone().is_some());
        if held > 0 {
            assert_eq!(segments[0].gone(), Some(Loss::Truncated));
        }
        assert_eq!(segments[0].len_bytes(), lines(0..10).len() as u64);
        assert_eq!(rig.content(WEB), line(10));
        rig.reading = true;
        rig.run_ms(1_000);
        assert_eq!(
            rig.segments(WEB).len(),
            1,
            "a settled loss leaves the chain"
        );
    }
}

#[test]
fn truncation_that_has_outgrown_the_old_length_is_found_on_request() {
    let mut rig = Rig::new();
    web(&rig);
    rig.run_ms(1_000);
    rig.files.truncate(LOG, 0);
    rig.files.append(LOG, lines(10..40));
    rig.run_ms(1_000);
    assert_eq!(rig.segments(WEB).len(), 1);
    rig.chain(WEB).request_look();
    rig.run_ms(2_000);
    assert_eq!(rig.segments(WEB)[0].gone(), Some(Loss::Truncated));
    assert_eq!(rig.content(WEB), lines(10..40));
}

#[test]
fn a_restart_ends_the_chain_before_it() {
    let mut rig = Rig::new();
    web(&rig);
    rig.run_ms(1_000);
    assert!(!rig.chain(WEB).ended());
    rig.files.append(LOG, "2024-01-01T00:01:00Z stdout P half");
    rig.files.append(format!("{DIR}/1.log"), lines(100..110));
    rig.run_ms(3_000);
    assert!(rig.chain(WEB).ended() && rig.segments(WEB)[0].ended());
    assert!(!rig.chain("uid-1/main/1").ended());
    assert_eq!(rig.content("uid-1/main/1"), lines(100..110));
}

#[test]
fn a_short_file_without_a_line_end_has_an_identity_when_it_has_ended() {
    for held in [64, 0] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        rig.files.mkdir(DIR);
        rig.files.append(LOG, "2024-01-01T00:00:00.1Z stdout F no");
        rig.run_ms(2_000);
        assert_eq!(rig.segments(WEB)[0].identity(), None, "{held} descriptors");
        rig.files.rename(LOG, rotated(1));
        rig.files.append(LOG, "");
        rig.run_ms(3_000);
        let segments = rig.segments(WEB);
        assert_eq!(segments.len(), 2);
        assert!(segments[0].ended() && segments[0].identity().is_some());
        let identity = segments[0].identity();
        rig.files.gzip(rotated(1));
        rig.run_ms(2_000);
        assert_eq!(rig.segments(WEB).len(), 2);
        assert_eq!(rig.segments(WEB)[0].identity(), identity);
        rig.files.append(LOG, line(3));
        rig.run_ms(2_000);
        assert_eq!(rig.segments(WEB).len(), 2);
        assert!(
            rig.segments(WEB)[1].identity().is_some(),
            "{held} descriptors"
        );
    }
}

#[test]
fn equal_first_lines_without_a_timestamp_are_two_segments() {
    for held in [64, 0] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        rig.files.mkdir(DIR);
        rig.files.append(LOG, "hello\nfirst\n");
        rig.run_ms(1_000);
        rig.files.rename(LOG, rotated(1));
        rig.files.append(LOG, "hello\nsecond\n");
        rig.run_ms(2_000);
        assert_eq!(
            rig.content(WEB),
            "hello\nfirst\nhello\nsecond\n",
            "{held} descriptors"
        );
        rig.files.gzip(rotated(1));
        rig.files.rename(LOG, rotated(2));
        rig.files.append(LOG, "hello\nthird\n");
        rig.run_ms(2_000);
        let all = "hello\nfirst\nhello\nsecond\nhello\nthird\n";
        assert_eq!(rig.content(WEB), all, "{held} descriptors");
        assert_eq!(rig.segments(WEB).len(), 3);
    }
}

#[test]
fn a_root_that_is_unmounted_for_a_while_loses_and_forgets_nothing() {
    for (held, leave) in [(64, true), (64, false), (0, true), (0, false)] {
        let mut rig = Rig::with(
            Logs {
                held_files_max: held,
                ..Logs::default()
            },
            None,
        );
        web(&rig);
        rig.run_ms(1_000);
        let (serial, scans) = (rig.segments(WEB)[0].serial, rig.scanned);
        rig.files.unmount(ROOT, leave);
        rig.run_ms(3_600_000);
        assert_eq!(rig.stats.root_missing.get(), 1);
        assert_eq!(rig.scanned, scans, "no scan succeeds");
        assert!(!rig.chain(WEB).ended() && !rig.segments(WEB)[0].ended());
        rig.files.mount(ROOT);
        rig.files.append(LOG, lines(10..20));
        rig.run_ms(20_000);
        assert_eq!(rig.content(WEB), lines(0..20), "{held} {leave}");
        assert_eq!(rig.segments(WEB)[0].serial, serial);
        assert_eq!((rig.added, rig.segments(WEB)[0].gone()), (1, None));
        assert!(rig.scanned > scans);
    }
}

#[test]
fn a_missing_root_is_waited_for() {
    let mut rig = Rig::with(
        Logs {
            pod_logs: "/mnt/pods".into(),
            ..Logs::default()
        },
        None,
    );
    rig.run_ms(60_000);
    assert_eq!((rig.scanned, rig.stats.root_missing.get()), (0, 1));
    rig.files.mkdir("/mnt/pods/a_b_c/d");
    rig.files.append("/mnt/pods/a_b_c/d/0.log", line(1));
    rig.run_ms(1_000);
    assert_eq!(rig.content("c/d/0"), line(1));
    assert!(rig.chain("c/d/0").preexisting);
}

#[test]
fn a_file_that_cannot_be_read_waits_and_the_others_go_on() {
    for code in [libc::EACCES, libc::EIO, libc::ESTALE, libc::EMFILE] {
        let mut rig = Rig::new();
        web(&rig);
        let other = "/var/log/pods/default_db_uid-2/main";
        rig.files.mkdir(other);
        rig.files.append(format!("{other}/0.log"), lines(0..5));
        rig.files.fail(LOG, Some(code));
        rig.run_ms(30_000);
        assert_eq!(rig.content("uid-2/main/0"), lines(0..5));
        assert!(rig.stats.open_errors.total() > 0);
        rig.files.fail(LOG, None);
        rig.run_ms(10_000);
        assert_eq!(rig.content(WEB), lines(0..10), "{code}");
        rig.files.fail(DIR, Some(code));
        rig.run_ms(30_000);
        rig.files.append(LOG, lines(10..20));
        rig.files.fail(DIR, None);
        rig.run_ms(10_000);
        assert_eq!(rig.content(WEB), lines(0..20), "{code}");
        rig.files.fail_reads(LOG, Some(code));
        rig.files.append(LOG, lines(20..30));
        rig.chain(WEB).request_look();
        rig.run_ms(10_000);
        rig.files.fail_reads(LOG, None);
        rig.run_ms(10_000);
        assert_eq!(rig.content(WEB), lines(0..30), "{code}");
        assert_eq!(rig.segments(WEB).len(), 1);
    }
}

#[test]
fn unread_files_deleted_without_a_descriptor_are_lost_by_name() {
    let mut rig = Rig::with(
        Logs {
            held_files_max: 0,
            ..Logs::default()
        },
        None,
    );
    web(&rig);
    rig.files.append(rotated(1), lines(100..110));
    rig.run_ms(1_000);
    rig.files.unlink(rotated(1));
    rig.run_ms(2_000);
    let segments = rig.segments(WEB);
    assert_eq!(segments.len(), 2);
    let lost: Vec<_> = segments.iter().map(|segment| segment.gone()).collect();
    assert_eq!(lost.iter().flatten().collect::<Vec<_>>(), [&Loss::Deleted]);
    rig.files.remove_all(POD);
    rig.run_ms(300_000);
    assert_eq!(
        rig.stats.deleted_losses.get(),
        1,
        "a missing directory is no proof yet"
    );
    rig.run_ms(400_000);
    assert_eq!(rig.stats.deleted_losses.get(), 2);
    rig.reading = true;
    rig.read();
    rig.run_ms(20_000);
    assert!(rig.chains.is_empty());
}

#[test]
fn the_keeper_gives_up_the_oldest_unread_bytes_beyond_its_budget() {
    let size = 100_000_u64;
    let logs = Logs {
        held_bytes_max: 3 * size + 500,
        ..Logs::default()
    };
    let mut rig = Rig::with(logs, None);
    rig.files.mkdir(DIR);
    let text = |n: u64| {
        format!(
            "{}{}\n",
            line(n),
            "x".repeat(size as usize - line(n).len() - 1)
        )
    };
    rig.files.append(LOG, text(0));
    rig.run_ms(1_000);
    for round in 1..=6 {
        rig.files.rename(LOG, rotated(round));
        rig.files.append(LOG, text(round));
        rig.run_ms(500);
        rig.files.unlink(rotated(round));
        rig.run_ms(2_000);
        assert!(rig.stats.deleted_bytes_held.get() <= 3 * size + 500);
    }
    let lost = |segment: &Arc<Segment>| segment.gone() == Some(Loss::Budget);
    let segments = rig.segments(WEB);
    let sizes: Vec<u64> = segments
        .iter()
        .filter(|s| lost(s))
        .map(|s| s.len_bytes())
        .collect();
    assert_eq!(sizes, [size; 3]);
    assert!(segments[..3].iter().all(lost));
    assert_eq!(rig.content(WEB), text(3) + &text(4) + &text(5) + &text(6));
}

#[test]
fn over_the_byte_budget_a_compressed_copy_is_taken_first() {
    let logs = Logs {
        held_bytes_max: 1_000,
        ..Logs::default()
    };
    let mut rig = Rig::with(logs, None);
    rig.files.mkdir(DIR);
    rig.files.append(LOG, lines(0..1_000));
    rig.run_ms(1_000);
    rig.files.rename(LOG, rotated(1));
    rig.files.append(LOG, lines(1_000..1_010));
    rig.run_ms(2_000);
    rig.files.gzip(rotated(1));
    rig.run_ms(2_000);
    assert_eq!(rig.stats.deleted_bytes_held.get(), 0);
    assert_eq!(rig.stats.budget_losses.get(), 0);
    assert_eq!(rig.content(WEB), lines(0..1_010));
}

#[test]
fn read_files_are_closed_and_their_pages_dropped_once() {
    let mut rig = Rig::new();
    rig.reading = true;
    web(&rig);
    rig.run_ms(500);
    rotate(&mut rig, 1, 10..20, 50);
    rig.run_ms(60_000);
    assert_eq!(rig.files.handles(), 1, "only the live file is held");
    assert_eq!(rig.files.dropped_cache(), 1);
    assert_eq!(rig.content(WEB), lines(0..20));
}

#[test]
fn five_thousand_files_need_no_more_descriptors_than_there_are() {
    const MAX: usize = 256;
    let mut rig = Rig::with(
        Logs {
            held_files_max: MAX,
            ..Logs::default()
        },
        None,
    );
    rig.files.limit_handles(MAX);
    for pod in 0..1_000 {
        let directory = format!("{ROOT}/ns_pod-{pod}_uid-{pod}/c");
        rig.files.mkdir(&directory);
        rig.files.append(format!("{directory}/0.log"), line(pod));
        for n in 1..=4 {
            let name = format!("{directory}/0.log.20240101-{n:06}");
            rig.files.append(name, line(10_000 + pod * 10 + n));
        }
    }
    rig.run_ms(3_000);
    assert_eq!(rig.chains.len(), 1_000);
    assert!(
        rig.files.handles_most() <= MAX,
        "{}",
        rig.files.handles_most()
    );
    let lens = |rig: &Rig| -> u64 {
        let all = rig
            .chains
            .values()
            .flat_map(|chain| chain.segments().to_vec());
        all.map(|segment| segment.len_bytes()).sum()
    };
    let written: u64 = (0..1_000)
        .flat_map(|pod| {
            let rotated = (1..=4).map(move |n| 10_000 + pod * 10 + n);
            std::iter::once(pod)
                .chain(rotated)
                .map(|n| line(n).len() as u64)
        })
        .sum();
    assert_eq!(lens(&rig), written);
    for pod in 0..1_000 {
        rig.files.append(
            format!("{ROOT}/ns_pod-{pod}_uid-{pod}/c/0.log"),
            line(pod + 1),
        );
    }
    rig.reading = true;
    rig.run_ms(3_000);
    let more: u64 = (0..1_000).map(|pod| line(pod + 1).len() as u64).sum();
    assert_eq!(lens(&rig), written + more);
    assert!(rig.files.handles_most() <= MAX);
    assert_eq!(
        rig.stats.deleted_losses.get() + rig.stats.budget_losses.get(),
        0
    );
}

#[test]
fn running_out_of_descriptors_is_pressure_and_not_fatal() {
    let mut rig = Rig::new();
    rig.files.limit_handles(3);
    for pod in 0..20 {
        let directory = format!("{ROOT}/ns_pod-{pod}_uid-{pod}/c");
        rig.files.mkdir(&directory);
        rig.files.append(format!("{directory}/0.log"), line(pod));
    }
    rig.run_ms(5_000);
    assert_eq!(rig.chains.len(), 20);
    for chain in rig.chains.values() {
        assert_eq!(chain.segments().len(), 1);
        assert!(chain.segments()[0].identity().is_some());
    }
}

#[test]
fn the_agents_own_log_is_counted_and_never_opened() {
    let own = OwnPod {
        uid: Some("uid-1".into()),
        ..OwnPod::default()
    };
    let mut rig = Rig::with(Logs::default(), Some(own));
    web(&rig);
    rig.run_ms(1_000);
    rotate(&mut rig, 1, 10..20, 50);
    rig.run_ms(2_000);
    rotate(&mut rig, 2, 20..30, 50);
    rig.run_ms(2_000);
    assert_eq!(rig.chain(WEB).excluded, Some("own_pod"));
    assert_eq!(rig.files.opened(), 0);
    let sum: u64 = rig
        .segments(WEB)
        .iter()
        .map(|segment| segment.len_bytes())
        .sum();
    assert_eq!(sum, lines(0..30).len() as u64);
}

#[test]
fn container_ids_come_from_the_links_or_later() {
    let mut rig = Rig::new();
    let id = "0f".repeat(32);
    rig.files.mkdir(LINKS);
    rig.files
        .symlink(LOG, format!("{LINKS}/web-1_default_main-{id}.log"));
    web(&rig);
    rig.run_ms(300);
    assert_eq!(rig.chain(WEB).meta().container_id, id);
    rig.files.append(format!("{DIR}/1.log"), line(50));
    rig.run_ms(2_000);
    assert_eq!(rig.chain("uid-1/main/1").meta().container_id, "");
    let other = "1e".repeat(32);
    let target = format!("/host{DIR}/1.log");
    rig.files
        .symlink(target, format!("{LINKS}/web-1_default_main-{other}.log"));
    rig.run_ms(2_000);
    assert_eq!(rig.chain("uid-1/main/1").meta().container_id, other);
    assert_eq!(rig.chain(WEB).meta().container_id, id);
}

#[test]
fn a_link_shows_a_restart_in_a_quiet_directory() {
    for delay in (0..2_400).step_by(170) {
        let mut rig = Rig::new();
        rig.files.mkdir(LINKS);
        let link = |id: &str| format!("{LINKS}/web-1_default_main-{}.log", id.repeat(32));
        rig.files.symlink(LOG, link("0f"));
        web(&rig);
        rig.run_ms(60_000 + delay);
        let restarted = format!("{DIR}/1.log");
        rig.files.append(&restarted, lines(10..20));
        rig.files.symlink(&restarted, link("1e"));
        rig.run_ms(1_000);
        assert_eq!(
            rig.content("uid-1/main/1"),
            lines(10..20),
            "made after {delay} ms"
        );
        rig.files.append(LOG, lines(20..21));
        rig.run_ms(1_000);
        assert_eq!(rig.content(WEB), lines(0..10) + &lines(20..21));
    }
}

#[test]
fn a_corrupt_gzip_is_a_counted_loss() {
    let mut rig = Rig::new();
    web(&rig);
    rig.files.append(format!("{}.gz", rotated(1)), [0x1f; 300]);
    rig.run_ms(2_000);
    assert_eq!(rig.content(WEB), lines(0..10));
    rig.run_ms(20_000);
    let segments = rig.segments(WEB);
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[0].gone(), Some(Loss::Corrupt));
    assert_eq!(segments[0].len_bytes(), 300);
    rig.run_ms(60_000);
    assert_eq!(
        (rig.segments(WEB).len(), rig.stats.damaged_files.get()),
        (2, 1)
    );
}

#[test]
fn scans_are_announced_and_an_idle_catalog_rests() {
    let mut rig = Rig::new();
    web(&rig);
    rig.run_ms(100_000);
    assert!((9..=12).contains(&rig.scanned), "{}", rig.scanned);
    let mut steps = 0;
    let end = rig.clock.ms() + 10_000;
    while rig.next <= Time::from_ms(end) {
        rig.clock.set(rig.next);
        rig.step();
        steps += 1;
    }
    assert!(steps < 100, "{steps} steps in ten idle seconds");
}

/// A container with a link, and quiet for so long that one call a look is all it takes.
fn resting() -> Rig {
    let mut rig = Rig::new();
    rig.files.mkdir(LINKS);
    rig.files.symlink(
        LOG,
        format!("{LINKS}/web-1_default_main-{}.log", "0f".repeat(32)),
    );
    web(&rig);
    rig.run_ms(30_000);
    rig
}

#[test]
fn a_quiet_container_costs_one_call_a_look() {
    const SECONDS: u64 = 60;
    let mut rig = resting();
    let before = rig.files.calls();
    rig.run_ms(1_000 * SECONDS);
    let calls = rig.files.calls() - before;
    let looks = SECONDS * 1_000 / Logs::default().poll_idle_ms;
    // The root and its only pod are not watched here: they and the links are looked at twice a second each.
    let parents = 3 * 2 * SECONDS;
    // A check of the names every ten seconds, the rescans, and what rounding to common moments adds.
    let others = SECONDS / 10 + 10 * SECONDS / 10 + looks / 8;
    assert!(
        calls <= looks + parents + others,
        "{calls} calls in a minute"
    );
}

#[test]
fn whatever_happens_to_a_quiet_log_is_known_within_a_second() {
    for delay in (0..900).step_by(70) {
        let late = |rig: &mut Rig| rig.run_ms(delay);
        let mut rig = resting();
        late(&mut rig);
        rig.files.append(LOG, lines(10..11));
        rig.run_ms(1_000);
        assert_eq!(rig.content(WEB), lines(0..11), "growth after {delay} ms");

        let mut rig = resting();
        late(&mut rig);
        rig.files.truncate(LOG, 0);
        rig.run_ms(1_000);
        assert_eq!(rig.stats.truncations.get(), 1, "truncated after {delay} ms");

        // A renamed file and its successor, which nobody has written to yet.
        let mut rig = resting();
        late(&mut rig);
        rig.files.rename(LOG, rotated(1));
        rig.files.append(LOG, "");
        rig.run_ms(1_000);
        assert_eq!(rig.segments(WEB).len(), 2, "rotated after {delay} ms");

        let mut rig = resting();
        late(&mut rig);
        rig.files.unlink(LOG);
        rig.run_ms(1_000);
        assert!(rig.chain(WEB).complete());
        rig.run_ms(45_000);
        assert!(rig.segments(WEB)[0].finished(), "deleted after {delay} ms");

        // A name that comes beside the live log shows in no file and in no link.
        let mut rig = resting();
        late(&mut rig);
        rig.files.append(format!("{DIR}/1.log"), lines(10..20));
        rig.run_ms(11_500);
        assert_eq!(
            rig.content("uid-1/main/1"),
            lines(10..20),
            "new after {delay} ms"
        );
    }
}

#[test]
fn a_rotation_of_a_quiet_log_that_is_not_at_rest_is_known_within_a_second() {
    for delay in (0..2_400).step_by(170) {
        // The runtime takes its time to reopen.
        let mut rig = resting();
        rig.files.rename(LOG, rotated(1));
        rig.run_ms(3_000 + delay);
        rig.files.append(LOG, lines(10..20));
        rig.run_ms(1_000);
        assert_eq!(rig.content(WEB), lines(0..20), "reopened after {delay} ms");

        // The sink is behind: what was rotated waits to be read, and its descriptor is held.
        let mut rig = resting();
        rig.files.rename(LOG, rotated(1));
        rig.files.append(LOG, lines(10..20));
        rig.run_ms(30_000 + delay);
        rig.files.rename(LOG, rotated(2));
        rig.files.append(LOG, lines(20..30));
        rig.run_ms(1_000);
        assert_eq!(rig.content(WEB), lines(0..30), "rotated after {delay} ms");
    }
}

/// The wish to have the log watched, fulfilled.
fn awaited(rig: &mut Rig) -> u64 {
    let wishes = rig.catalog.take_watch_changes();
    let mut wishes = wishes.into_iter().filter_map(|wish| match wish {
        WatchChange::Await { file, container } => Some((file, container)),
        _ => None,
    });
    let (file, container) = wishes.next().expect("a log at rest is to be watched");
    assert_eq!(file, Path::new(LOG));
    assert_eq!(wishes.next(), None, "once");
    rig.catalog.set_awaited(container);
    container
}

#[test]
fn a_log_at_rest_that_is_watched_is_hardly_looked_at() {
    let mut rig = resting();
    let polled = {
        let before = rig.files.calls();
        rig.run_ms(60_000);
        rig.files.calls() - before
    };
    let container = awaited(&mut rig);
    rig.run_ms(1_000);
    let before = rig.files.calls();
    rig.run_ms(60_000);
    let watched = rig.files.calls() - before;
    let looks = 60_000 / Logs::default().poll_idle_ms;
    assert!(
        watched + looks / 2 < polled,
        "{watched} calls, {polled} without the watch"
    );
    // Roused, it is looked at at once, and is not waited for any longer.
    rig.files.append(LOG, lines(10..11));
    rig.catalog.rouse(container, rig.clock.now());
    rig.step();
    assert_eq!(rig.content(WEB), lines(0..11));
    rig.files.append(LOG, lines(11..12));
    rig.run_ms(1_000);
    assert_eq!(rig.content(WEB), lines(0..12));
    // At rest again, it is to be watched again.
    rig.run_ms(30_000);
    awaited(&mut rig);
}

#[test]
fn what_happens_before_or_without_the_event_is_found_nevertheless() {
    // Between the look that found it at rest and the watch.
    let mut rig = resting();
    rig.files.append(LOG, lines(10..11));
    awaited(&mut rig);
    rig.step();
    assert_eq!(rig.content(WEB), lines(0..11));
    // No event comes.
    let mut rig = resting();
    awaited(&mut rig);
    rig.run_ms(10_000);
    rig.files.append(LOG, lines(10..11));
    rig.run_ms(6_000);
    assert_eq!(rig.content(WEB), lines(0..11));
    // Events were lost, and it is known that they were.
    let mut rig = resting();
    awaited(&mut rig);
    rig.run_ms(10_000);
    rig.files.append(LOG, lines(10..11));
    rig.catalog.hint_all();
    rig.step();
    assert_eq!(rig.content(WEB), lines(0..11));
}

#[test]
fn a_worker_that_asks_is_heard_also_about_a_quiet_log() {
    let mut rig = resting();
    let before = rig.files.calls();
    rig.chain(WEB).request_look();
    rig.run_ms(1_000);
    assert!(!rig.chain(WEB).wants_look());
    assert!(rig.files.calls() > before);
}

#[test]
fn hints_make_it_sooner() {
    let mut rig = Rig::new();
    rig.run_ms(10_000);
    rig.catalog.set_watched(Path::new(ROOT), true);
    rig.run_ms(12_345);
    web(&rig);
    rig.catalog.hint(Path::new(POD));
    rig.step();
    assert_eq!(rig.content(WEB), lines(0..10));
    for wish in rig.catalog.take_watch_changes() {
        let text = format!("{wish:?}");
        assert!(
            !text.contains("main"),
            "{text}: a directory that holds logs"
        );
    }
}
