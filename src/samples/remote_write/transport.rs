//! One attempt at a receiver, in the version that it knows.
//!
//! Payloads come in one version. If that is the second and the receiver turns out to know only the first, they are
//! made into it on their way, until the agent's next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use prost::Message;
use tokio::runtime::Handle;

use super::messages::{to_version_1, v2};
use super::verdict::judge_of;
use crate::config::{HttpSink, RemoteWriteVersion, Secret};
use crate::sink::http::{Http, StartError, Surroundings, Wire};
use crate::sink::{Attempt, Transport, Verdict};
use crate::waker::Waker;

/// The transport of a `remote_write` sink.
#[derive(Debug)]
pub struct Versions {
    first: Http,
    /// Unless version 1 was asked for.
    second: Option<Http>,
    is_version_1: Arc<AtomicBool>,
    sink: String,
    said: bool,
}

/// The headers of a version.
fn wire(version: RemoteWriteVersion) -> (Wire, &'static str) {
    let (content_type, number) = match version {
        RemoteWriteVersion::One => ("application/x-protobuf", "0.1.0"),
        RemoteWriteVersion::Two => (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "2.0.0",
        ),
    };
    let wire = Wire {
        content_type,
        content_encoding: Some("snappy"),
    };
    (wire, number)
}

/// The name of the header that says the version.
pub const VERSION_HEADER: &str = "X-Prometheus-Remote-Write-Version";

impl Versions {
    /// A transport for payloads of this version. Connects only when the first attempt is made.
    pub fn start(
        surroundings: &Surroundings,
        sink: &str,
        config: &HttpSink,
        version: RemoteWriteVersion,
        runtime: &Handle,
        waker: Waker,
    ) -> Result<Versions, StartError> {
        let is_version_1 = Arc::new(AtomicBool::new(false));
        let start = |version| {
            let (wire, number) = wire(version);
            let mut config = config.clone();
            config
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case(VERSION_HEADER));
            let number = Secret::Literal(number.to_owned());
            config.headers.push((VERSION_HEADER.to_owned(), number));
            let judge = judge_of(version, &is_version_1);
            let waker = waker.clone();
            Http::start_in(surroundings, sink, &config, wire, 1, runtime, waker)
                .map(|http| http.judged_by(judge))
        };
        Ok(Versions {
            first: start(RemoteWriteVersion::One)?,
            second: match version {
                RemoteWriteVersion::One => None,
                RemoteWriteVersion::Two => Some(start(RemoteWriteVersion::Two)?),
            },
            is_version_1: Arc::clone(&is_version_1),
            sink: sink.to_owned(),
            said: false,
        })
    }
}

/// A packed payload of version 2 as one of version 1; `None` if it is no such payload.
pub fn downgrade(body: &[u8]) -> Option<Vec<u8>> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    let request = v2::Request::decode(plain.as_slice()).ok()?;
    let first = to_version_1(&request).encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&first).ok()
}

impl Transport for Versions {
    fn try_submit(&mut self, attempt: Attempt) -> Result<(), Attempt> {
        let Some(second) = &mut self.second else {
            return self.first.try_submit(attempt);
        };
        if !self.is_version_1.load(Ordering::Acquire) {
            return second.try_submit(attempt);
        }
        if !std::mem::replace(&mut self.said, true) {
            let sink = &self.sink;
            tracing::info!(%sink, "the receiver does not know version 2 of remote write: going on with version 1");
        }
        // Own payloads can always be made into the other version; one that could not would be refused as it is.
        let body = downgrade(&attempt.body).map_or_else(|| attempt.body.clone(), Bytes::from);
        let first = Attempt {
            body,
            ..attempt.clone()
        };
        self.first.try_submit(first).map_err(|_| attempt)
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        let first = self.first.poll_verdict();
        first.or_else(|| self.second.as_mut()?.poll_verdict())
    }
}
