//! What happens in one simulated run: a list of small actions, drawn from a seed or by proptest, and their doing.

use std::rc::Rc;

use longshore::config::multiline::MultilineMode;
use longshore::config::{Logs, RowFormat, Sink};
use longshore::record::Stream;
use proptest::prelude::*;

use super::check::{Allowed, Begun, check};
use super::lines;
use super::model::{Kind, Model};
use super::rig::{ROOT, Rig, sink};
use super::sink::POISON;
use crate::support::sim_files::SimHandle;

/// What happens next. `c` chooses a container, `s` a sink, both modulo how many there are.
#[derive(Clone, Debug)]
pub enum Action {
    /// Whole lines, on both streams.
    Lines {
        c: u8,
        n: u8,
        bytes: u16,
    },
    /// A part of a record that goes on later.
    Part {
        c: u8,
        err: bool,
    },
    /// The end of a record.
    Final {
        c: u8,
        err: bool,
    },
    /// The beginning of a line; the rest follows with the next one.
    Torn {
        c: u8,
    },
    /// Lines of no known format, and an empty record.
    Odd {
        c: u8,
    },
    /// A record of several times the limit, as one line longer than a block, or less.
    Long {
        c: u8,
        blocks: bool,
    },
    Hole {
        c: u8,
        bytes: u16,
    },
    Poison {
        c: u8,
    },
    /// The kubelet rotates but has the log not reopened yet.
    Rename {
        c: u8,
    },
    Reopen {
        c: u8,
    },
    /// So many whole rotations with a line in each, at once.
    Rotate {
        c: u8,
        n: u8,
    },
    Truncate {
        c: u8,
        copy: bool,
    },
    Restart {
        c: u8,
    },
    End {
        c: u8,
        torn: bool,
    },
    Delete {
        c: u8,
    },
    Begin {
        docker: bool,
    },
    /// Reads of the live log, or all uses of its path, fail for a while.
    Fault {
        c: u8,
        path: bool,
        ms: u16,
    },
    Unmount {
        leave: bool,
        ms: u16,
    },
    /// The sink behaves in this way for a while.
    Manner {
        s: u8,
        how: u8,
        ms: u16,
    },
    /// Checkpoints cannot be written, or are late.
    Disk {
        s: u8,
        fails: bool,
        lag_ms: u8,
    },
    Run {
        ms: u16,
    },
    /// The agent is killed, and started after a while, perhaps with another number of workers.
    Crash {
        down_ms: u16,
        workers: u8,
    },
    /// The agent is stopped in order.
    Stop {
        grace_ms: u16,
        workers: u8,
    },
    Down,
    Up,
}

/// Which sink has rules that leave out everything; the one before it has rules that leave out nothing.
const WANTS_NOTHING: usize = 2;

/// The containers and sinks of a run, and its actions.
#[derive(Clone, Debug)]
pub struct Plan {
    pub sinks: u8,
    pub workers: u8,
    pub in_flight: u8,
    pub small_join: bool,
    pub few_files: bool,
    pub actions: Vec<Action>,
}

pub fn action() -> impl Strategy<Value = Action> {
    let c = 0..4_u8;
    prop_oneof![
        12 => (c.clone(), 1..30_u8, 0..300_u16).prop_map(|(c, n, bytes)| Action::Lines { c, n, bytes }),
        5 => (c.clone(), any::<bool>()).prop_map(|(c, err)| Action::Part { c, err }),
        3 => (c.clone(), any::<bool>()).prop_map(|(c, err)| Action::Final { c, err }),
        3 => c.clone().prop_map(|c| Action::Torn { c }),
        2 => c.clone().prop_map(|c| Action::Odd { c }),
        1 => (c.clone(), any::<bool>()).prop_map(|(c, blocks)| Action::Long { c, blocks }),
        1 => (c.clone(), 64..12_000_u16).prop_map(|(c, bytes)| Action::Hole { c, bytes }),
        1 => c.clone().prop_map(|c| Action::Poison { c }),
        4 => c.clone().prop_map(|c| Action::Rename { c }),
        4 => c.clone().prop_map(|c| Action::Reopen { c }),
        2 => (c.clone(), 1..4_u8).prop_map(|(c, n)| Action::Rotate { c, n }),
        1 => (c.clone(), any::<bool>()).prop_map(|(c, copy)| Action::Truncate { c, copy }),
        2 => c.clone().prop_map(|c| Action::Restart { c }),
        1 => (c.clone(), any::<bool>()).prop_map(|(c, torn)| Action::End { c, torn }),
        1 => c.clone().prop_map(|c| Action::Delete { c }),
        2 => any::<bool>().prop_map(|docker| Action::Begin { docker }),
        2 => (c.clone(), any::<bool>(), 1..9_000_u16).prop_map(|(c, path, ms)| Action::Fault { c, path, ms }),
        1 => (any::<bool>(), 1..20_000_u16).prop_map(|(leave, ms)| Action::Unmount { leave, ms }),
        5 => (c.clone(), 0..12_u8, 1..15_000_u16).prop_map(|(s, how, ms)| Action::Manner { s, how, ms }),
        1 => (c, any::<bool>(), any::<u8>()).prop_map(|(s, fails, lag_ms)| Action::Disk { s, fails, lag_ms }),
        12 => (1..1_500_u16).prop_map(|ms| Action::Run { ms }),
        2 => (1_000..30_000_u16).prop_map(|ms| Action::Run { ms }),
        3 => (0..8_000_u16, 0..3_u8).prop_map(|(down_ms, workers)| Action::Crash { down_ms, workers }),
        1 => (0..9_000_u16, 0..3_u8).prop_map(|(grace_ms, workers)| Action::Stop { grace_ms, workers }),
        1 => Just(Action::Down),
        2 => Just(Action::Up),
    ]
}

pub fn plan(most: usize) -> impl Strategy<Value = Plan> {
    let actions = prop::collection::vec(action(), 1..most);
    (
        1..4_u8,
        1..3_u8,
        1..4_u8,
        any::<bool>(),
        any::<bool>(),
        actions,
    )
        .prop_map(
            |(sinks, workers, in_flight, small_join, few_files, actions)| Plan {
                sinks,
                workers,
                in_flight,
                small_join,
                few_files,
                actions,
            },
        )
}

/// A run under way.
struct Run {
    rig: Rig,
    model: Model,
    /// Faults to be mended: when, and what.
    mend: Vec<(u64, Mend)>,
    begun: Vec<Begun>,
    /// Faults may have let a chain be read out of order.
    disordered: bool,
    /// Answers per record, or a payload stepped over, may.
    disordered_sinks: Vec<bool>,
}

#[derive(Clone)]
enum Mend {
    Path(String),
    Reads(Rc<SimHandle>),
    Manner(usize),
    Disk(usize),
}

/// The longest that anything may take to drain once the faults are over: probes, back-offs, stuck payloads.
const DRAIN_MS: u64 = 300_000;

impl Plan {
    /// Does everything, then mends all faults, drains, and checks.
    pub fn run(&self, seed: u64) {
        let mut run = self.begin(seed);
        let traced = std::env::var_os("LONGSHORE_SIM_TRACE").is_some();
        for action in &self.actions {
            if traced {
                eprintln!("{} ms: {action:?}", run.rig.clock.ms());
            }
            run.apply(action, self);
        }
        run.finish();
    }

    fn sinks(&self) -> Vec<Sink> {
        (0..usize::from(self.sinks))
            .map(|at| {
                let mut sink = sink(&format!("sink-{at}"));
                sink.workers = usize::from(self.workers);
                if at == 1 {
                    // No line of these runs begins a trace, so that nothing is different.
                    sink.multiline.mode = MultilineMode::Auto;
                    sink.lines = lines::that_leave_out_nothing();
                }
                if at == WANTS_NOTHING {
                    sink.lines = lines::that_leave_out_all();
                }
                let formats = [RowFormat::Ndjson, RowFormat::Protobuf, RowFormat::JsonArray];
                sink.rows.format = formats[at % formats.len()];
                if at > 0 {
                    sink.limits.requests_in_flight = usize::from(self.in_flight);
                }
                if self.small_join {
                    sink.limits.join_bytes_max = 600;
                }
                sink
            })
            .collect()
    }

    fn begin(&self, seed: u64) -> Run {
        let logs = Logs {
            forget_after_ms: 60_000,
            held_files_max: if self.few_files { 40 } else { 1_024 },
            ..Logs::default()
        };
        let rig = Rig::new(logs, self.sinks(), seed);
        let mut run = Run {
            model: Model::new(&rig.files),
            begun: vec![Vec::new(); rig.places.len()],
            disordered_sinks: vec![false; rig.places.len()],
            rig,
            mend: Vec::new(),
            disordered: false,
        };
        run.model.begin(false);
        run.model.begin(true);
        run.up();
        run
    }
}

impl Run {
    fn up(&mut self) {
        for (begun, place) in self.begun.iter_mut().zip(&self.rig.places) {
            begun.push(place.disk.load());
        }
        self.rig.start();
        self.model.agent_up = true;
        self.model.seen_from_now();
    }

    fn down(&mut self) {
        self.rig.crash();
        self.model.agent_stopped();
    }

    fn restart(&mut self, workers: u8) {
        if workers > 0 {
            for place in &mut self.rig.places {
                place.config.workers = usize::from(workers);
            }
        }
        self.up();
    }

    /// Time passes; what is to be mended meanwhile is.
    fn pass(&mut self, ms: u64) {
        let end_ms = self.rig.clock.ms() + ms;
        loop {
            let now_ms = self.rig.clock.ms();
            let next_ms = self
                .mend
                .iter()
                .map(|(at, _)| *at)
                .min()
                .unwrap_or(u64::MAX);
            self.rig.run_ms(next_ms.clamp(now_ms, end_ms) - now_ms);
            self.model.now_ms = self.rig.clock.ms();
            let due: Vec<_> = self
                .mend
                .extract_if(.., |(at, _)| *at <= self.model.now_ms)
                .collect();
            for (_, mend) in due {
                self.mend_one(&mend);
            }
            if self.rig.clock.ms() >= end_ms {
                return;
            }
        }
    }

    fn mend_one(&mut self, mend: &Mend) {
        match mend {
            Mend::Path(path) => self.rig.files.fail(path, None),
            Mend::Reads(file) => file.fail_reads(None),
            Mend::Manner(at) => self.rig.places[*at]
                .sink
                .set(|manner| *manner = super::sink::Manner::default()),
            Mend::Disk(at) => {
                self.rig.places[*at].disk.set_failing(false);
                self.rig.places[*at].disk.set_lag_ms(0);
            }
        }
        if matches!(mend, Mend::Path(_) | Mend::Reads(_)) {
            self.model.seen_from_now();
        }
    }

    fn chain(&self, c: u8) -> usize {
        usize::from(c) % self.model.chains.len()
    }

    fn apply(&mut self, action: &Action, plan: &Plan) {
        self.model.now_ms = self.rig.clock.ms();
        match action {
            Action::Begin { docker } if self.model.chains.len() < 12 => {
                self.model.begin(*docker);
            }
            Action::Begin { .. } => {}
            Action::Fault { c, path, ms } => self.fault(self.chain(*c), *path, u64::from(*ms)),
            Action::Unmount { leave, ms } => {
                self.rig.files.unmount(ROOT, *leave);
                self.model.seen_from_now();
                self.pass_unmounted(u64::from(*ms), *leave);
            }
            Action::Manner { s, how, ms } => self.manner(*s, *how, u64::from(*ms)),
            Action::Disk { s, fails, lag_ms } => {
                let at = usize::from(*s) % self.rig.places.len();
                self.rig.places[at].disk.set_failing(*fails);
                self.rig.places[at].disk.set_lag_ms(u64::from(*lag_ms) * 10);
                self.mend
                    .push((self.rig.clock.ms() + 8_000, Mend::Disk(at)));
            }
            Action::Run { ms } => self.pass(u64::from(*ms)),
            Action::Crash { down_ms, workers } if self.rig.is_up() => {
                self.down();
                self.pass(u64::from(*down_ms));
                self.restart(*workers);
            }
            Action::Stop { grace_ms, workers } if self.rig.is_up() => {
                self.rig.stop(u64::from(*grace_ms));
                self.model.agent_stopped();
                self.restart(*workers);
            }
            Action::Down if self.rig.is_up() => self.down(),
            Action::Up if !self.rig.is_up() => self.restart(plan.workers),
            Action::Crash { .. } | Action::Stop { .. } | Action::Down | Action::Up => {}
            written => self.write(written),
        }
    }

    /// What containers, runtime and kubelet do.
    fn write(&mut self, action: &Action) {
        let model = &mut self.model;
        let of = |c: &u8| usize::from(*c) % model.chains.len();
        match action {
            Action::Lines { c, n, bytes } => {
                let at = of(c);
                for number in 0..*n {
                    let stream = Stream::ALL[usize::from(number % 3 == 1)];
                    // A record that is open on this stream ends here.
                    let content = text(
                        model.lines.len(),
                        usize::from(*bytes) * usize::from(number % 5) / 4,
                    );
                    model.line(at, Kind::Full, stream, &content, false);
                }
            }
            Action::Part { c, err } => {
                let (at, content) = (of(c), text(model.lines.len(), 150));
                model.line(
                    at,
                    Kind::Part,
                    Stream::ALL[usize::from(*err)],
                    &content,
                    false,
                );
            }
            Action::Final { c, err } => {
                let (at, content) = (of(c), text(model.lines.len(), 60));
                model.line(
                    at,
                    Kind::Full,
                    Stream::ALL[usize::from(*err)],
                    &content,
                    false,
                );
            }
            Action::Torn { c } => {
                let (at, content) = (of(c), text(model.lines.len(), 80));
                model.line(at, Kind::Full, Stream::Stdout, &content, true);
            }
            Action::Odd { c } => odd(model, of(c)),
            Action::Long { c, blocks } => {
                let (at, content) = (
                    of(c),
                    text(model.lines.len(), if *blocks { 40_000 } else { 5_000 }),
                );
                model.line(at, Kind::Full, Stream::Stderr, &content, false);
            }
            Action::Hole { c, bytes } => model.hole(of(c), usize::from(*bytes)),
            Action::Poison { c } => {
                model.line(of(c), Kind::Full, Stream::Stdout, POISON.as_bytes(), false);
            }
            Action::Rename { c } => {
                model.rename(of(c));
            }
            Action::Reopen { c } => model.reopen(of(c)),
            Action::Rotate { c, n } => {
                let at = of(c);
                for _ in 0..*n {
                    model.line(at, Kind::Full, Stream::Stdout, b"before rotation", false);
                    if model.rename(at) {
                        model.line(at, Kind::Full, Stream::Stderr, b"late", false);
                        model.reopen(at);
                    }
                }
            }
            Action::Truncate { c, copy } => model.truncate(of(c), *copy),
            Action::Restart { c } => model.restart(of(c)),
            Action::End { c, torn } => model.end(of(c), !torn),
            Action::Delete { c } => model.delete_pod(of(c)),
            _ => unreachable!(),
        }
    }

    fn fault(&mut self, at: usize, path: bool, ms: u64) {
        let file = *self.model.chains[at].files.last().unwrap();
        let Some(name) = self.model.logs[file].path.clone() else {
            return;
        };
        self.disordered = true;
        let until = self.rig.clock.ms() + ms;
        if path {
            self.rig.files.fail(&name, Some(libc::EACCES));
            self.mend.push((until, Mend::Path(name)));
        } else {
            let file = Rc::new(self.rig.files.writer(&name));
            file.fail_reads(Some(libc::EIO));
            self.mend.push((until, Mend::Reads(file)));
        }
        self.model.seen_from_now();
    }

    fn pass_unmounted(&mut self, ms: u64, leave: bool) {
        self.disordered = true;
        let end_ms = self.rig.clock.ms() + ms;
        // Faults are set by path, and there are no paths now.
        self.rig.run_ms(ms);
        assert_eq!(self.rig.clock.ms(), end_ms);
        if leave {
            self.rig.files.unlink(ROOT);
        }
        self.rig.files.mount(ROOT);
        self.model.now_ms = end_ms;
        self.model.seen_from_now();
    }

    fn manner(&mut self, s: u8, how: u8, ms: u64) {
        let at = usize::from(s) % self.rig.places.len();
        self.rig.places[at].sink.set(|manner| match how {
            0 => manner.latency_ms = 2_000,
            1 => manner.retry = 60,
            2 => (manner.retry, manner.retry_after_ms) = (50, Some(3_000)),
            3 => manner.ambiguous = 50,
            4 => manner.split_above_bytes = 1_500,
            5 => manner.bisects = true,
            6 => manner.pauses = true,
            7 => manner.items = Some(20),
            8 => manner.busy = 50,
            9 => manner.dead = true,
            10 => (manner.chokes, manner.ambiguous) = (true, 10),
            _ => (manner.bisects, manner.retry, manner.latency_ms) = (true, 30, 300),
        });
        // Back-off beyond the time to stuck steps over a payload.
        self.disordered_sinks[at] |= matches!(how, 2 | 6 | 7 | 9 | 10 | 5 | 11);
        self.mend.push((self.rig.clock.ms() + ms, Mend::Manner(at)));
    }

    /// Mends everything, lets every container say a last word, and waits. Invariant (g): all of it drains.
    fn finish(mut self) {
        for (_, mend) in std::mem::take(&mut self.mend) {
            self.mend_one(&mend);
        }
        if !self.rig.is_up() {
            self.up();
        }
        for _ in 0..4 {
            for at in 0..self.model.chains.len() {
                self.model.reopen(at);
                self.model
                    .line(at, Kind::Full, Stream::Stdout, b"the last word", false);
            }
            self.pass(10_000);
        }
        self.model.check_paths();
        let quiet = |rig: &Rig| {
            rig.places.iter().all(|place| {
                place
                    .views
                    .iter()
                    .all(|view| view.payloads_waiting == 0 && view.join_bytes == 0)
            })
        };
        let drained = self.rig.run_until(DRAIN_MS, quiet);
        for place in self.rig.places.iter().filter(|_| !drained) {
            for view in &place.views {
                eprintln!(
                    "{}: {:?} {:?}",
                    place.config.name, view.health, view.last_error
                );
                for chain in &view.chains {
                    eprintln!(
                        "{} {:?} {:?} {:?}",
                        chain.meta.key, chain.accounts, chain.segments, chain.error
                    );
                }
            }
        }
        assert!(drained, "it does not drain");
        // Files without a name are settled after a while of quiet.
        self.rig.run_ms(150_000);
        for number in 0..self.rig.places.len() {
            if number == WANTS_NOTHING {
                lines::check_that_nothing_came(&self.rig, number);
                continue;
            }
            let ordered = !self.disordered
                && !self.disordered_sinks[number]
                && self.rig.places[number].config.limits.requests_in_flight == 1;
            check(
                &self.model,
                &self.rig,
                number,
                &self.begun[number],
                Allowed { ordered },
            );
        }
    }
}

/// Text of a length, which differs from line to line.
fn text(number: usize, bytes: usize) -> Vec<u8> {
    let mut text = format!("line {number} ").into_bytes();
    while text.len() < bytes {
        text.push(b'a' + (text.len() * 7 + number) as u8 % 26);
    }
    text
}

/// Lines of no known format, bytes that are not UTF-8, and an empty record.
fn odd(model: &mut Model, at: usize) {
    let number = model.lines.len();
    model.line(
        at,
        Kind::Raw,
        Stream::Stdout,
        format!("#{number} no line of ours").as_bytes(),
        false,
    );
    model.line(at, Kind::Raw, Stream::Stdout, b"", false);
    model.line(at, Kind::Full, Stream::Stdout, b"", false);
    if !model.chains[at].docker {
        model.line(
            at,
            Kind::Full,
            Stream::Stderr,
            b"\xff\xfe bytes \x00 \r",
            false,
        );
        model.line(
            at,
            Kind::Part,
            Stream::Stdout,
            b"cut in a character \xe2\x82",
            false,
        );
        model.line(at, Kind::Full, Stream::Stdout, b"\xac and on", false);
    }
}
