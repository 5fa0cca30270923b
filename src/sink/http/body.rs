//! A request's body: what a protocol puts in front of the payload, and the payload, neither copied.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body of known size in at most two frames.
#[derive(Debug)]
pub struct TwoFrames {
    first: Bytes,
    second: Bytes,
}

impl TwoFrames {
    /// `first`, then `second`; either may be empty.
    pub fn new(first: Bytes, second: Bytes) -> TwoFrames {
        TwoFrames { first, second }
    }
}

impl Body for TwoFrames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let first = std::mem::take(&mut self.first);
        let next = match first.is_empty() {
            true => std::mem::take(&mut self.second),
            false => first,
        };
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.second.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.first.len() + self.second.len()) as u64)
    }
}
