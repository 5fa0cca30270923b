//! The invariants: what was written against what arrived, line by line and byte by byte.

use std::collections::{BTreeMap, HashMap, HashSet};

use longshore::catalog::chain::Loss;
use longshore::checkpoint::Checkpoint;
use longshore::encode::record_uid;
use longshore::pipeline::ledger::{Accounts, Drop};
use longshore::record::{Flags, Level, Record, Stream, TimeText};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::model::{Kind, Model, number_of};
use super::rig::{Place, Rig};
use super::sink::{POISON, Row, Taken};

/// Which lines a row was made of.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The parts, in order.
    pub lines: Vec<usize>,
    /// Bytes of content beyond the record limit.
    pub too_long: u64,
    /// A line longer than a block: its line end is beyond too.
    pub split: bool,
}

/// What one sink got.
pub struct Arrived<'a> {
    model: &'a Model,
    place: &'a Place,
    /// Rows without a timestamp of their own, by uid.
    raw: HashMap<u128, usize>,
    /// Lines that arrived, or were refused.
    pub covered: Vec<bool>,
    /// Of those, lines that were refused.
    pub refused: Vec<bool>,
    too_long: HashMap<usize, u64>,
    splits: u64,
    partial_ends: HashSet<usize>,
}

/// Bytes of a line's block that are kept for the frontier.
const FRONTIER_BYTES: u64 = 16;

impl<'a> Arrived<'a> {
    /// Looks at all rows that the sink took. Invariant (e): each is exactly a record that was written, with its flags;
    /// (i) its uid is that of its place.
    pub fn new(model: &'a Model, place: &'a Place) -> Arrived<'a> {
        let mut arrived = Arrived {
            model,
            place,
            raw: HashMap::new(),
            covered: vec![false; model.lines.len()],
            refused: vec![false; model.lines.len()],
            too_long: HashMap::new(),
            splits: 0,
            partial_ends: HashSet::new(),
        };
        arrived.find_raw();
        arrived
    }

    fn find_raw(&mut self) {
        for (number, line) in self.model.lines.iter().enumerate() {
            if line.kind == Kind::Hole {
                continue;
            }
            for end in self.ends(number) {
                let uid = self.uid(number, number, end, Stream::Stdout);
                self.raw.insert(uid, number);
            }
        }
    }

    fn block_bytes(&self) -> u64 {
        let limits = &self.place.config.limits;
        limits.block_bytes.max(limits.record_bytes_max + 8 * 1024) as u64
    }

    /// Where a record may end in its last line.
    fn ends(&self, number: usize) -> Vec<u64> {
        let line = &self.model.lines[number];
        let cut = self.block_bytes() - FRONTIER_BYTES;
        if line.end - line.start > cut {
            vec![line.end, line.start + cut]
        } else {
            vec![line.end]
        }
    }

    fn uid(&self, first: usize, last: usize, end: u64, stream: Stream) -> u128 {
        let (first, last) = (&self.model.lines[first], &self.model.lines[last]);
        let file = &self.model.logs[last.file];
        let key = self.model.chains[file.chain].key.to_string();
        let seed = xxh3_64_with_seed(key.as_bytes(), file.identity());
        let record = Record {
            time: &TimeText::EPOCH,
            stream,
            message: b"",
            level: Level::Unknown,
            flags: Flags::NONE,
            start: if first.file == last.file {
                first.start
            } else {
                0
            },
            end,
        };
        record_uid(seed, &record)
    }

    /// Finds the lines of a row and compares everything about it.
    pub fn row(&mut self, row: &Row) -> Extent {
        let uid = u128::from_str_radix(&row.record_uid, 16).unwrap();
        let (lines, end) = match number_of(&row.time_generated) {
            Some(first) if !row.has("unparsed") => self.parts(first, uid, row),
            _ => {
                let found = self.raw.get(&uid).copied();
                let number = found.unwrap_or_else(|| panic!("nobody wrote {row:?}"));
                let ends = self.ends(number);
                let end = ends
                    .into_iter()
                    .find(|end| self.uid(number, number, *end, Stream::Stdout) == uid);
                (vec![number], end.unwrap())
            }
        };
        let raw = row.has("unparsed");
        let mut content = Vec::new();
        for number in &lines {
            let is_last = lines.last() == Some(number);
            let end = if is_last {
                end
            } else {
                self.model.lines[*number].end
            };
            content.extend(self.content(*number, raw, end));
        }
        let last = &self.model.lines[*lines.last().unwrap()];
        let split = end < last.end;
        let most = self.place.config.limits.record_bytes_max;
        let unread = if split {
            (last.end - 1 - end) as usize
        } else {
            0
        };
        let too_long = (content.len() + unread).saturating_sub(most) as u64;
        content.truncate(most);
        assert_eq!(
            row.log_message,
            String::from_utf8_lossy(&content),
            "{row:?} of {lines:?}"
        );
        let partial = !last.whole || (last.kind == Kind::Part && !raw);
        assert_eq!(row.has("partial"), partial, "{row:?} of {last:?}");
        assert_eq!(row.has("cut"), too_long > 0 || split, "{row:?} of {last:?}");
        let chain = self.model.logs[last.file].chain;
        assert_eq!(
            format!("uid-{}", &row.pod_name[4..]),
            self.model.chains[chain].key.pod_uid
        );
        assert_eq!(
            (row.pod_namespace.as_str(), row.container_name.as_str()),
            ("ns", "main")
        );
        if partial {
            self.partial_ends.insert(*lines.last().unwrap());
        }
        Extent {
            lines,
            too_long,
            split,
        }
    }

    fn parts(&self, first: usize, uid: u128, row: &Row) -> (Vec<usize>, u64) {
        let mut lines = vec![first];
        loop {
            let last = *lines.last().unwrap();
            let line = &self.model.lines[last];
            assert_eq!(line.stream.as_str(), row.log_source, "{row:?}");
            for end in self.ends(last) {
                if self.uid(first, last, end, line.stream) == uid {
                    return (lines, end);
                }
            }
            let next = line.next;
            lines.push(
                next.unwrap_or_else(|| {
                    panic!("{row:?} ends nowhere: {:?}", self.model.lines[first])
                }),
            );
        }
    }

    fn content(&self, number: usize, raw: bool, end: u64) -> Vec<u8> {
        let line = &self.model.lines[number];
        let written = (end.min(line.end) - line.start) as usize;
        if raw {
            let bytes = &self.model.logs[line.file].bytes[line.start as usize..][..written];
            return bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec();
        }
        let kept = written
            .saturating_sub(line.header as usize)
            .min(line.content.len());
        line.content[..kept].to_vec()
    }

    /// Takes note of a row's lines.
    pub fn cover(&mut self, extent: &Extent, refused: bool) {
        let last = *extent.lines.last().unwrap();
        for number in &extent.lines {
            self.covered[*number] = true;
            self.refused[*number] |= refused;
        }
        if extent.too_long > 0 && self.too_long.insert(last, extent.too_long).is_none() {
            self.splits += u64::from(extent.split);
        }
    }

    /// A record begins at its first part, or where an earlier delivery of it was cut off, or behind what was lost.
    fn check_begin(&self, extent: &Extent) {
        let first = &self.model.lines[extent.lines[0]];
        if let Some(before) = first.before {
            let lost = self.model.logs[self.model.lines[before].file].may_lose;
            assert!(
                self.partial_ends.contains(&before) || lost,
                "a record begins in its middle, at {first:?}"
            );
        }
    }
}

/// What a run allows.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// First deliveries are in order.
    pub ordered: bool,
}

/// The checkpoints that each life began with.
pub type Begun = Vec<Option<Checkpoint>>;

/// Everything about one sink, once all is quiet.
pub fn check(model: &Model, rig: &Rig, number: usize, begun: &Begun, allowed: Allowed) {
    let place = &rig.places[number];
    let name = &place.config.name;
    let mut arrived = Arrived::new(model, place);
    let (taken, letters) = {
        let sink = place.sink.lock();
        (sink.taken.clone(), sink.letters.clone())
    };
    let arrived_rows = taken.clone();
    let mut last_of: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut sure: HashSet<(u32, usize)> = HashSet::new();
    let mut extents = Vec::new();
    for taken in &taken {
        let extent = arrived.row(&taken.row);
        let last = *extent.lines.last().unwrap();
        let line = &model.lines[last];
        let ordered = allowed.ordered && !taken.row.has("unparsed");
        if ordered && extent.lines.iter().any(|line| !arrived.covered[*line]) {
            let key = (model.logs[line.file].chain, line.stream.index());
            let before = last_of.insert(key, last);
            assert!(
                before.is_none_or(|before| before < last),
                "{name}: out of order: {taken:?} after {before:?}"
            );
        }
        for line in &extent.lines {
            let others = || all_of(&arrived_rows, &taken.row.record_uid);
            assert!(
                !sure.contains(&(taken.life, *line)),
                "{name}: {:?} was accepted before in the same life: {:#?}",
                model.lines[*line],
                others()
            );
            if !taken.ambiguous {
                sure.insert((taken.life, *line));
            }
        }
        let durable = begun.get(taken.life as usize - 1).and_then(Option::as_ref);
        assert!(
            !was_durable(model, durable, last),
            "{name}: {taken:?} was durable before"
        );
        arrived.cover(&extent, false);
        extents.push(extent);
    }
    for letter in &letters {
        assert!(
            letter.log_message.contains(POISON),
            "{name}: {letter:?} is no dead letter"
        );
        let extent = arrived.row(letter);
        arrived.cover(&extent, true);
        extents.push(extent);
    }
    for extent in &extents {
        arrived.check_begin(extent);
    }
    arrived.check_all(name);
}

fn all_of<'a>(taken: &'a [Taken], uid: &str) -> Vec<&'a Taken> {
    taken
        .iter()
        .filter(|taken| taken.row.record_uid == uid)
        .collect()
}

/// Whether the checkpoint says that the line was settled.
fn was_durable(model: &Model, checkpoint: Option<&Checkpoint>, number: usize) -> bool {
    let line = &model.lines[number];
    let file = &model.logs[line.file];
    let key = &model.chains[file.chain].key;
    let chain = checkpoint.and_then(|all| all.chains.iter().find(|chain| chain.key() == *key));
    let identity = file.identity();
    let segment = chain.and_then(|chain| {
        chain
            .segments
            .iter()
            .find(|saved| saved.identity == identity)
    });
    let stream = if line.kind == Kind::Raw {
        None
    } else {
        Some(line.stream.index())
    };
    segment.is_some_and(|saved| match stream {
        Some(stream) => line.end <= saved.cursors[stream],
        None => line.end <= saved.read,
    })
}

/// Sums over some files of what should be in the accounts.
#[derive(Debug, Default)]
struct Expected {
    /// Lengths of files that cannot have been lost.
    safe: u64,
    /// Lengths of all files.
    all: u64,
    /// Unfinished last lines of live files.
    tails: u64,
    /// Bytes and lines that arrived, what is too long in them not.
    arrived: (u64, u64),
    refused: (u64, u64),
    holes: u64,
    too_long: u64,
}

impl Arrived<'_> {
    /// Invariant (b): every line of a file that could be read arrived, and the accounts say exactly how much did.
    fn check_all(&self, name: &str) {
        let mut totals = Accounts::default();
        let mut sum = Expected::default();
        let mut splits = 0;
        for view in &self.place.views {
            totals += &view.totals;
            splits += view.counters.records_cut;
        }
        for at in 0..self.model.chains.len() {
            let expected = self.expect(at, name);
            let key = &self.model.chains[at].key;
            let found = self
                .place
                .views
                .iter()
                .flat_map(|view| &view.chains)
                .find(|view| view.meta.key == *key);
            if let Some(view) = found {
                compare(
                    &format!("{name}: {key}"),
                    &view.accounts,
                    &expected,
                    self.splits.max(splits),
                );
            }
            sum.add(&expected);
        }
        compare(
            &format!("{name}: totals"),
            &totals,
            &sum,
            self.splits.max(splits),
        );
    }

    fn expect(&self, at: usize, name: &str) -> Expected {
        let mut expected = Expected::default();
        for file in &self.model.chains[at].files {
            let log = &self.model.logs[*file];
            let len = log.bytes.len() as u64;
            expected.all += len;
            expected.safe += if log.may_lose { 0 } else { len };
            for number in &log.lines {
                let line = &self.model.lines[*number];
                let bytes = line.end - line.start;
                let too_long = self.too_long.get(number).copied().unwrap_or(0);
                if line.kind == Kind::Hole {
                    expected.holes += bytes;
                } else if !self.covered[*number] {
                    let tail = !line.whole && self.is_open_tail(*file);
                    assert!(
                        tail || log.may_lose,
                        "{name}: {line:?} of {} is missing",
                        self.model.chains[at].key
                    );
                    expected.tails += if tail { bytes } else { 0 };
                } else if self.refused[*number] {
                    expected.refused.0 += bytes;
                    expected.refused.1 += 1;
                } else {
                    expected.arrived.0 += bytes;
                    expected.arrived.1 += 1;
                }
                expected.too_long += too_long;
            }
        }
        expected
    }

    /// Whether the runtime may still finish the last line.
    fn is_open_tail(&self, file: usize) -> bool {
        let log = &self.model.logs[file];
        let chain = &self.model.chains[log.chain];
        let later = |other: &super::model::Chain| {
            other.dir == chain.dir && other.key.restart > chain.key.restart
        };
        chain.files.last() == Some(&file) && !chain.deleted && !self.model.chains.iter().any(later)
    }
}

impl Expected {
    fn add(&mut self, other: &Expected) {
        self.safe += other.safe;
        self.all += other.all;
        self.tails += other.tails;
        self.arrived.0 += other.arrived.0;
        self.arrived.1 += other.arrived.1;
        self.refused.0 += other.refused.0;
        self.refused.1 += other.refused.1;
        self.holes += other.holes;
        self.too_long += other.too_long;
    }
}

/// The accounts against what they should be: equal where nothing can have been lost, else between bounds.
fn compare(name: &str, accounts: &Accounts, expected: &Expected, splits: u64) {
    let dropped = |why: Drop| accounts.dropped[why as usize];
    let all = format!("{name}: {accounts:?} against {expected:?}");
    let refused = dropped(Drop::Rejected);
    let too_long = dropped(Drop::TooLong).bytes;
    let delivered = accounts.delivered.bytes + too_long + refused.bytes;
    let arrived = expected.arrived.0 + expected.refused.0;
    assert_eq!(dropped(Drop::DeadLetterFull).bytes, 0, "{all}");
    assert_eq!(accounts.pending, expected.tails, "{all}");
    // What was written after a truncation is taken for growth until it is found out, and then for lost.
    let twice = accounts.lost[Loss::Truncated as usize];
    assert!(
        accounts.seen >= expected.safe && accounts.seen <= expected.all + twice,
        "{all}"
    );
    if expected.safe < expected.all {
        assert!(
            delivered <= arrived,
            "more is called delivered than arrived: {all}"
        );
        return;
    }
    assert_eq!(accounts.lost.iter().sum::<u64>(), 0, "{all}");
    assert_eq!(delivered, arrived, "{all}");
    assert_eq!(dropped(Drop::NulHole).bytes, expected.holes, "{all}");
    assert_eq!(
        accounts.delivered.lines + refused.lines,
        expected.arrived.1 + expected.refused.1,
        "{all}"
    );
    assert!(
        too_long >= expected.too_long && too_long <= expected.too_long + splits,
        "{all}"
    );
}
