//! Payloads cut out of payloads: streams keep their labels and the entries that are wanted.
//!
//! Invariant: what is made has each wanted record once, in order, in a stream of its labels, and no stream without
//! entries. Bytes that are not what the encoder makes end the cut where they begin.

use std::ops::Range;

use super::{ENTRIES, LABELS, Loki, STREAMS};
use crate::encode::protobuf::take_field;

pub(super) fn cut(whole: &[u8], keep: &[Range<u32>], out: &mut Vec<u8>) {
    let mut keep = keep.iter().cloned().flatten().peekable();
    let mut number = 0;
    let mut left = whole;
    while keep.peek().is_some()
        && let Some((STREAMS, stream, rest)) = take_field(left)
        && let Some((LABELS, labels, mut entries)) = take_field(stream)
    {
        let mut place = None;
        while let Some((ENTRIES, _, behind)) = take_field(entries) {
            if keep.next_if_eq(&number).is_some() {
                place.get_or_insert_with(|| Loki::open(labels, 0, out));
                let entry = entries.len() - behind.len();
                out.extend_from_slice(entries.get(..entry).unwrap_or_default());
            }
            number += 1;
            entries = behind;
        }
        if let Some(place) = place {
            Loki::close(place, out);
        }
        left = rest;
    }
}
