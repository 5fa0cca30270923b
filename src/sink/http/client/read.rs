//! The body of an answer, as much of it as is wanted.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderMap;

use crate::sink::http::verdict::Failure;

/// Bytes of an answer that are read so that its connection can be used again; a longer one costs the connection.
const DRAIN_BYTES_MAX: usize = 64 * 1024;

/// Reads the answer's body until its end, or until there is more than [`DRAIN_BYTES_MAX`] and `head_bytes_max` of it, and
/// keeps its head and its trailers. Whether that is all of it.
pub(super) async fn read_head(
    mut body: Incoming,
    head_bytes_max: usize,
    head: &mut Vec<u8>,
    trailers: &mut HeaderMap,
) -> bool {
    let mut drained = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => {
                *trailers = other.into_trailers().unwrap_or_default();
                continue;
            }
        };
        let room = head_bytes_max.saturating_sub(head.len()).min(data.len());
        head.extend_from_slice(data.get(..room).unwrap_or_default());
        drained += data.len();
        if drained > DRAIN_BYTES_MAX.max(head_bytes_max) {
            return false;
        }
    }
    drained <= head_bytes_max
}

/// Reads an answer's body, as long as it has at most `bytes_max` bytes.
pub(super) async fn read_whole(
    mut body: Incoming,
    bytes_max: usize,
    whole: &mut Vec<u8>,
) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::passing("reset", format!("the answer breaks off: {error}"))
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if whole.len() + data.len() > bytes_max {
            let text = format!("the answer has more than {bytes_max} bytes");
            return Err(Failure::passing("too_long", text));
        }
        whole.extend_from_slice(data);
    }
    Ok(())
}

/// The next bytes of an answer's body; `None`: that was all.
pub(super) async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::passing("reset", format!("the answer breaks off: {error}"))
        })?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}
