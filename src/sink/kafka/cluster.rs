//! The brokers of one sink: what is known of them and of the topics, the connections, and how a payload is settled.
//!
//! Invariant: one payload at a time, and one request per broker at a time; so records of one partition arrive in the
//! order in which they were given, as long as what failed is given again before what is newer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::Batches;
use super::batch::{Packer, Packing};
use super::connection::{Connection, Manner};
use super::credentials::Credentials;
use super::lane::{Known, Lane, Lanes, Request, sort, topics_of};
use super::messages::{Api, Metadata, Produced, metadata_request};
use super::verdict::{AUTHENTICATION_FAILED, Trouble, verdict};
use crate::clock::{Clock, Time};
use crate::config::{Address, Compression, KafkaSink};
use crate::sink::{Attempt, Item, Verdict};

/// Topics that are remembered.
const TOPICS_MAX: usize = 1000;

/// Brokers that are tried for one question.
const TRIES_MAX: usize = 3;

/// A topic that is not there may be in the making, on behalf of our question: it is asked for once more after this.
const MAKING_WAIT: Duration = Duration::from_millis(500);

/// Error code of a topic that is not there.
const UNKNOWN_TOPIC: i16 = 3;
/// Error code of a topic that was just made.
const LEADER_NOT_AVAILABLE: i16 = 5;

struct Settings {
    bootstrap: Vec<Address>,
    connect_timeout: Duration,
    request_timeout: Duration,
    keep_alive: Duration,
    metadata_age_max: Duration,
    message_bytes_max: usize,
    packing: Packing,
    compression: Compression,
}

struct Topic {
    known: Known,
    learned_at: Time,
}

/// A way to one broker.
struct Link {
    connection: Option<Connection>,
    packer: Packer,
}

/// What a sink knows of its brokers.
pub struct Cluster {
    settings: Arc<Settings>,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    topics: HashMap<String, Topic>,
    brokers: HashMap<i32, Address>,
    links: HashMap<i32, Link>,
    next_bootstrap: usize,
}

impl Cluster {
    /// A cluster of which nothing but the brokers to begin with is known.
    pub fn new(config: &KafkaSink, batches: Batches, clock: Arc<dyn Clock>) -> Cluster {
        let settings = Settings {
            bootstrap: config.bootstrap_servers.clone(),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            request_timeout: Duration::from_millis(config.request_timeout_ms),
            keep_alive: Duration::from_millis(config.keep_alive_ms),
            metadata_age_max: Duration::from_millis(config.metadata_age_max_ms),
            message_bytes_max: config.message_bytes_max,
            packing: Packing {
                records_max: config.records_per_message as usize,
                format: batches.format,
            },
            compression: batches.compression,
        };
        Cluster {
            settings: Arc::new(settings),
            credentials: Credentials::new(config),
            clock,
            topics: HashMap::new(),
            brokers: HashMap::new(),
            links: HashMap::new(),
            // Not every node asks the same broker first.
            next_bootstrap: fastrand::usize(..usize::MAX / 2),
        }
    }

    /// Delivers one payload.
    pub async fn attempt(&mut self, attempt: Attempt) -> Verdict {
        let records = attempt.records;
        match self.deliver(attempt.body).await {
            Ok((settled, trouble)) => verdict(records, settled, trouble),
            Err(trouble) => trouble.into(),
        }
    }

    async fn deliver(
        &mut self,
        payload: Bytes,
    ) -> Result<(Vec<(u32, Item)>, Option<Trouble>), Trouble> {
        let manner = self.manner()?;
        let damaged = |error| Trouble::lasting("frames", format!("{error}"));
        let names = topics_of(&payload).map_err(damaged)?;
        let mut trouble = Box::pin(self.learn(&names, &manner)).await?;
        let known = names.iter().filter_map(|name| {
            let topic = self.topics.get(name)?;
            Some((name.clone(), topic.known.clone()))
        });
        let mut errands = JoinSet::new();
        for (leader, lanes) in sort(&payload, &known.collect()).map_err(damaged)? {
            let place = leader.and_then(|id| Some((id, self.brokers.get(&id)?.clone())));
            let Some((id, address)) = place else {
                trouble = worse(trouble, self.leaderless(&lanes));
                continue;
            };
            let settings = &self.settings;
            let link = self.links.remove(&id).unwrap_or_else(|| Link {
                connection: None,
                packer: Packer::new(settings.packing, settings.compression),
            });
            let errand = Errand {
                id,
                address,
                link,
                lanes: Lanes {
                    lanes,
                    settled: Vec::new(),
                },
                payload: payload.clone(),
                settings: Arc::clone(settings),
                manner: manner.clone(),
            };
            errands.spawn(errand.run());
        }
        let mut settled = Vec::new();
        while let Some(ended) = errands.join_next().await {
            let Ok(errand) = ended else {
                let text = "delivering to a broker was stopped";
                trouble = worse(trouble, Some(Trouble::passing("stopped", text)));
                continue;
            };
            settled.extend(errand.lanes.settled);
            self.links.insert(errand.id, errand.link);
            for lane in errand.lanes.lanes {
                trouble = worse(trouble, self.remember(lane));
            }
        }
        if let Some(trouble) = &trouble
            && trouble.reason.code == AUTHENTICATION_FAILED
        {
            self.credentials.doubt();
        }
        Ok((settled, trouble))
    }

    /// How to connect now. Connections made with what is in force no more are closed.
    fn manner(&mut self) -> Result<Manner, Trouble> {
        let (held, changed) = self.credentials.look(self.clock.now())?;
        if changed {
            self.links.clear();
        }
        Ok(Manner {
            tls: held.tls,
            identity: held.identity,
            connect_timeout: self.settings.connect_timeout,
            request_timeout: self.settings.request_timeout,
            clock: Arc::clone(&self.clock),
        })
    }

    fn leaderless(&mut self, lanes: &[Lane]) -> Option<Trouble> {
        let lane = lanes.first()?;
        for lane in lanes {
            self.topics.remove(&lane.topic);
        }
        let text = format!(
            "nobody leads partition {} of topic {}",
            lane.partition, lane.topic
        );
        Some(Trouble::passing("kafka_leader_not_available", text))
    }

    /// Keeps what delivering showed of a topic; gives what stopped the lane.
    fn remember(&mut self, lane: Lane) -> Option<Trouble> {
        if lane.stale {
            self.topics.remove(&lane.topic);
        } else if let Some(topic) = self.topics.get_mut(&lane.topic) {
            topic.known.bytes_max = topic.known.bytes_max.min(lane.bytes_max);
        }
        lane.stopped
    }

    /// Sees to it that all these topics are known, or says why one is not.
    async fn learn(
        &mut self,
        names: &[String],
        manner: &Manner,
    ) -> Result<Option<Trouble>, Trouble> {
        let now = self.clock.now();
        let age_max = self.settings.metadata_age_max;
        if self.topics.len() > TOPICS_MAX {
            self.topics.clear();
        }
        let topics = &self.topics;
        let is_known = |name: &&String| {
            let topic = topics.get(name.as_str());
            topic.is_some_and(|topic| now.since(topic.learned_at) < age_max)
        };
        let mut unknown: Vec<String> = names
            .iter()
            .filter(|name| !is_known(name))
            .cloned()
            .collect();
        let mut trouble = None;
        for again in [true, false] {
            if unknown.is_empty() {
                break;
            }
            let metadata = self.ask(&unknown, manner).await?;
            trouble = None;
            unknown.clear();
            self.brokers = metadata.brokers.into_iter().collect();
            let brokers = &self.brokers;
            self.links.retain(|id, _| brokers.contains_key(id));
            for topic in metadata.topics {
                if topic.code == 0 && !topic.leaders.is_empty() {
                    self.keep(topic.name, topic.leaders, now);
                    continue;
                }
                self.topics.remove(&topic.name);
                let what = format!("asking for topic {}", topic.name);
                let mut said = Trouble::of(topic.code, &what);
                if topic.code == UNKNOWN_TOPIC {
                    said.reason
                        .text
                        .push_str(" (there is none): create it, or mend the name");
                }
                trouble = worse(trouble, Some(said));
                if matches!(topic.code, UNKNOWN_TOPIC | LEADER_NOT_AVAILABLE) {
                    unknown.push(topic.name);
                }
            }
            if again && !unknown.is_empty() {
                tokio::time::sleep(MAKING_WAIT).await;
            }
        }
        Ok(trouble)
    }

    fn keep(&mut self, name: String, leaders: Vec<Option<i32>>, now: Time) {
        let known = Known {
            leaders,
            bytes_max: self.settings.message_bytes_max,
        };
        let topic = Topic {
            known,
            learned_at: now,
        };
        self.topics.insert(name, topic);
    }

    /// Asks some broker about topics: one that we are connected to, else those to begin with.
    async fn ask(&mut self, names: &[String], manner: &Manner) -> Result<Metadata, Trouble> {
        let keep_alive = self.settings.keep_alive;
        for link in self.links.values_mut() {
            drop(link.connection.take_if(|held| !held.is_fresh(keep_alive)));
            if let Some(connection) = &mut link.connection {
                match metadata_of(connection, names).await {
                    Ok(metadata) => return Ok(metadata),
                    Err(_) => link.connection = None,
                }
            }
        }
        let mut failed = Trouble::passing("connect", "there is no broker to begin with");
        for _ in 0..self.settings.bootstrap.len().min(TRIES_MAX) {
            let number = self.next_bootstrap % self.settings.bootstrap.len();
            let Some(address) = self.settings.bootstrap.get(number) else {
                break;
            };
            let asked = match Connection::open(address, manner).await {
                Ok(mut connection) => metadata_of(&mut connection, names).await,
                Err(trouble) => Err(trouble),
            };
            match asked {
                Ok(metadata) => return Ok(metadata),
                Err(trouble) => failed = trouble,
            }
            self.next_bootstrap += 1;
        }
        if failed.reason.code == AUTHENTICATION_FAILED {
            self.credentials.doubt();
        }
        Err(failed)
    }
}

async fn metadata_of(connection: &mut Connection, names: &[String]) -> Result<Metadata, Trouble> {
    let asked = connection.call(Api::Metadata, |version| metadata_request(version, names));
    let (version, answer) = asked.await?;
    Metadata::read(version, &answer).map_err(|bad| connection.malformed(bad))
}

/// The one of two troubles that has to be told: the one that a person has to mend.
fn worse(one: Option<Trouble>, other: Option<Trouble>) -> Option<Trouble> {
    match (one, other) {
        (Some(one), Some(other)) if other.lasting && !one.lasting => Some(other),
        (one, other) => one.or(other),
    }
}

/// What one broker is to be given of a payload.
struct Errand {
    id: i32,
    address: Address,
    link: Link,
    lanes: Lanes,
    payload: Bytes,
    settings: Arc<Settings>,
    manner: Manner,
}

impl Errand {
    /// Gives it all, request by request; what does not go is told in the lanes.
    async fn run(mut self) -> Errand {
        while !self.lanes.are_done() {
            if let Err(trouble) = self.step().await {
                self.link.connection = None;
                for lane in &mut self.lanes.lanes {
                    // The broker may be another by the time it is tried again.
                    lane.stale = true;
                    lane.stopped.get_or_insert_with(|| trouble.clone());
                }
            }
        }
        self
    }

    async fn step(&mut self) -> Result<(), Trouble> {
        let keep_alive = self.settings.keep_alive;
        let fresh = self
            .link
            .connection
            .take()
            .filter(|held| held.is_fresh(keep_alive));
        let mut connection = match fresh {
            Some(connection) => connection,
            None => Connection::open(&self.address, &self.manner).await?,
        };
        let Some((body, sent)) = self.pack().await? else {
            self.link.connection = Some(connection);
            return Ok(());
        };
        let (version, answer) = connection.call(Api::Produce, |_| body).await?;
        let produced = Produced::read(version, &answer).map_err(|bad| connection.malformed(bad))?;
        connection.mute(produced.throttle_ms);
        self.lanes.judge(&sent, &produced);
        self.link.connection = Some(connection);
        Ok(())
    }

    /// Makes the next request on a thread of its own: compression would hold up all other connections.
    async fn pack(&mut self) -> Result<Option<Request>, Trouble> {
        let settings = Arc::clone(&self.settings);
        let payload = self.payload.clone();
        let mut lanes = std::mem::take(&mut self.lanes);
        let spare = Packer::new(settings.packing, settings.compression);
        let mut packer = std::mem::replace(&mut self.link.packer, spare);
        let packing = tokio::task::spawn_blocking(move || {
            let bytes_max = settings.message_bytes_max;
            // Less than we wait: the broker's word on it should reach us.
            let timeout_ms = settings.request_timeout.as_millis() / 2;
            let timeout_ms = u64::try_from(timeout_ms).unwrap_or(u64::MAX);
            let made = lanes.request(&payload, &mut packer, bytes_max, timeout_ms);
            (lanes, packer, made)
        });
        let (lanes, packer, made) = packing.await.map_err(|error| {
            Trouble::passing("stopped", format!("packing was stopped: {error}"))
        })?;
        self.lanes = lanes;
        self.link.packer = packer;
        made.map_err(|error| Trouble::passing("compress", error.to_string()))
    }
}
