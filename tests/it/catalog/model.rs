//! A random kubelet, runtime and reader against the catalog.

use std::collections::{BTreeMap, BTreeSet};

use longshore::catalog::chain::Identity;
use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Action {
    /// The container writes this many lines.
    Write(u8),
    /// The container writes a piece without a line end.
    WritePart,
    /// The kubelet compresses what is plain, deletes what is too much, and renames.
    Rename,
    /// The runtime reopens its log; without a rename before, nothing.
    Reopen,
    /// The container starts again.
    Restart,
    /// The reader reads all it can.
    Read,
    /// Time passes.
    Run(u16),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..20_u8).prop_map(Action::Write),
        1 => Just(Action::WritePart),
        3 => Just(Action::Rename),
        4 => Just(Action::Reopen),
        1 => Just(Action::Restart),
        1 => Just(Action::Read),
        3 => (0..80_u16).prop_map(Action::Run),
        2 => Just(Action::Run(1_000)),
        1 => Just(Action::Run(9_000)),
    ]
}

/// How files begin.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// With a timestamp each.
    Stamped,
    /// All with the same line.
    Alike,
}

/// One file that the runtime wrote.
#[derive(Debug)]
struct Written {
    restart: u32,
    content: String,
    /// It had a name for longer than the catalog may take to look.
    surely_seen: bool,
    named: bool,
}

struct Model {
    rig: Rig,
    style: Style,
    files: Vec<Written>,
    writer: crate::support::sim_files::SimHandle,
    restart: u32,
    renamed: bool,
    rotated: Vec<(String, usize)>,
    numbers: u64,
    held_max: usize,
    linked: bool,
    got: BTreeMap<u64, (u32, Vec<u8>)>,
}

const FILES_KEPT: usize = 3;

impl Model {
    fn new(style: Style, held_max: usize, linked: bool) -> Model {
        let logs = Logs {
            held_files_max: held_max,
            ..Logs::default()
        };
        let rig = Rig::with(logs, None);
        rig.files.mkdir(DIR);
        if linked {
            rig.files.mkdir(LINKS);
        }
        let writer = rig.files.writer(LOG);
        let mut model = Model {
            rig,
            style,
            files: Vec::new(),
            writer,
            restart: 0,
            renamed: false,
            rotated: Vec::new(),
            numbers: 0,
            held_max,
            linked,
            got: BTreeMap::new(),
        };
        model.begin();
        model.link();
        model
    }

    /// The kubelet's link for the container instance that runs now.
    fn link(&self) {
        if self.linked {
            let link = format!("{LINKS}/web-1_default_main-{:064x}.log", self.restart);
            self.rig.files.symlink(self.live(), link);
        }
    }

    fn live(&self) -> String {
        format!("{DIR}/{}.log", self.restart)
    }

    fn begin(&mut self) {
        self.writer = self.rig.files.writer(self.live());
        self.files.push(Written {
            restart: self.restart,
            content: String::new(),
            surely_seen: false,
            named: true,
        });
        self.renamed = false;
    }

    fn write(&mut self, text: &str) {
        // Neither first line nor length could tell alike files of equal length apart.
        let padding = "x".repeat(self.files.len());
        let file = self.files.last_mut().unwrap();
        let alike = matches!(self.style, Style::Alike) && file.content.is_empty();
        let text = if alike {
            format!("hello\n{padding}{text}")
        } else {
            text.to_owned()
        };
        file.content.push_str(&text);
        self.writer.append(text.as_bytes());
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Write(count) => {
                for _ in 0..*count {
                    self.numbers += 1;
                    self.write(&line(self.numbers));
                }
            }
            Action::WritePart => {
                self.numbers += 1;
                let text = line(self.numbers);
                self.write(text.trim_end());
            }
            Action::Rename if !self.renamed => self.rename(),
            Action::Reopen if self.renamed => self.begin(),
            Action::Restart => {
                if self.renamed {
                    self.begin();
                }
                self.restart += 1;
                self.rotated.clear();
                self.begin();
                self.link();
            }
            Action::Rename | Action::Reopen => {}
            Action::Read => self.read(),
            Action::Run(ms) => self.run(u64::from(*ms)),
        }
    }

    fn rename(&mut self) {
        while self.rotated.len() > FILES_KEPT {
            let (path, index) = self.rotated.remove(0);
            self.rig.files.unlink(path);
            self.files[index].named = false;
        }
        for (path, _) in &mut self.rotated {
            if !path.ends_with(".gz") {
                self.rig.files.gzip(&path);
                path.push_str(".gz");
            }
        }
        self.numbers += 1;
        let to = format!("{}.20240101-{:06}", self.live(), self.numbers);
        self.rig.files.rename(self.live(), &to);
        self.rotated.push((to, self.files.len() - 1));
        self.renamed = true;
    }

    fn run(&mut self, ms: u64) {
        self.rig.run_ms(ms);
        if ms >= 1_000 {
            for file in self.files.iter_mut().filter(|file| file.named) {
                file.surely_seen = true;
            }
        }
        assert!(self.rig.files.handles() <= self.held_max);
        assert!(self.rig.files.handles_most() <= self.held_max.max(1));
        self.check_no_file_is_two_segments();
    }

    fn check_no_file_is_two_segments(&self) {
        let mut seen = BTreeSet::new();
        for segment in self
            .rig
            .chains
            .values()
            .flat_map(|chain| chain.segments().to_vec())
        {
            let Some(handle) = &segment.source().handle else {
                continue;
            };
            let meta = handle.meta().unwrap();
            assert!(
                seen.insert((meta.device, meta.inode)),
                "{segment:?} is another one too"
            );
        }
    }

    /// What a worker does: reads every segment that has an identity, checks what it opens itself, settles what is
    /// over.
    fn read(&mut self) {
        for chain in self.rig.chains.values() {
            let restart = chain.meta().key.restart;
            for segment in chain.segments().iter() {
                let got = &mut self
                    .got
                    .entry(segment.serial)
                    .or_insert((restart, Vec::new()))
                    .1;
                if segment.gone().is_none()
                    && let Some(identity) = segment.identity()
                    && let Ok(opened) = segment.open(&self.rig.files)
                {
                    drop(opened);
                    let content = self.rig.read_segment(segment);
                    if Identity::of_ended(&content) != identity {
                        chain.request_look();
                        continue;
                    }
                    assert!(content.starts_with(got), "{segment:?} is not what it was");
                    *got = content;
                    segment.pass(0, got.len() as u64);
                }
                if segment.finished() || segment.gone().is_some() {
                    segment.pass(0, u64::MAX);
                }
            }
        }
    }

    /// Every byte is in exactly one segment's account, and segments are in the order of writing.
    fn check(mut self) {
        self.apply(&Action::Reopen);
        self.apply(&Action::Write(1));
        self.run(75_000);
        self.read();
        self.run(25_000);
        self.read();
        let mut matched = BTreeSet::new();
        let mut last = BTreeMap::new();
        for (serial, (restart, content)) in &self.got {
            if content.is_empty() {
                continue;
            }
            let text = std::str::from_utf8(content).unwrap();
            let whole = |file: &Written| file.restart == *restart && file.content.starts_with(text);
            // Alike files begin alike: the one that is equal, or else one that this is the beginning of.
            let equal = self
                .files
                .iter()
                .position(|file| file.restart == *restart && file.content == text);
            let index = equal.or_else(|| self.files.iter().position(whole));
            let index = index.unwrap_or_else(|| panic!("segment {serial} is no file: {text}"));
            assert!(matched.insert(index), "file {index} is read twice");
        }
        for (index, file) in self.files.iter().enumerate() {
            let must = file.named || (file.surely_seen && self.held_max > 0);
            if must && !file.content.is_empty() {
                let complete = self.got.values().any(|(restart, content)| {
                    *restart == file.restart && content == file.content.as_bytes()
                });
                assert!(
                    complete,
                    "file {index} is not complete: {file:?}\n{:?}",
                    self.rig.chains
                );
            }
        }
        for chain in self.rig.chains.values() {
            for segment in chain
                .segments()
                .iter()
                .filter(|segment| segment.gone().is_none())
            {
                let Some((_, content)) = self.got.get(&segment.serial) else {
                    continue;
                };
                assert_eq!(segment.len_bytes(), content.len() as u64, "{segment:?}");
                let at = self
                    .files
                    .iter()
                    .position(|file| file.content.as_bytes() == content);
                if let Some(at) = at.filter(|_| !content.is_empty()) {
                    let before = last.insert(chain.hash, at);
                    assert!(
                        before.is_none_or(|before| before < at),
                        "out of order: {chain:?}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// For all sequences of writes, rotations, restarts, reads and looks: every file that the catalog had time to
    /// see is exactly one segment with exactly its bytes, in the order of writing, and descriptors stay within
    /// their budget. A file is not complete only if it was deleted while none was allowed.
    #[test]
    fn every_file_is_one_segment(
        actions in prop::collection::vec(action(), 1..60),
        alike in any::<bool>(),
        held_max in prop_oneof![Just(64_usize), Just(0)],
        linked in any::<bool>(),
    ) {
        // Without a descriptor, a reader cannot tell files apart that begin alike: it has to compare more.
        let style = if alike && held_max > 0 { Style::Alike } else { Style::Stamped };
        let mut model = Model::new(style, held_max, linked);
        for action in &actions {
            model.apply(action);
        }
        model.check();
    }
}
