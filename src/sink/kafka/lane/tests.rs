use std::ops::Range;

use super::*;
use crate::config::{Compression, RowFormat};
use crate::sink::kafka::batch::Packing;

/// A payload of frames: 20 records of 100 bytes, all of one chain.
fn payload() -> Vec<u8> {
    let mut out = vec![1];
    let (topic, key) = (b"t".as_slice(), b"key".as_slice());
    out.extend_from_slice(&10_u32.to_le_bytes());
    out.extend_from_slice(&1_u16.to_le_bytes());
    out.extend_from_slice(&3_u32.to_le_bytes());
    out.extend_from_slice(&[topic, key].concat());
    for number in 0..20_u8 {
        out.push(2);
        out.extend_from_slice(&124_u32.to_le_bytes());
        out.extend_from_slice(&u128::from(number).to_le_bytes());
        out.extend_from_slice(&0_i64.to_le_bytes());
        out.extend_from_slice(&[number; 100]);
    }
    out
}

fn lanes(bytes_max: usize) -> Lanes {
    let known = Known {
        leaders: vec![Some(1)],
        bytes_max,
    };
    let mut sorted = sort(&payload(), &HashMap::from([("t".to_owned(), known)])).unwrap();
    Lanes {
        lanes: sorted.remove(&Some(1)).unwrap(),
        settled: Vec::new(),
    }
}

/// A broker that answers each batch (as a range of record numbers) with an error code.
fn run(mut lanes: Lanes, broker: impl Fn(Range<u32>) -> i16) -> (Lanes, Vec<Range<u32>>) {
    let packing = Packing {
        records_max: 1,
        format: RowFormat::Ndjson,
    };
    let mut packer = Packer::new(packing, Compression::None);
    let payload = payload();
    let mut batches = Vec::new();
    while let Some((_, sent)) = lanes.request(&payload, &mut packer, 100_000, 1).unwrap() {
        let start = lanes.lanes[0].at as u32;
        let batch = start..start + sent[0].count as u32;
        let produced = Produced {
            partitions: vec![("t".to_owned(), 0, broker(batch.clone()))],
            throttle_ms: 0,
        };
        batches.push(batch);
        lanes.judge(&sent, &produced);
        assert!(batches.len() < 200, "it does not end: {batches:?}");
    }
    (lanes, batches)
}

fn accepted(lanes: &Lanes) -> Vec<u32> {
    let settled = lanes.settled.iter();
    let accepted = settled.filter(|(_, item)| *item == Item::Accepted);
    accepted.map(|(number, _)| *number).collect()
}

#[test]
fn a_lane_goes_no_further_than_its_first_failure() {
    let (lanes, batches) = run(lanes(1000), |batch| if batch.contains(&10) { 6 } else { 0 });
    let first_failed = batches.last().unwrap().start;
    assert_eq!(accepted(&lanes), (0..first_failed).collect::<Vec<_>>());
    let trouble = lanes.lanes[0].stopped.as_ref().unwrap();
    assert!(!trouble.lasting && lanes.lanes[0].stale);
    assert_eq!(trouble.reason.code, "kafka_not_leader_or_follower");
}

#[test]
fn a_topic_that_is_not_there_any_more_may_have_moved() {
    let (lanes, _) = run(lanes(1000), |_| 3);
    assert!(lanes.lanes[0].stale && !lanes.lanes[0].stopped.as_ref().unwrap().lasting);
    let (lanes, _) = run(super::tests::lanes(1000), |_| 29);
    assert!(lanes.lanes[0].stopped.as_ref().unwrap().lasting);
}

#[test]
fn a_broker_of_small_messages_is_given_small_batches() {
    let (lanes, batches) = run(lanes(100_000), |batch| if batch.len() > 6 { 10 } else { 0 });
    assert_eq!(accepted(&lanes), (0..20).collect::<Vec<_>>());
    assert!(lanes.lanes[0].bytes_max < 3000);
    // What was learned is kept: only the first ones are too large.
    assert!(
        batches.iter().filter(|batch| batch.len() > 6).count() <= 2,
        "{batches:?}"
    );
}

#[test]
fn a_single_record_that_the_broker_refuses_is_found_and_the_others_are_stored() {
    for code in [10, 87, 32] {
        let refuse = |batch: Range<u32>| if batch.contains(&13) { code } else { 0 };
        let (lanes, _) = run(lanes(100_000), refuse);
        let others: Vec<u32> = (0..20).filter(|number| *number != 13).collect();
        assert_eq!(accepted(&lanes), others);
        let rejected: Vec<_> = lanes
            .settled
            .iter()
            .filter(|(_, item)| *item != Item::Accepted)
            .collect();
        assert!(
            matches!(rejected.as_slice(), [(13, Item::Rejected(_))]),
            "{rejected:?}"
        );
        assert!(lanes.lanes[0].stopped.is_none());
    }
}

#[test]
fn a_record_that_fits_nowhere_is_refused_without_the_broker() {
    let mut small = lanes(100_000);
    small.lanes[0].bytes_max = 150;
    let (lanes, batches) = run(small, |_| 0);
    assert_eq!((lanes.settled.len(), batches.len()), (20, 0));
    assert!(
        lanes
            .settled
            .iter()
            .all(|(_, item)| matches!(item, Item::Rejected(_)))
    );
}

#[test]
fn records_of_topics_that_are_not_known_keep_their_numbers() {
    let mut two = payload();
    let first = two.len();
    two.extend_from_slice(&payload());
    two[first + 11] = b'u';
    assert_eq!(topics_of(&two).unwrap(), ["t", "u"]);
    let known = Known {
        leaders: vec![None; 3],
        bytes_max: 1000,
    };
    let sorted = sort(&two, &HashMap::from([("u".to_owned(), known)])).unwrap();
    let lane = &sorted[&None][0];
    let numbers: Vec<u32> = lane.entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (20..40).collect::<Vec<_>>());
    assert_eq!(lane.topic, "u");
    assert!(topics_of(&two[..two.len() - 1]).is_err());
}
