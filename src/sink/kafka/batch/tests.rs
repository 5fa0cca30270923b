use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::config::{Rows as RowsConfig, Topic};
use crate::encode::frames::Frames;
use crate::encode::testing::{Owned, chain, encode};
use crate::sink::kafka::lane::{Known, sort};
use crate::sink::kafka::wire::Reader;

/// Reads a batch from its definition; the records' varints are read by [`varint`], which is not the writer's inverse
/// by construction.
struct Message {
    key: Vec<u8>,
    value: Vec<u8>,
    uids: String,
    time_ms: i64,
}

fn varint(bytes: &mut &[u8]) -> i64 {
    let mut value: u64 = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn sized(bytes: &mut &[u8]) -> Vec<u8> {
    let len = usize::try_from(varint(bytes)).unwrap();
    let (taken, rest) = bytes.split_at(len);
    *bytes = rest;
    taken.to_vec()
}

/// CRC-32C bit by bit (RFC 3720, appendix B.4).
fn castagnoli(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

fn read(batch: &[u8]) -> Vec<Message> {
    let mut head = Reader::new(batch);
    assert_eq!(head.i64(), Ok(0));
    assert_eq!(head.i32(), Ok(batch.len() as i32 - 12));
    assert_eq!(head.i32(), Ok(-1));
    assert_eq!(batch[16], 2);
    assert_eq!(batch[17..21], castagnoli(&batch[21..]).to_be_bytes());
    let mut head = Reader::new(&batch[21..]);
    let codec = head.i16().unwrap();
    let last = head.i32().unwrap();
    let base_ms = head.i64().unwrap();
    let max_ms = head.i64().unwrap();
    assert_eq!(
        (head.i64(), head.i16(), head.i32()),
        (Ok(-1), Ok(-1), Ok(-1))
    );
    let count = head.i32().unwrap();
    assert_eq!(last, count - 1);
    let body = &batch[BATCH_HEAD_BYTES..];
    let mut records = Vec::new();
    match codec {
        0 => records.extend_from_slice(body),
        1 => drop(
            flate2::read::MultiGzDecoder::new(body)
                .read_to_end(&mut records)
                .unwrap(),
        ),
        4 => records = zstd::decode_all(body).unwrap(),
        other => panic!("codec {other}"),
    }
    let mut rest = records.as_slice();
    let mut messages = Vec::new();
    for number in 0..count {
        let record = sized(&mut rest);
        let mut record = record.as_slice();
        assert_eq!(record[0], 0);
        record = &record[1..];
        let time_ms = base_ms + varint(&mut record);
        assert_eq!(varint(&mut record), i64::from(number));
        let (key, value) = (sized(&mut record), sized(&mut record));
        assert_eq!(varint(&mut record), 1);
        assert_eq!(sized(&mut record), UID_HEADER);
        let uids = String::from_utf8(sized(&mut record)).unwrap();
        assert!(record.is_empty() && time_ms <= max_ms);
        messages.push(Message {
            key,
            value,
            uids,
            time_ms,
        });
    }
    assert!(rest.is_empty());
    messages
}

/// Entries of a payload that is nothing but the keys and rows: each row `ROW`, under one of two keys.
fn payload(records: &[(bool, Vec<u8>, i64)]) -> (Vec<u8>, Vec<Entry>) {
    let mut payload = b"key-one".to_vec();
    let mut entries = Vec::new();
    for (number, (first, row, time_ms)) in records.iter().enumerate() {
        let start = payload.len() as u32;
        payload.extend_from_slice(row);
        entries.push(Entry {
            number: number as u32,
            key: if *first { 0..7 } else { 4..7 },
            head: 7..7,
            row: start..payload.len() as u32,
            uid: number as u128 * 3,
            time_ms: *time_ms,
        });
    }
    (payload, entries)
}

fn packer(records_max: usize, format: RowFormat, compression: Compression) -> Packer {
    let packing = Packing {
        records_max,
        format,
    };
    Packer::new(packing, compression)
}

#[test]
fn several_records_of_one_chain_make_a_message() {
    let rows = [
        (true, "{1}"),
        (true, "{2}"),
        (true, "{3}"),
        (false, "{4}"),
        (true, "{5}"),
    ];
    let rows: Vec<_> = rows
        .map(|(first, row)| (first, row.as_bytes().to_vec(), 7))
        .into();
    let (payload, entries) = payload(&rows);
    for (format, expected) in [
        (RowFormat::Ndjson, ["{1}\n{2}", "{3}", "{4}", "{5}"]),
        (
            RowFormat::JsonArray,
            ["[{1},{2}]", "[{3}]", "[{4}]", "[{5}]"],
        ),
    ] {
        let mut out = Vec::new();
        let mut packer = packer(2, format, Compression::None);
        packer.batch(&payload, &entries, &mut out).unwrap();
        let found = read(&out);
        let values: Vec<_> = found
            .iter()
            .map(|it| String::from_utf8_lossy(&it.value))
            .collect();
        assert_eq!(values, expected);
        assert_eq!(found[0].uids, format!("{:032x},{:032x}", 0, 3));
        assert_eq!(found[2].key, b"one");
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct LogBatch {
    #[prost(message, repeated, tag = "1")]
    groups: Vec<Group>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Group {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
    #[prost(message, repeated, tag = "2")]
    records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "4")]
    pod_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LogRecord {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bytes = "vec", tag = "5")]
    record_uid: Vec<u8>,
}

/// A value of protobuf is a batch that says once whose its records are, also where they come of several runs.
#[test]
fn records_of_one_chain_share_their_container() {
    let config = RowsConfig {
        format: RowFormat::Protobuf,
        record_uid: true,
        ..RowsConfig::default()
    };
    let mut frames = Frames::new(&config, "n", None, Topic::parse("t").unwrap());
    // Ends in what would be a line end.
    let run = |pod: &str, messages: [&[u8]; 2]| (chain(pod), messages.map(Owned::of).to_vec());
    let runs = [
        run("a", [b"one", b"two\n"]),
        run("a", [b"three", b"four"]),
        run("b", [b"five", b"six"]),
    ];
    let payload = encode(&mut frames, 7, &runs).bytes;
    let topic = Known {
        leaders: vec![Some(1)],
        bytes_max: usize::MAX,
    };
    let lanes = sort(&payload, &[("t".to_owned(), topic)].into()).unwrap();
    let entries = lanes[&Some(1)][0].entries();
    let mut out = Vec::new();
    let mut packer = packer(3, RowFormat::Protobuf, Compression::None);
    packer.batch(&payload, entries, &mut out).unwrap();
    assert!(out.len() <= Packer::bytes_of(entries));
    let mut found = Vec::new();
    for message in read(&out) {
        let batch = <LogBatch as prost::Message>::decode(message.value.as_slice()).unwrap();
        let [group] = &batch.groups[..] else {
            panic!("{batch:?}");
        };
        let records = group.records.iter();
        let uid = |record: &LogRecord| {
            let uid = record.record_uid.as_slice().try_into().unwrap();
            format!("{:032x}", u128::from_be_bytes(uid))
        };
        let uids: Vec<_> = records.clone().map(uid).collect();
        assert_eq!(uids.join(","), message.uids);
        let texts: Vec<_> = records.map(|record| record.message.clone()).collect();
        found.push((group.container.clone().unwrap().pod_name, texts.join(" ")));
    }
    let expected = [("a", "one two\n three"), ("a", "four"), ("b", "five six")];
    assert_eq!(
        found,
        expected.map(|(pod, texts)| (pod.to_owned(), texts.to_owned()))
    );
}

proptest! {
    /// A batch holds its records in order, with their keys, uids and times, however it is compressed, and is not larger
    /// than was foretold.
    #[test]
    fn a_batch_holds_its_records(
        records in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), -5_000_000_000_i64..5_000_000_000_000),
            1..20,
        ),
        records_max in 1_usize..5,
        compression in prop_oneof![
            Just(Compression::None), Just(Compression::Gzip(1)), Just(Compression::Zstd(1))
        ],
    ) {
        let (payload, entries) = payload(&records);
        let mut packer = packer(records_max, RowFormat::Ndjson, compression);
        for _ in 0..2 {
            let mut out = b"before".to_vec();
            packer.batch(&payload, &entries, &mut out).unwrap();
            let found = read(&out[6..]);
            let mut rest = entries.as_slice();
            for message in &found {
                let count = message.uids.split(',').count();
                prop_assert!((1..=records_max).contains(&count));
                let (these, behind) = rest.split_at(count);
                rest = behind;
                let row = |entry: &Entry| payload[entry.row.start as usize..entry.row.end as usize].to_vec();
                let rows: Vec<_> = these.iter().map(row).collect();
                prop_assert_eq!(&message.value, &rows.join(&b'\n'));
                let uids: Vec<_> = these.iter().map(|entry| format!("{:032x}", entry.uid)).collect();
                prop_assert_eq!(&message.uids, &uids.join(","));
                prop_assert_eq!(message.time_ms, these[0].time_ms);
                for entry in these {
                    prop_assert_eq!(slice(&payload, &entry.key), message.key.as_slice());
                }
            }
            prop_assert!(rest.is_empty());
            if compression == Compression::None {
                let bytes = Packer::bytes_of(&entries);
                prop_assert!(out.len() - 6 <= bytes);
                prop_assert_eq!(Packer::fitting(&entries, bytes), entries.len());
                prop_assert_eq!(Packer::fitting(&entries, bytes - 1), entries.len() - 1);
            }
        }
    }
}
