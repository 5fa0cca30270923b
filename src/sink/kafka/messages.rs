//! The requests we make of a broker and the answers to them, as bytes: ApiVersions, Metadata, Produce and the two of
//! SASL, in versions from before the flexible ones, which every broker since 1.0 speaks.
//!
//! Facts: "Kafka protocol guide", section "The Messages".

use std::ops::RangeInclusive;

use crate::config::Address;

use super::wire::{Malformed, Reader, patch, patch_len, put_len, put_string};

/// What we call ourselves in each request.
const CLIENT_ID: &str = "longshore";
/// Wait for all replicas in sync.
const ACKS_ALL: i16 = -1;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Records to partitions.
    Produce,
    /// Which partitions a topic has, and where.
    Metadata,
    /// Which SASL mechanism.
    SaslHandshake,
    /// Which versions the broker speaks.
    Versions,
    /// One step of SASL.
    SaslAuthenticate,
}

impl Api {
    /// The number on the wire.
    pub fn key(self) -> i16 {
        match self {
            Api::Produce => 0,
            Api::Metadata => 3,
            Api::SaslHandshake => 17,
            Api::Versions => 18,
            Api::SaslAuthenticate => 36,
        }
    }

    /// What we can say and read. Produce 3 brings the batches of today, 7 those of Zstandard.
    fn ours(self) -> RangeInclusive<i16> {
        match self {
            Api::Produce => 3..=7,
            Api::Metadata => 1..=4,
            Api::SaslHandshake => 1..=1,
            Api::Versions => 0..=0,
            Api::SaslAuthenticate => 0..=1,
        }
    }
}

/// Which versions a broker speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// The newest that both sides speak; `None` if there is none.
    pub fn of(&self, api: Api) -> Option<i16> {
        let ours = api.ours();
        if api == Api::Versions {
            return Some(*ours.end());
        }
        let (_, least, most) = self.0.iter().find(|(key, ..)| *key == api.key())?;
        let newest = *most.min(ours.end());
        (newest >= *least && ours.contains(&newest)).then_some(newest)
    }

    /// Reads an answer to ApiVersions; gives its error code first.
    pub fn read(answer: &[u8]) -> Result<(i16, Versions), Malformed> {
        let mut reader = Reader::new(answer);
        let code = reader.i16()?;
        let mut versions = Vec::new();
        for _ in 0..reader.count()? {
            versions.push((reader.i16()?, reader.i16()?, reader.i16()?));
        }
        Ok((code, Versions(versions)))
    }
}

/// A request with its head: version 1, and the length in front.
pub fn request(api: Api, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&api.key().to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation.to_be_bytes());
    put_string(CLIENT_ID, &mut out);
    out.extend_from_slice(body);
    patch_len(0, &mut out);
    out
}

/// The body of a Metadata request. Whether a topic is made that there is not is for the broker's configuration to say.
pub fn metadata_request(version: i16, topics: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len(topics.len(), &mut out);
    for topic in topics {
        put_string(topic, &mut out);
    }
    if version >= 4 {
        out.push(1);
    }
    out
}

/// What the cluster says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAnswer {
    /// Its name.
    pub name: String,
    /// 0, or why there is nothing to say.
    pub code: i16,
    /// The broker that leads each partition, in the order of their numbers; `None`: nobody at the moment.
    pub leaders: Vec<Option<i32>>,
}

/// An answer to Metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The brokers by their ids.
    pub brokers: Vec<(i32, Address)>,
    /// The topics that were asked for.
    pub topics: Vec<TopicAnswer>,
}

impl Metadata {
    /// Reads an answer of that version.
    pub fn read(version: i16, answer: &[u8]) -> Result<Metadata, Malformed> {
        let mut reader = Reader::new(answer);
        let mut metadata = Metadata::default();
        if version >= 3 {
            reader.i32()?; // throttling
        }
        for _ in 0..reader.count()? {
            let id = reader.i32()?;
            let host = reader.string()?.to_owned();
            let port = u16::try_from(reader.i32()?).map_err(|_| Malformed)?;
            reader.nullable_string()?; // rack
            metadata.brokers.push((id, Address { host, port }));
        }
        if version >= 2 {
            reader.nullable_string()?; // cluster id
        }
        reader.i32()?; // controller
        for _ in 0..reader.count()? {
            let code = reader.i16()?;
            let name = reader.string()?.to_owned();
            reader.bool()?; // internal
            let partitions = reader.count()?;
            let mut leaders = vec![None; partitions];
            for _ in 0..partitions {
                reader.i16()?; // error: shows in the leader
                let index = usize::try_from(reader.i32()?).map_err(|_| Malformed)?;
                let leader = reader.i32()?;
                *leaders.get_mut(index).ok_or(Malformed)? = (leader >= 0).then_some(leader);
                for _ in 0..2 {
                    for _ in 0..reader.count()? {
                        reader.i32()?; // replicas, then those in sync
                    }
                }
            }
            metadata.topics.push(TopicAnswer {
                name,
                code,
                leaders,
            });
        }
        Ok(metadata)
    }
}

/// Builds the body of a Produce request, partition after partition, those of a topic one behind the other.
#[derive(Debug)]
pub struct Produce {
    out: Vec<u8>,
    topics: usize,
    /// The topic at hand, and where its number of partitions is.
    topic: Option<(String, usize)>,
    partitions: usize,
}

/// Where the number of topics is: behind the transaction's id (null), acks and the timeout.
const TOPICS_AT: usize = 8;

impl Produce {
    /// A request that the replicas may take so long for.
    pub fn new(timeout_ms: u64) -> Produce {
        let mut out = (-1_i16).to_be_bytes().to_vec();
        out.extend_from_slice(&ACKS_ALL.to_be_bytes());
        let timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
        out.extend_from_slice(&timeout_ms.to_be_bytes());
        put_len(0, &mut out);
        Produce {
            out,
            topics: 0,
            topic: None,
            partitions: 0,
        }
    }

    /// Appends a partition's batch, which `write` appends.
    pub fn partition<E>(
        &mut self,
        topic: &str,
        partition: i32,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.topic.as_ref().is_none_or(|(name, _)| name != topic) {
            self.end_topic();
            put_string(topic, &mut self.out);
            self.topic = Some((topic.to_owned(), self.out.len()));
            put_len(0, &mut self.out);
            self.topics += 1;
        }
        self.partitions += 1;
        self.out.extend_from_slice(&partition.to_be_bytes());
        let at = self.out.len();
        put_len(0, &mut self.out);
        write(&mut self.out)?;
        patch_len(at, &mut self.out);
        Ok(())
    }

    fn end_topic(&mut self) {
        if let Some((_, at)) = self.topic.take() {
            patch(at, self.partitions, &mut self.out);
        }
        self.partitions = 0;
    }

    /// How many bytes there are so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is no partition in it.
    pub fn is_empty(&self) -> bool {
        self.topics == 0
    }

    /// The body.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_topic();
        patch(TOPICS_AT, self.topics, &mut self.out);
        self.out
    }
}

/// An answer to Produce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Topic, partition and error code of each batch.
    pub partitions: Vec<(String, i32, i16)>,
    /// The broker wants no further request for so long.
    pub throttle_ms: u64,
}

impl Produced {
    /// Reads an answer of that version.
    pub fn read(version: i16, answer: &[u8]) -> Result<Produced, Malformed> {
        let mut reader = Reader::new(answer);
        let mut produced = Produced::default();
        for _ in 0..reader.count()? {
            let topic = reader.string()?.to_owned();
            for _ in 0..reader.count()? {
                let partition = reader.i32()?;
                let code = reader.i16()?;
                reader.i64()?; // offset
                reader.i64()?; // time of appending
                if version >= 5 {
                    reader.i64()?; // first offset of the log
                }
                produced.partitions.push((topic.clone(), partition, code));
            }
        }
        produced.throttle_ms = u64::try_from(reader.i32()?).unwrap_or(0);
        Ok(produced)
    }
}

/// Reads an answer to SaslHandshake: the error code and the mechanisms that the broker knows.
pub fn read_handshake(answer: &[u8]) -> Result<(i16, Vec<&str>), Malformed> {
    let mut reader = Reader::new(answer);
    let code = reader.i16()?;
    let mut mechanisms = Vec::new();
    for _ in 0..reader.count()? {
        mechanisms.push(reader.string()?);
    }
    Ok((code, mechanisms))
}

/// An answer to SaslAuthenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated<'a> {
    /// 0, or why not.
    pub code: i16,
    /// The broker's words on it.
    pub text: Option<&'a str>,
    /// What the mechanism's other side says.
    pub challenge: &'a [u8],
    /// After so long the broker wants to be told again; 0: never.
    pub lifetime_ms: u64,
}

/// Reads an answer to SaslAuthenticate of that version.
pub fn read_authenticated(version: i16, answer: &[u8]) -> Result<Authenticated<'_>, Malformed> {
    let mut reader = Reader::new(answer);
    Ok(Authenticated {
        code: reader.i16()?,
        text: reader.nullable_string()?,
        challenge: reader.bytes()?,
        lifetime_ms: match version {
            0 => 0,
            _ => u64::try_from(reader.i64()?).unwrap_or(0),
        },
    })
}

#[cfg(test)]
mod tests;
