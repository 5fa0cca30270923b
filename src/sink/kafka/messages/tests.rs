use super::*;

/// Bytes from parts, numbers big-endian.
fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

const fn i16s(value: i16) -> [u8; 2] {
    value.to_be_bytes()
}

const fn i32s(value: i32) -> [u8; 4] {
    value.to_be_bytes()
}

#[test]
fn the_newest_version_that_both_sides_speak() {
    let answer =
        |least: i16, most: i16| bytes(&[&i16s(0), &i32s(1), &i16s(0), &i16s(least), &i16s(most)]);
    for (least, most, version) in [
        (0, 2, None),
        (0, 3, Some(3)),
        (3, 12, Some(7)),
        (7, 7, Some(7)),
        (8, 12, None),
    ] {
        let (code, versions) = Versions::read(&answer(least, most)).unwrap();
        assert_eq!(
            (code, versions.of(Api::Produce)),
            (0, version),
            "{least}..{most}"
        );
        assert_eq!(versions.of(Api::Metadata), None);
        assert_eq!(versions.of(Api::Versions), Some(0));
    }
}

#[test]
fn a_request_has_its_head() {
    let expected = bytes(&[
        &i32s(22),
        &i16s(3),
        &i16s(4),
        &i32s(9),
        &i16s(9),
        b"longshore",
        b"abc",
    ]);
    assert_eq!(request(Api::Metadata, 4, 9, b"abc"), expected);
    let topics = ["t".to_owned()];
    assert_eq!(
        metadata_request(3, &topics),
        bytes(&[&i32s(1), &i16s(1), b"t"])
    );
    assert_eq!(
        metadata_request(4, &topics),
        bytes(&[&i32s(1), &i16s(1), b"t", &[1]])
    );
}

#[test]
fn partitions_of_one_topic_stand_together() {
    let mut produce = Produce::new(5);
    for (topic, partition, batch) in [("a", 0, "xy"), ("a", 3, "z"), ("b", 1, "")] {
        let put = |out: &mut Vec<u8>| {
            out.extend_from_slice(batch.as_bytes());
            Ok::<(), ()>(())
        };
        produce.partition(topic, partition, put).unwrap();
    }
    let expected = bytes(&[
        &i16s(-1),
        &i16s(-1),
        &i32s(5),
        &i32s(2),
        &i16s(1),
        b"a",
        &i32s(2),
        &i32s(0),
        &i32s(2),
        b"xy",
        &i32s(3),
        &i32s(1),
        b"z",
        &i16s(1),
        b"b",
        &i32s(1),
        &i32s(1),
        &i32s(0),
    ]);
    assert_eq!(produce.finish(), expected);
}

#[test]
fn answers_are_read_in_each_of_their_versions() {
    for version in 3..=7 {
        let log_start: &[u8] = if version >= 5 { &[0; 8] } else { &[] };
        let answer = bytes(&[
            &i32s(1),
            &i16s(1),
            b"t",
            &i32s(2),
            &i32s(0),
            &i16s(0),
            &[0; 16],
            log_start,
            &i32s(5),
            &i16s(6),
            &[0; 16],
            log_start,
            &i32s(250),
        ]);
        let produced = Produced::read(version, &answer).unwrap();
        let partitions = vec![("t".to_owned(), 0, 0), ("t".to_owned(), 5, 6)];
        assert_eq!(
            produced,
            Produced {
                partitions,
                throttle_ms: 250
            }
        );
        assert_eq!(
            Produced::read(version, &answer[..answer.len() - 1]),
            Err(Malformed)
        );
    }
}

#[test]
fn metadata_are_read_in_each_of_their_versions() {
    for version in 1..=4 {
        let throttle: &[u8] = if version >= 3 { &[0; 4] } else { &[] };
        let cluster: &[u8] = if version >= 2 { &[0xFF, 0xFF] } else { &[] };
        let answer = bytes(&[
            throttle,
            &i32s(1),
            &i32s(7),
            &i16s(1),
            b"h",
            &i32s(9092),
            &i16s(-1),
            cluster,
            &i32s(7),
            &i32s(1),
            &i16s(0),
            &i16s(1),
            b"t",
            &[0],
            &i32s(2),
            &i16s(5),
            &i32s(1),
            &i32s(-1),
            &i32s(1),
            &i32s(7),
            &i32s(0),
            &i16s(0),
            &i32s(0),
            &i32s(7),
            &i32s(0),
            &i32s(0),
        ]);
        let metadata = Metadata::read(version, &answer).unwrap();
        let address = Address {
            host: "h".to_owned(),
            port: 9092,
        };
        assert_eq!(metadata.brokers, [(7, address)]);
        assert_eq!(metadata.topics[0].leaders, [Some(7), None]);
        assert_eq!(
            Metadata::read(version, &answer[..answer.len() - 1]),
            Err(Malformed)
        );
    }
}

#[test]
fn a_count_beyond_the_answer_is_refused_before_room_is_made_for_it() {
    let answer = bytes(&[&i32s(i32::MAX), &[0; 64]]);
    assert_eq!(Metadata::read(1, &answer), Err(Malformed));
    assert_eq!(Produced::read(3, &answer), Err(Malformed));
}
