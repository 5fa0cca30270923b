//! The sinks that run: how each is made and started, where it stands in the catalog, how it ends.

use std::path::Path;
use std::sync::Arc;

use super::build::{self, SinkParts};
use super::{StartError, samples, workers};
use crate::admin::SinkStats;
use crate::catalog::feed::{Feed, Shard};
use crate::checkpoint::{Checkpoint, deal, load};
use crate::clock::{Clock, Time};
use crate::config::{Config, Sink};
use crate::files::Files;
use crate::pipeline::board::Board;
use crate::pipeline::drain::After;
use crate::pipeline::worker::Parts;

/// What all sinks are made with.
pub(super) struct Maker<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) files: &'a Arc<dyn Files>,
    pub(super) network: &'a tokio::runtime::Handle,
    pub(super) in_pod: bool,
}

/// Which slots and numbers of the catalog are taken.
pub(super) struct Places {
    slots: Vec<bool>,
    numbers: u64,
}

impl Places {
    pub(super) fn new(slots: usize) -> Places {
        Places {
            slots: vec![false; slots],
            numbers: 0,
        }
    }

    /// A free slot, if there is one.
    fn slot(&mut self) -> Option<usize> {
        let free = self.slots.iter().position(|taken| !taken)?;
        self.take(free);
        Some(free)
    }

    /// Takes that slot.
    pub(super) fn take(&mut self, slot: usize) {
        if let Some(taken) = self.slots.get_mut(slot) {
            *taken = true;
        }
    }

    /// A free number for a feed, if there is one.
    fn number(&mut self) -> Option<usize> {
        let free = self.numbers.trailing_ones();
        self.numbers |= 1_u64.checked_shl(free)?;
        Some(free as usize)
    }

    /// Gives back what a sink had.
    pub(super) fn give_back(&mut self, slot: Option<usize>, feeds: &[Arc<Feed>]) {
        if let Some(taken) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            *taken = false;
        }
        for feed in feeds {
            self.numbers &= !feed.bit();
        }
    }
}

/// A sink that could start at once.
pub(super) struct Made {
    pub(super) sink: Sink,
    pub(super) slot: Option<usize>,
    pub(super) feeds: Vec<Arc<Feed>>,
    boards: Vec<Arc<Board>>,
    workers: Vec<(workers::Bell, Parts, Option<Checkpoint>)>,
    samples: Option<samples::Waiting>,
    stats: Option<Arc<SinkStats>>,
}

impl Maker<'_> {
    /// Makes a sink, in the slot of its predecessor if it had one. What it took of `places` is given back if it fails.
    pub(super) fn make(
        &self,
        sink: &Sink,
        predecessor: Option<usize>,
        places: &mut Places,
    ) -> Result<Made, StartError> {
        let mut made = Made {
            sink: sink.clone(),
            slot: None,
            feeds: Vec::new(),
            boards: Vec::new(),
            workers: Vec::new(),
            samples: None,
            stats: None,
        };
        match self.fill(sink, predecessor, &mut made, places) {
            Ok(()) => Ok(made),
            Err(error) => {
                places.give_back(made.slot, &made.feeds);
                Err(error)
            }
        }
    }

    fn fill(
        &self,
        sink: &Sink,
        predecessor: Option<usize>,
        made: &mut Made,
        places: &mut Places,
    ) -> Result<(), StartError> {
        let mut parts = SinkParts::new(self.config, sink, self.clock, self.network, self.in_pod);
        if sink.signals.metrics {
            made.samples = Some(samples::Waiting::of(&sink.name, &mut parts)?);
        }
        if sink.signals.logs {
            let slot = predecessor.or_else(|| places.slot());
            let slot = slot.ok_or(StartError::TooManySinks)?;
            places.take(slot);
            made.slot = Some(slot);
            self.logs(sink, slot, made, &mut parts, places)?;
        }
        made.stats = parts.stats().map(Arc::new);
        Ok(())
    }

    /// The workers of a sink that takes logs.
    fn logs(
        &self,
        sink: &Sink,
        slot: usize,
        made: &mut Made,
        parts: &mut SinkParts<'_>,
        places: &mut Places,
    ) -> Result<(), StartError> {
        let checkpoints = checkpoints(&self.config.state_dir, sink)?;
        for (worker, checkpoint) in checkpoints.into_iter().enumerate() {
            let shard = Shard {
                sink: slot,
                worker,
                workers: sink.workers,
            };
            let bell = workers::Bell::new();
            let number = places.number().ok_or(StartError::TooManyWorkers)?;
            let feed = Arc::new(Feed::new(shard, number, bell.waker()));
            made.feeds.push(Arc::clone(&feed));
            remember(&feed, checkpoint.as_ref());
            let board = Arc::new(Board::new(&sink.name, worker));
            let its_parts = parts.worker(worker, &bell, &feed, &board, self.files)?;
            made.workers.push((bell, its_parts, checkpoint));
            made.boards.push(board);
        }
        Ok(())
    }
}

/// A sink's checkpoints, one per worker that it has now. None at all: the sink never ran. One that ran and whose files
/// are all damaged has empty ones: it begins again and repeats, for what `read_from` would skip may be undelivered.
fn checkpoints(state_dir: &Path, sink: &Sink) -> Result<Vec<Option<Checkpoint>>, StartError> {
    let loaded = load(&build::sink_directory(state_dir, &sink.name))?;
    if loaded.left.is_empty() && loaded.put_aside.is_empty() {
        return Ok(vec![None; sink.workers]);
    }
    let dealt = deal(loaded.left, sink.workers);
    Ok(dealt.into_iter().map(Some).collect())
}

/// Whose each chain is, before the catalog can ask.
fn remember(feed: &Feed, checkpoint: Option<&Checkpoint>) {
    for chain in checkpoint.iter().flat_map(|checkpoint| &checkpoint.chains) {
        feed.remember(&chain.key());
    }
}

/// A sink that runs.
pub(super) struct Running {
    pub(super) sink: Sink,
    pub(super) slot: Option<usize>,
    pub(super) feeds: Vec<Arc<Feed>>,
    pub(super) boards: Vec<Arc<Board>>,
    workers: Vec<workers::Running>,
    pub(super) samples: Option<samples::Running>,
    pub(super) stats: Option<Arc<SinkStats>>,
}

impl Made {
    /// Starts its threads; none is left running if one cannot be started.
    pub(super) fn start(self, clock: &Arc<dyn Clock>) -> Result<Running, StartError> {
        let mut running = Running {
            sink: self.sink,
            slot: self.slot,
            feeds: self.feeds,
            boards: self.boards,
            workers: Vec::new(),
            samples: None,
            stats: self.stats,
        };
        let mut failed = None;
        for (bell, parts, from) in self.workers {
            match workers::start(bell, parts, from, Arc::clone(clock)) {
                Ok(worker) => running.workers.push(worker),
                Err(error) => failed = Some(error),
            }
        }
        match self.samples.map(|waiting| waiting.start(clock)) {
            Some(Ok(samples)) => running.samples = Some(samples),
            Some(Err(error)) => failed = Some(error),
            None => {}
        }
        let Some(error) = failed else {
            return Ok(running);
        };
        running.drain(clock.now(), After::Reload);
        running.join();
        Err(error)
    }
}

impl Running {
    /// Asks the threads of its logs to send until then what they have read, and to end.
    pub(super) fn drain_logs(&self, until: Time, after: After) {
        for worker in &self.workers {
            worker.drain(until, after);
        }
    }

    /// The same for its samples.
    pub(super) fn drain_samples(&self, until: Time) {
        if let Some(samples) = &self.samples {
            samples.drain(until);
        }
    }

    /// The same for both.
    pub(super) fn drain(&self, until: Time, after: After) {
        self.drain_logs(until, after);
        self.drain_samples(until);
    }

    /// Waits for the end of its threads. Whether all that was read was settled.
    pub(super) fn join(self) -> bool {
        let mut drained = true;
        for worker in self.workers {
            drained &= worker.join();
        }
        if let Some(samples) = self.samples {
            samples.join();
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waker::Waker;

    fn feed(number: usize) -> Arc<Feed> {
        let shard = Shard {
            sink: 0,
            worker: 0,
            workers: 1,
        };
        Arc::new(Feed::new(shard, number, Waker::none()))
    }

    #[test]
    fn places_are_used_once_and_again_when_they_are_given_back() {
        let mut places = Places::new(2);
        assert_eq!(
            [places.slot(), places.slot(), places.slot()],
            [Some(0), Some(1), None]
        );
        let numbers: Vec<_> = (0..=Feed::COUNT_MAX).map(|_| places.number()).collect();
        assert_eq!(numbers[Feed::COUNT_MAX - 1], Some(Feed::COUNT_MAX - 1));
        assert_eq!(numbers[Feed::COUNT_MAX], None);
        places.give_back(Some(0), &[feed(7), feed(63)]);
        assert_eq!(
            (places.slot(), places.number(), places.number()),
            (Some(0), Some(7), Some(63))
        );
        assert_eq!((places.slot(), places.number()), (None, None));
    }
}
