//! Rows for Azure Monitor: an array of rows, none of whose messages is longer than the service keeps.
//!
//! The service cuts longer values in silence. `record_bytes_max` cuts the bytes that the container wrote; but a byte that
//! is not UTF-8 becomes three, so a message within it may still be too long. It is cut here, and marked as cut.
//! Invariant: a message has at most [`FIELD_BYTES_MAX`] bytes of UTF-8 before JSON's escapes, and the row of one that
//! was cut says so.

use std::ops::Range;

use super::rows::Rows;
use super::{Encode, Encoded, Run};
use crate::config::sinks::azure_logs::FIELD_BYTES_MAX;
use crate::record::{ChainMeta, Flags, Record};

/// Bytes of U+FFFD, which stands for what is not UTF-8.
const REPLACED_BYTES: usize = 3;

/// The encoder of an `azure_logs` sink.
#[derive(Debug)]
pub struct AzureRows(Rows);

impl AzureRows {
    /// These rows, their messages bounded.
    pub fn new(rows: Rows) -> AzureRows {
        AzureRows(rows)
    }
}

/// As much of the message as has at most [`FIELD_BYTES_MAX`] bytes when it is UTF-8.
fn fitting(message: &[u8]) -> &[u8] {
    // Nearly all messages are so short that it does not matter what they hold.
    if message.len() <= FIELD_BYTES_MAX / REPLACED_BYTES {
        return message;
    }
    let (mut read, mut written) = (0, 0);
    for chunk in message.utf8_chunks() {
        let valid = chunk.valid();
        let room = FIELD_BYTES_MAX - written;
        if valid.len() > room {
            let at = (0..=room).rev().find(|at| valid.is_char_boundary(*at));
            read += at.unwrap_or_default();
            return message.get(..read).unwrap_or_default();
        }
        read += valid.len();
        written += valid.len();
        if chunk.invalid().is_empty() {
            continue;
        }
        if written + REPLACED_BYTES > FIELD_BYTES_MAX {
            return message.get(..read).unwrap_or_default();
        }
        read += chunk.invalid().len();
        written += REPLACED_BYTES;
    }
    message
}

impl Encode for AzureRows {
    fn describe(&self, chain: &ChainMeta) -> Vec<u8> {
        self.0.describe(chain)
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        self.0.begin(out);
    }

    fn begin_run(&mut self, run: &Run<'_>, out: &mut Vec<u8>) {
        self.0.begin_run(run, out);
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        let message = fitting(record.message);
        if message.len() == record.message.len() {
            return self.0.record(record, out);
        }
        let flags = record.flags.with(Flags::CUT);
        self.0.record(
            &Record {
                message,
                flags,
                ..*record
            },
            out,
        )
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        self.0.end_run(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }

    fn cut(&self, whole: &[u8], ends: &[u32], keep: &[Range<u32>], out: &mut Vec<u8>) {
        self.0.cut(whole, ends, keep, out);
    }

    fn content_type(&self) -> &'static str {
        self.0.content_type()
    }
}

#[cfg(test)]
mod tests {
    use crate::pods::PodState;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{RowFormat, Rows as RowsConfig};
    use crate::record::{ChainKey, Level, Stream, TimeText};

    /// The rows of these messages.
    fn rows(messages: &[&[u8]], flags: Flags) -> Vec<serde_json::Value> {
        let config = RowsConfig {
            format: RowFormat::JsonArray,
            ..RowsConfig::default()
        };
        let mut encoder = AzureRows::new(Rows::new(&config, "n", None));
        let chain = ChainMeta {
            key: ChainKey {
                pod_uid: "u".to_owned(),
                container: "c".to_owned(),
                restart: 0,
            },
            namespace: "ns".to_owned(),
            pod: "p".to_owned(),
            container_id: String::new(),
            pod_state: PodState::Unasked,
        };
        let described = encoder.describe(&chain);
        let mut out = Vec::new();
        encoder.begin(&mut out);
        let run = Run {
            parse_json: None,
            chain: &chain,
            described: &described,
            uid_seed: 1,
        };
        encoder.begin_run(&run, &mut out);
        for message in messages {
            let record = Record {
                time: &TimeText::EPOCH,
                stream: Stream::Stdout,
                message,
                level: Level::Info,
                flags,
                start: 0,
                end: 1,
            };
            encoder.record(&record, &mut out);
        }
        encoder.end_run(&mut out);
        encoder.finish(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_message_that_fits_is_as_it_was_and_one_that_grows_is_cut_with_a_mark() {
        let whole = vec![b'x'; FIELD_BYTES_MAX];
        // 22,000 bytes that become 66,000.
        let grows = vec![0xFF; 22_000];
        let rows = rows(&[&whole, &grows, b""], Flags::NONE);
        assert_eq!(rows[0]["LogMessage"].as_str().unwrap().as_bytes(), whole);
        assert_eq!(rows[0].get("LogFlags"), None);
        let cut = rows[1]["LogMessage"].as_str().unwrap();
        assert_eq!(cut.len(), FIELD_BYTES_MAX / 3 * 3);
        assert_eq!(rows[1]["LogFlags"], "cut");
        assert_eq!(rows[2]["LogMessage"], "");
    }

    #[test]
    fn a_character_that_was_cut_apart_costs_no_more_than_there_is_room_for() {
        // As `record_bytes_max` leaves it: the last character is half there.
        let mut message = "\u{20AC}".repeat(FIELD_BYTES_MAX / 3 + 1).into_bytes();
        message.truncate(FIELD_BYTES_MAX);
        let rows = rows(&[&message], Flags::CUT);
        let text = rows[0]["LogMessage"].as_str().unwrap();
        assert_eq!(text, "\u{20AC}".repeat(FIELD_BYTES_MAX / 3));
        assert_eq!(rows[0]["LogFlags"], "cut");
    }

    proptest! {
        /// Whatever the bytes are, the message fits, is the beginning of the whole, is cut only if the whole does not
        /// fit, and then at most one character earlier than need be.
        #[test]
        fn what_is_cut_is_as_long_as_can_be(
            pieces in prop::collection::vec(
                (prop_oneof![
                    Just(&b"a"[..]), Just(&b"\xC3\xA9"[..]), Just(&b"\xFF"[..]), Just(&b"\xF0\x9F\x98"[..]),
                    Just(&b"\xF0\x9F\x98\x80"[..]), Just(&b"\""[..]),
                ], 1_usize..30_000),
                0..5,
            ),
        ) {
            let message: Vec<u8> = pieces.iter().flat_map(|(bytes, times)| bytes.repeat(*times)).collect();
            let whole = String::from_utf8_lossy(&message);
            let kept = String::from_utf8_lossy(fitting(&message));
            prop_assert!(kept.len() <= FIELD_BYTES_MAX);
            prop_assert!(whole.starts_with(kept.as_ref()));
            prop_assert!(kept.len() == whole.len() || kept.len() > FIELD_BYTES_MAX - 4);
            prop_assert_eq!(kept.len() == whole.len(), fitting(&message).len() == message.len());
        }
    }
}
