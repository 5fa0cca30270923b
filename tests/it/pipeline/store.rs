//! A checkpoint store whose disk outlives its worker, lags, and may fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore::checkpoint::{Checkpoint, Left, Store, deal, decode, encode};
use longshore::config::Sink;
use longshore::pipeline::board::Counters;

use crate::support::sim_clock::SimClock;

/// What of one sink's checkpoints is durable, by file name.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<DiskState>>);

#[derive(Default)]
struct DiskState {
    files: BTreeMap<(usize, usize), Vec<u8>>,
    failing: bool,
    lag_ms: u64,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes take this long from now on; what is under way in a crash is gone.
    pub fn set_lag_ms(&self, lag_ms: u64) {
        self.lock().lag_ms = lag_ms;
    }

    /// Writes fail from now on, or do not.
    pub fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// Everything durable; nothing: the sink never ran.
    fn left(&self) -> Vec<Left> {
        let state = self.lock();
        let files = state.files.iter();
        files
            .map(|((workers, worker), bytes)| Left {
                worker: *worker,
                workers: *workers,
                checkpoint: decode(bytes).unwrap(),
            })
            .collect()
    }

    /// Everything durable together.
    pub fn load(&self) -> Option<Checkpoint> {
        let left = self.left();
        (!left.is_empty()).then(|| deal(left, 1).remove(0))
    }

    /// As the agent deals them out to its workers.
    pub fn load_for(&self, sink: &Sink) -> Vec<Option<Checkpoint>> {
        let left = self.left();
        if left.is_empty() {
            return vec![None; sink.workers];
        }
        deal(left, sink.workers).into_iter().map(Some).collect()
    }

    fn write(&self, worker: usize, workers: usize, checkpoint: &Checkpoint) -> bool {
        let mut state = self.lock();
        if state.failing {
            return false;
        }
        let mut bytes = Vec::new();
        encode(checkpoint, &mut bytes).unwrap();
        assert_eq!(
            &decode(&bytes).unwrap(),
            checkpoint,
            "a checkpoint does not survive its encoding"
        );
        state.files.insert((workers, worker), bytes);
        if state.files.keys().filter(|(of, _)| *of == workers).count() == workers {
            state.files.retain(|(of, _), _| *of == workers);
        }
        true
    }
}

/// One worker's way to the disk.
pub struct SimStore {
    pub disk: Disk,
    pub clock: SimClock,
    pub worker: usize,
    pub workers: usize,
    pub waiting: VecDeque<(u64, Checkpoint)>,
}

impl SimStore {
    fn flush(&mut self, counters: &mut Counters, all: bool) -> bool {
        let mut any = false;
        while let Some((due_ms, _)) = self.waiting.front()
            && (all || *due_ms <= self.clock.ms())
        {
            let (_, checkpoint) = self.waiting.pop_front().unwrap();
            match self.disk.write(self.worker, self.workers, &checkpoint) {
                true => counters.checkpoints += 1,
                false => counters.checkpoint_failures += 1,
            }
            any = true;
        }
        any
    }
}

impl Store for SimStore {
    fn save(&mut self, checkpoint: Checkpoint) {
        let lag_ms = self.disk.lock().lag_ms;
        // One is being written, one waits and is replaced by a newer one.
        self.waiting.truncate(1);
        self.waiting
            .push_back((self.clock.ms() + lag_ms, checkpoint));
    }

    fn poll(&mut self, counters: &mut Counters) -> bool {
        self.flush(counters, false)
    }

    fn finish(&mut self, counters: &mut Counters) {
        self.flush(counters, true);
    }
}
