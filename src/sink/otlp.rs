//! OTLP over HTTP and over gRPC (opentelemetry.io/docs/specs/otlp): what a request looks like beside the payload.
//!
//! Invariant: a payload is never copied for its request; in gRPC five bytes go in front of it in a frame of their own.

mod messages;
mod verdict;

use bytes::Bytes;
use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, TE};
use tokio::runtime::Handle;

use self::verdict::{judge_grpc, judge_http};
use super::Attempt;
use super::http::client::{Exchange, Outgoing};
use super::http::verdict::Answer;
use super::http::{Attempting, Http, Protocol, StartError, Surroundings, Wire};
use crate::config::{Compression, HttpSink, OtlpProtocol, OtlpSink};
use crate::waker::Waker;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Logs.
    Logs,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// What is behind the endpoint's path in HTTP.
    const fn http_path(self) -> &'static str {
        match self {
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
        }
    }

    /// The path of the service's method in gRPC.
    const fn grpc_path(self) -> &'static str {
        match self {
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// Bytes of an answer that are looked at: a partial success with its message, or the status of a failure.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Starts the transport of one signal of an `otlp` sink. `in_flight_max` attempts are taken at once; `waker` is woken
/// after each verdict. Connects only when the first attempt is made.
pub fn start(
    name: &str,
    (config, compression): (&OtlpSink, Compression),
    signal: Signal,
    in_flight_max: usize,
    runtime: &Handle,
    waker: Waker,
) -> Result<Http, StartError> {
    let around = Surroundings::of_process();
    start_in(
        &around,
        name,
        (config, compression),
        signal,
        in_flight_max,
        runtime,
        waker,
    )
}

/// [`start`] in given surroundings.
pub fn start_in(
    surroundings: &Surroundings,
    name: &str,
    (config, compression): (&OtlpSink, Compression),
    signal: Signal,
    in_flight_max: usize,
    runtime: &Handle,
    waker: Waker,
) -> Result<Http, StartError> {
    let encoding = compression.content_encoding();
    let (wire, protocol) = match config.protocol {
        OtlpProtocol::Http => {
            let wire = Wire {
                content_type: "application/x-protobuf",
                content_encoding: encoding,
            };
            (wire, Otlp::Http)
        }
        OtlpProtocol::Grpc => {
            let wire = Wire {
                content_type: "application/grpc",
                content_encoding: None,
            };
            let timeout_ms = config.http.request_timeout_ms;
            (wire, Otlp::Grpc(metadata(encoding, timeout_ms)))
        }
    };
    let own = HttpSink {
        url: url_of(&config.http.url, config.protocol, signal),
        ..config.http.clone()
    };
    let started = Http::start_in(
        surroundings,
        name,
        &own,
        wire,
        in_flight_max,
        runtime,
        waker,
    )?;
    Ok(started.speaking(protocol))
}

/// Where a signal goes: its path behind that of the endpoint, in gRPC in the place of it.
fn url_of(endpoint: &str, protocol: OtlpProtocol, signal: Signal) -> String {
    let (base, query) = match endpoint.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (endpoint, String::new()),
    };
    match protocol {
        OtlpProtocol::Http => {
            let base = base.trim_end_matches('/');
            format!("{base}{}{query}", signal.http_path())
        }
        OtlpProtocol::Grpc => {
            let origin = base.parse::<Uri>().ok().and_then(|uri| {
                let authority = uri.authority()?.clone();
                Some(format!("{}://{authority}", uri.scheme_str()?))
            });
            // What is no URL is refused by whoever is to connect to it.
            let origin = origin.unwrap_or_else(|| base.to_owned());
            format!("{origin}{}", signal.grpc_path())
        }
    }
}

/// What every gRPC request has beside its credentials
/// (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md).
fn metadata(encoding: Option<&'static str>, timeout_ms: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(encoding) = encoding {
        let name = HeaderName::from_static("grpc-encoding");
        headers.insert(name, HeaderValue::from_static(encoding));
    }
    // At most eight digits.
    let timeout = format!("{}m", timeout_ms.min(99_999_999));
    if let Ok(timeout) = HeaderValue::from_str(&timeout) {
        headers.insert(HeaderName::from_static("grpc-timeout"), timeout);
    }
    headers
}

/// The protocol of an `otlp` sink.
enum Otlp {
    /// The payload is the request.
    Http,
    /// The payload is the one message of a call with this metadata.
    Grpc(HeaderMap),
}

impl Protocol for Otlp {
    fn attempt<'a>(&'a self, exchange: &'a Exchange, attempt: Attempt) -> Attempting<'a> {
        let records = u64::from(attempt.records);
        match self {
            Otlp::Http => {
                let outgoing = Outgoing {
                    answer_bytes_max: ANSWER_BYTES_MAX,
                    ..Outgoing::of(attempt.body)
                };
                Box::pin(async move {
                    let judge = |answer: &Answer<'_>| judge_http(answer, records);
                    exchange.post(outgoing, &judge).await
                })
            }
            Otlp::Grpc(metadata) => {
                let is_compressed = metadata.contains_key("grpc-encoding");
                let outgoing = Outgoing {
                    prefix: prefix(is_compressed, attempt.body.len()),
                    headers: metadata.clone(),
                    answer_bytes_max: ANSWER_BYTES_MAX,
                    status_decides: false,
                    ..Outgoing::of(attempt.body)
                };
                Box::pin(async move {
                    let judge = |answer: &Answer<'_>| judge_grpc(answer, records);
                    exchange.post(outgoing, &judge).await
                })
            }
        }
    }
}

/// What stands in front of a message: whether it is compressed, and its length.
fn prefix(is_compressed: bool, len: usize) -> Bytes {
    // A payload is far below four GiB; one that is not would be refused by its length.
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let mut prefix = vec![u8::from(is_compressed)];
    prefix.extend_from_slice(&len);
    Bytes::from(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_its_place() {
        use OtlpProtocol::{Grpc, Http};
        use Signal::{Logs, Metrics};
        let grpc = "https://h:4317/opentelemetry.proto.collector";
        for (endpoint, protocol, signal, url) in [
            ("http://h:4318", Http, Logs, "http://h:4318/v1/logs"),
            ("http://h:4318/", Http, Metrics, "http://h:4318/v1/metrics"),
            (
                "https://h/api/otlp",
                Http,
                Logs,
                "https://h/api/otlp/v1/logs",
            ),
            (
                "https://h/otlp/?k=v",
                Http,
                Logs,
                "https://h/otlp/v1/logs?k=v",
            ),
            (
                "https://h:4317",
                Grpc,
                Logs,
                &format!("{grpc}.logs.v1.LogsService/Export"),
            ),
            (
                "https://h:4317/ignored?x",
                Grpc,
                Metrics,
                &format!("{grpc}.metrics.v1.MetricsService/Export"),
            ),
        ] {
            assert_eq!(url_of(endpoint, protocol, signal), url);
        }
    }

    #[test]
    fn a_message_has_its_length_in_front() {
        assert_eq!(prefix(true, 0x0102_0304), &[1, 1, 2, 3, 4][..]);
        assert_eq!(prefix(false, 7), &[0, 0, 0, 0, 7][..]);
    }
}
