//! Kafka's protocol, spoken to Kafka and to Azure Event Hubs: payloads of frames become messages, keyed by container.
//!
//! Owns the attempts under way on a tokio runtime that another thread drives; one at a time, so that the records of a
//! container arrive in order. Invariant: every attempt that [`Transport::try_submit`] took gets exactly one verdict. A
//! record is accepted when all replicas in sync have it (acks=all). What is sent again after an answer was lost may be
//! stored twice: each message names the uids of its records in its header `record_uid`.

mod batch;
mod cluster;
mod connection;
mod credentials;
mod lane;
mod messages;
mod partition;
mod sasl;
mod verdict;
mod wire;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::cluster::Cluster;
use super::outbox::{Outbox, Pending};
use super::{Attempt, Transport, Verdict};
use crate::clock::Clock;
use crate::config::{Compression, KafkaSink, RowFormat};
use crate::waker::Waker;

/// Attempts that are taken at once. A further one could overtake the records that the first has to send again.
pub const ATTEMPTS_MAX: usize = 1;

/// How messages are made and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// How several rows make the value of one message.
    pub format: RowFormat,
    /// Of each batch of messages.
    pub compression: Compression,
}

/// The transport of a `kafka` sink.
pub struct Kafka {
    cluster: Arc<Mutex<Cluster>>,
    runtime: Handle,
    /// Dropping the set cancels what is still under way.
    tasks: JoinSet<()>,
    outbox: Arc<Outbox>,
    in_flight: usize,
}

impl Kafka {
    /// A transport. Connects only when the first attempt is made.
    pub fn start(
        config: &KafkaSink,
        batches: Batches,
        clock: Arc<dyn Clock>,
        runtime: &Handle,
        waker: Waker,
    ) -> Kafka {
        Kafka {
            cluster: Arc::new(Mutex::new(Cluster::new(config, batches, clock))),
            runtime: runtime.clone(),
            tasks: JoinSet::new(),
            outbox: Outbox::new(waker),
            in_flight: 0,
        }
    }
}

impl Transport for Kafka {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        if self.in_flight >= ATTEMPTS_MAX {
            return Err(attempt);
        }
        self.in_flight += 1;
        let pending = Pending::new(attempt, Arc::clone(&self.outbox));
        let cluster = Arc::clone(&self.cluster);
        self.tasks.spawn_on(
            async move {
                let attempt = pending.attempt.clone();
                let verdict = Box::pin(async { cluster.lock().await.attempt(attempt).await }).await;
                pending.answer(verdict);
            },
            &self.runtime,
        );
        Ok(())
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        while self.tasks.try_join_next().is_some() {}
        let verdict = self.outbox.pop()?;
        self.in_flight -= 1;
        Some(verdict)
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}
