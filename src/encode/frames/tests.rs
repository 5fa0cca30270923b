use proptest::prelude::*;

use super::*;
use crate::pods::PodState;
use crate::record::{ChainKey, Flags, Level, Stream, TimeText};

const TIME: &[u8] = b"2024-02-29T23:59:59.000000001Z";
const TIME_MS: i64 = 1_709_251_199_000;

/// The chain of a run, and the messages of its records.
type Runs = Vec<(u8, Vec<Vec<u8>>)>;

/// The same, each record with its number.
type Numbered = Vec<(u8, Vec<(u64, Vec<u8>)>)>;

fn chain(number: u8) -> ChainMeta {
    ChainMeta {
        key: ChainKey {
            pod_uid: format!("uid-{number}"),
            container: "app".to_owned(),
            restart: 0,
        },
        namespace: format!("ns{}", number % 2),
        pod: "web-0".to_owned(),
        container_id: String::new(),
        pod_state: PodState::Unasked,
    }
}

fn encoder() -> Frames {
    let topic = Topic::parse("logs-{namespace}").unwrap();
    Frames::new(&RowsConfig::default(), "node-1", None, topic)
}

fn record<'a>(time: &'a TimeText, message: &'a [u8], number: u64) -> Record<'a> {
    Record {
        time,
        stream: Stream::Stdout,
        message,
        level: Level::Info,
        flags: Flags::NONE,
        start: number * 100,
        end: number * 100 + 99,
    }
}

/// Encodes runs; the numbers of the records come with them, so that a part of them keeps their uids.
fn encode(runs: &Numbered) -> (Vec<u8>, Vec<u32>) {
    let mut frames = encoder();
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    let time = TimeText::new(TIME);
    frames.begin(&mut out);
    for (number, messages) in runs {
        let chain = chain(*number);
        let described = frames.describe(&chain);
        let run = Run {
            parse_json: None,
            chain: &chain,
            described: &described,
            uid_seed: u64::from(*number),
        };
        frames.begin_run(&run, &mut out);
        for (number, message) in messages {
            frames.record(&record(&time, message, *number), &mut out);
            ends.push(out.len() as u32);
        }
        frames.end_run(&mut out);
    }
    frames.finish(&mut out);
    (out, ends)
}

fn numbered(runs: &Runs) -> Numbered {
    let mut number = 0;
    let mut numbered = Vec::new();
    for (chain, messages) in runs {
        let with_numbers = messages.iter().map(|message| {
            number += 1;
            (number, message.clone())
        });
        numbered.push((*chain, with_numbers.collect()));
    }
    numbered
}

fn runs() -> impl Strategy<Value = Runs> {
    let messages = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4);
    prop::collection::vec((0_u8..3, messages), 0..5)
}

#[test]
fn a_frame_says_where_what_it_ends_in_is() {
    let (payload, _) = encode(&numbered(&vec![(1, vec![b"hello".to_vec()])]));
    let found: Vec<_> = frames(&payload).map(Result::unwrap).collect();
    let [(head_at, run), (row_at, one)] = found.as_slice() else {
        panic!("{found:?}");
    };
    let topic = "logs-ns1";
    let key = b"uid-1/app/0".as_slice();
    let head = b"".as_slice();
    assert_eq!(*run, Frame::Run { topic, key, head });
    let part = |place: &Range<u32>| &payload[place.start as usize..place.end as usize];
    assert_eq!(part(head_at), head);
    assert!(payload[..head_at.start as usize].ends_with(key));
    let Frame::Record { uid, time_ms, row } = one else {
        panic!("{one:?}");
    };
    let time = TimeText::new(TIME);
    assert_eq!(*uid, record_uid(1, &record(&time, b"hello", 1)));
    assert_eq!((*time_ms, part(row_at)), (TIME_MS, *row));
    let row: serde_json::Value = serde_json::from_slice(row).unwrap();
    assert_eq!(row["LogMessage"], "hello");
}

proptest! {
    /// What was put in is what comes out, in order, each record with its chain's key, and its row on one line.
    #[test]
    fn frames_hold_what_was_encoded(runs in runs()) {
        let (payload, _) = encode(&numbered(&runs));
        let mut keys = Vec::new();
        let mut at = None;
        for frame in frames(&payload) {
            match frame.unwrap().1 {
                Frame::Run { key, .. } => at = Some(String::from_utf8(key.to_vec()).unwrap()),
                Frame::Record { row, .. } => {
                    let is_object = row.ends_with(b"}") && !row.contains(&b'\n');
                    prop_assert!(is_object);
                    keys.push(at.clone().unwrap());
                }
            }
        }
        let expected: Vec<String> = runs
            .iter()
            .flat_map(|(number, messages)| vec![chain(*number).key.to_string(); messages.len()])
            .collect();
        prop_assert_eq!(keys, expected);
    }

    /// Cutting any records out of a payload gives what encoding just those would have given.
    #[test]
    fn a_cut_equals_encoding_what_is_kept(
        runs in runs(),
        keep in prop::collection::vec(any::<bool>(), 20),
    ) {
        let numbered = numbered(&runs);
        let (whole, ends) = encode(&numbered);
        let kept = |number: u64| keep[number as usize];
        let mut ranges = Vec::new();
        let mut part = Vec::new();
        for (chain, records) in &numbered {
            let records: Vec<_> = records.iter().filter(|(number, _)| kept(*number)).cloned().collect();
            for (number, _) in &records {
                let at = *number as u32 - 1;
                ranges.push(at..at + 1);
            }
            if !records.is_empty() {
                part.push((*chain, records));
            }
        }
        let mut cut = Vec::new();
        encoder().cut(&whole, &ends, &ranges, &mut cut);
        prop_assert_eq!(cut, encode(&part).0);
    }

    /// Whatever the bytes, reading them ends, and nothing is read twice.
    #[test]
    fn damaged_payloads_end(mut payload in prop::collection::vec(any::<u8>(), 0..200), whole in runs(), at: u16) {
        let (good, _) = encode(&numbered(&whole));
        let at = usize::from(at) % (good.len() + 1);
        let mut mixed = good[..at].to_vec();
        mixed.append(&mut payload);
        let mut read = 0;
        for frame in frames(&mixed) {
            match frame {
                Ok((place, _)) => {
                    prop_assert!(place.end as usize > read && place.end as usize <= mixed.len());
                    read = place.end as usize;
                }
                Err(damaged) => prop_assert_eq!(damaged.at, read),
            }
        }
    }
}
