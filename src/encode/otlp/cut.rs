//! Payloads cut out of payloads: runs keep their resource and the records that are wanted.
//!
//! Invariant: what is made is what encoding the wanted records alone would have made. Bytes that are not what this
//! encoder makes end the cut where they begin.

use std::ops::Range;

use super::{Otlp, RESOURCE, RESOURCE_LOGS, SCOPE, SCOPE_LOGS};
use crate::encode::protobuf::take_field;

/// A run, as it lies in a payload.
struct Found<'a> {
    /// The resource, with its tag and length.
    resource: &'a [u8],
    /// Where its records begin and end.
    records: Range<usize>,
    /// What is behind the run.
    rest: &'a [u8],
}

/// The run at the beginning of `bytes`, which begin at `at`.
fn find(bytes: &[u8], at: usize) -> Option<Found<'_>> {
    let (RESOURCE_LOGS, run, rest) = take_field(bytes)? else {
        return None;
    };
    let run_at = at + (bytes.len() - rest.len() - run.len());
    let (RESOURCE, _, behind_resource) = take_field(run)? else {
        return None;
    };
    let resource = run.get(..run.len() - behind_resource.len())?;
    let (SCOPE_LOGS, scope_logs, behind_scope) = take_field(behind_resource)? else {
        return None;
    };
    let (SCOPE, _, records) = take_field(scope_logs)? else {
        return None;
    };
    let end = run_at + (run.len() - behind_scope.len());
    Some(Found {
        resource,
        records: end - records.len()..end,
        rest,
    })
}

pub(super) fn cut(
    encoder: &Otlp,
    whole: &[u8],
    ends: &[u32],
    keep: &[Range<u32>],
    out: &mut Vec<u8>,
) {
    let mut keep = keep.iter().cloned().flatten().peekable();
    let mut ends = ends.iter().map(|end| *end as usize).zip(0_u32..).peekable();
    let mut left = whole;
    while keep.peek().is_some()
        && let Some(run) = find(left, whole.len() - left.len())
    {
        let mut place = None;
        let mut start = run.records.start;
        while let Some((end, number)) = ends.next_if(|(end, _)| *end <= run.records.end) {
            if keep.next_if_eq(&number).is_some() {
                place.get_or_insert_with(|| encoder.open_run(run.resource, out));
                out.extend_from_slice(whole.get(start..end).unwrap_or_default());
            }
            start = end;
        }
        if let Some(place) = place {
            encoder.close_run(&place, out);
        }
        left = run.rest;
    }
}
