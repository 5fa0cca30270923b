//! The records of a payload, sorted by partition, and how far each partition has come.
//!
//! Invariant: of one partition, records are sent in payload order, and none behind one that is not settled.

use std::collections::{BTreeMap, HashMap};

use super::batch::{Entry, Packer};
use super::messages::{Produce, Produced};
use super::partition::partition_of;
use super::verdict::{Class, Trouble, error, is_stale};
use crate::encode::compress::CompressError;
use crate::encode::frames::{Damaged, Frame, frames};
use crate::sink::{Item, Reason};

/// The least that a batch is bounded to, however small the broker says that its messages may be.
const BATCH_BYTES_MIN: usize = 1024;

/// What is known of a topic.
#[derive(Clone, Debug)]
pub struct Known {
    /// The broker that leads each partition.
    pub leaders: Vec<Option<i32>>,
    /// Most bytes of a batch, as far as the broker has shown.
    pub bytes_max: usize,
}

/// One partition's records.
#[derive(Debug)]
pub struct Lane {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    entries: Vec<Entry>,
    /// How many of them are settled.
    at: usize,
    /// Most bytes of a batch.
    pub bytes_max: usize,
    /// Most records of a batch, while one is looked for that the broker refuses.
    records_max: usize,
    /// Why it goes no further.
    pub stopped: Option<Trouble>,
    /// Its leader has to be asked for again.
    pub stale: bool,
}

/// The topics that a payload's records go to, each once.
pub fn topics_of(payload: &[u8]) -> Result<Vec<String>, Damaged> {
    let mut topics: Vec<String> = Vec::new();
    for frame in frames(payload) {
        if let (_, Frame::Run { topic, .. }) = frame?
            && !topics.iter().any(|known| known == topic)
        {
            topics.push(topic.to_owned());
        }
    }
    Ok(topics)
}

/// Sorts a payload by leader; those without one are under `None`. Records of topics that are not known are left out.
pub fn sort(
    payload: &[u8],
    known: &HashMap<String, Known>,
) -> Result<BTreeMap<Option<i32>, Vec<Lane>>, Damaged> {
    let mut lanes: BTreeMap<(&str, usize), Vec<Entry>> = BTreeMap::new();
    let mut number = 0;
    let mut run = None;
    for frame in frames(payload) {
        match frame? {
            (head, Frame::Run { topic, key, .. }) => {
                run = known.get(topic).map(|known| {
                    let partition = partition_of(key, known.leaders.len());
                    // The key lies right before the head.
                    let key = head.start.saturating_sub(key.len() as u32)..head.start;
                    (topic, partition, key, head)
                });
            }
            (row, Frame::Record { uid, time_ms, .. }) => {
                if let Some((topic, partition, key, head)) = &run {
                    lanes.entry((topic, *partition)).or_default().push(Entry {
                        number,
                        key: key.clone(),
                        head: head.clone(),
                        row,
                        uid,
                        time_ms,
                    });
                }
                number += 1;
            }
        }
    }
    let mut by_leader: BTreeMap<Option<i32>, Vec<Lane>> = BTreeMap::new();
    for ((topic, partition), entries) in lanes {
        let Some(known) = known.get(topic) else {
            continue;
        };
        let leader = known.leaders.get(partition).copied().flatten();
        by_leader.entry(leader).or_default().push(Lane {
            topic: topic.to_owned(),
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
            entries,
            at: 0,
            bytes_max: known.bytes_max,
            records_max: usize::MAX,
            stopped: None,
            stale: false,
        });
    }
    Ok(by_leader)
}

#[cfg(test)]
impl Lane {
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// A Produce request's body, and what of which lanes is in it.
pub type Request = (Vec<u8>, Vec<Sent>);

/// What of a lane is in a request.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    lane: usize,
    count: usize,
}

/// Some lanes, all with the same leader.
#[derive(Debug, Default)]
pub struct Lanes {
    /// The lanes.
    pub lanes: Vec<Lane>,
    /// What has become of records, by their number in the payload.
    pub settled: Vec<(u32, Item)>,
}

impl Lanes {
    /// Whether there is nothing more to send.
    pub fn are_done(&self) -> bool {
        self.lanes.iter().all(Lane::is_done)
    }

    /// The next request of at most `bytes_max` bytes: a batch of each partition, as far as there is room. Records that
    /// are too large for any are rejected. `None` if nothing is left to send.
    pub fn request(
        &mut self,
        payload: &[u8],
        packer: &mut Packer,
        bytes_max: usize,
        timeout_ms: u64,
    ) -> Result<Option<Request>, CompressError> {
        let mut produce = Produce::new(timeout_ms);
        let mut sent = Vec::new();
        let mut single = Vec::new();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            while !lane.is_done() {
                let room = bytes_max.saturating_sub(produce.len());
                let count = Packer::fitting(lane.rest(), lane.bytes_max.min(room));
                let count = count.min(lane.records_max);
                let entries = lane.rest().get(..count).unwrap_or_default();
                if !entries.is_empty() {
                    produce.partition(&lane.topic, lane.partition, |out| {
                        packer.batch(payload, entries, out)
                    })?;
                    sent.push(Sent {
                        lane: number,
                        count,
                    });
                    break;
                }
                if !produce.is_empty() {
                    break;
                }
                // Too large as it is; compressed it may fit.
                single.clear();
                packer.batch(
                    payload,
                    lane.rest().get(..1).unwrap_or_default(),
                    &mut single,
                )?;
                if single.len() <= lane.bytes_max {
                    produce.partition(&lane.topic, lane.partition, |out| {
                        out.extend_from_slice(&single);
                        Ok::<(), CompressError>(())
                    })?;
                    sent.push(Sent {
                        lane: number,
                        count: 1,
                    });
                    break;
                }
                let text = format!(
                    "a record takes {} bytes of the {} that a message of topic {} may have",
                    single.len(),
                    lane.bytes_max,
                    lane.topic
                );
                let reason = Reason::new("kafka_message_too_large", text);
                self.settled.extend(lane.settle(1, &Item::Rejected(reason)));
            }
        }
        Ok((!produce.is_empty()).then(|| (produce.finish(), sent)))
    }

    /// Takes the broker's answer to a request.
    pub fn judge(&mut self, sent: &[Sent], produced: &Produced) {
        for Sent { lane, count } in sent {
            let Some(lane) = self.lanes.get_mut(*lane) else {
                continue;
            };
            let answer = produced
                .partitions
                .iter()
                .find(|(topic, partition, _)| *topic == lane.topic && *partition == lane.partition);
            match answer {
                Some((.., code)) => self.settled.extend(lane.judge(*count, *code)),
                None => {
                    let text = format!("nothing was said of {}", lane.name());
                    lane.stopped = Some(Trouble::passing("protocol", text));
                }
            }
        }
    }
}

impl Lane {
    fn rest(&self) -> &[Entry] {
        self.entries.get(self.at..).unwrap_or_default()
    }

    fn is_done(&self) -> bool {
        self.stopped.is_some() || self.rest().is_empty()
    }

    fn name(&self) -> String {
        format!("partition {} of topic {}", self.partition, self.topic)
    }

    fn settle(&mut self, count: usize, item: &Item) -> Vec<(u32, Item)> {
        let settled = self.rest().iter().take(count);
        let settled = settled.map(|entry| (entry.number, item.clone())).collect();
        self.at += count;
        settled
    }

    fn judge(&mut self, count: usize, code: i16) -> Vec<(u32, Item)> {
        if code == 0 {
            self.records_max = self.records_max.saturating_mul(2);
            return self.settle(count, &Item::Accepted);
        }
        let (name, class) = error(code);
        self.stale |= is_stale(code);
        if class != Class::Halve {
            let mut trouble = Trouble::of(code, &format!("producing to {}", self.name()));
            // What a topic is missing from was perhaps moved away from there; its metadata tell.
            trouble.lasting &= !is_stale(code);
            self.stopped = Some(trouble);
            return Vec::new();
        }
        if count == 1 {
            let text = format!("the broker refused it for {}: error {code}", self.name());
            return self.settle(1, &Item::Rejected(Reason::new(name, text)));
        }
        self.records_max = count / 2;
        if matches!(code, 10 | 18) {
            let bytes = Packer::bytes_of(self.rest().get(..count).unwrap_or_default());
            self.bytes_max = (bytes / 2).max(BATCH_BYTES_MIN).min(self.bytes_max);
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
