//! The node's pods as its kubelet lists them (`/pods`): asked again and again, for it tells of no changes.
//!
//! A question is asked at most once a second, sooner than usual only while somebody waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::pace::Pace;
use super::resources::{OwnPods, Resource};
use super::stats::{Counted, Fault};
use super::watch::Wrong;
use super::wire::List;
use crate::clock::{Clock, Time};
use crate::sink::http::client::Exchange;

/// A longer answer is not read.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The kubelet is not asked more often, whoever waits.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Asks the kubelet.
pub struct Poller {
    /// What becomes of the pods.
    pub resource: OwnPods,
    /// To whom.
    pub exchange: Arc<Exchange>,
    /// What is counted.
    pub counted: Arc<Counted>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// When to ask.
    pub pace: Pace,
    /// The first request comes within this long.
    pub start_spread: Duration,
    /// How often it is asked.
    pub interval: Duration,
    /// Told when somebody begins to wait.
    pub doubted: Arc<Notify>,
}

impl Poller {
    /// Does so until it is dropped.
    pub async fn run(mut self) {
        tokio::time::sleep(self.pace.start(self.start_spread)).await;
        loop {
            let asked_at = self.clock.now();
            match self.poll(asked_at).await {
                Ok(()) => {
                    self.pace.succeeded();
                    self.counted.set_in_sync();
                    self.rest(asked_at).await;
                }
                Err(wrong) => {
                    let wait = self.pace.failed(wrong.after);
                    let was_in_sync = self.counted.fail(wrong.fault, &wrong.text);
                    if was_in_sync || !self.counted.was_complained() {
                        let (url, problem) = (self.exchange.what(), &wrong.text);
                        tracing::warn!(%url, %problem, "cannot ask the kubelet for its pods; trying again");
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn poll(&mut self, asked_at: Time) -> Result<(), Wrong> {
        self.counted.add(&self.counted.lists);
        let fetched = self.exchange.fetch(BODY_BYTES_MAX).await;
        let (status, body) = fetched.map_err(|failure| Wrong::of(&failure))?;
        if !status.is_success() {
            return Err(Wrong::answered(status, &hyper::HeaderMap::new(), &body));
        }
        let unreadable = |error| Wrong::new(Fault::Malformed, format!("not a list: {error}"));
        let list: List<'_> = serde_json::from_slice(&body).map_err(unreadable)?;
        let now = self.clock.now();
        self.counted.hear(now);
        self.resource.begin();
        for item in list.items.unwrap_or_default() {
            if !self.resource.apply(item.get(), now) {
                self.counted.add(&self.counted.malformed);
            }
        }
        self.resource.end(now);
        self.resource.vouch(asked_at);
        Ok(())
    }

    /// Waits until it is time to ask again.
    async fn rest(&self, asked_at: Time) {
        loop {
            let due = asked_at + self.interval;
            let wanted = self.resource.wants_proof();
            let due = wanted.map_or(due, |wanted| due.min(wanted.max(asked_at + INTERVAL_MIN)));
            let now = self.clock.now();
            if now >= due {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(due.since(now)) => {}
                () = self.doubted.notified() => {}
            }
        }
    }
}
