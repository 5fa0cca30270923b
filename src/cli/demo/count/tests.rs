//! The count of a perfect sink, and of sinks with one fault each: every fault must be seen, and only that one.

use std::fs;
use std::io::Write as _;

use super::super::tests::{Found, read_all, short_play};
use super::*;

/// The records of a short play.
fn records() -> (Vec<Found>, Vec<Instance>) {
    let root = tempfile::tempdir().unwrap();
    let played = short_play(root.path());
    (read_all(root.path()).0, played.instances)
}

/// Counts the rows of a sink that made them of `records`.
fn counted(records: &[Found], instances: &[Instance]) -> Tally {
    let rows: Vec<String> = records.iter().map(Found::row).collect();
    counted_rows(&rows, instances)
}

fn counted_rows(rows: &[String], instances: &[Instance]) -> Tally {
    let directory = tempfile::tempdir().unwrap();
    let text = rows.join("\n") + "\n";
    fs::write(directory.path().join("1.ndjson"), text).unwrap();
    count(directory.path(), instances).unwrap()
}

fn faults(tally: &Tally) -> [u64; 6] {
    [
        tally.lost,
        tally.duplicated,
        tally.corrupted,
        tally.misattributed,
        tally.out_of_order,
        tally.mismarked,
    ]
}

#[test]
fn a_perfect_sink_is_exact_plain_and_in_gzip_members_over_several_files() {
    let (records, instances) = records();
    let tally = counted(&records, &instances);
    assert!(tally.is_exact(), "{tally:?}");
    assert_eq!(tally.rows, records.len() as u64);
    let unfinished = instances.iter().flat_map(|instance| instance.unfinished);
    assert_eq!(tally.unfinished, unfinished.flatten().count() as u64);
    assert_eq!(tally.unnamed, 0);

    let directory = tempfile::tempdir().unwrap();
    let mut files = records.chunks(records.len() / 3 + 1).enumerate().peekable();
    while let Some((number, file)) = files.next() {
        // The names run against the order; the file still open is the last.
        let open = if files.peek().is_none() { ".open" } else { "" };
        let path = directory.path().join(format!("{}.gz{open}", 9 - number));
        let mut target = fs::File::create(&path).unwrap();
        for member in file.chunks(100) {
            let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
            for found in member {
                writeln!(encoder, "{}", found.row()).unwrap();
            }
            target = encoder.finish().unwrap();
        }
        let written = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
        target.set_modified(written).unwrap();
    }
    let compressed = count(directory.path(), &instances).unwrap();
    assert!(compressed.is_exact(), "{compressed:?}");
    assert_eq!(compressed.rows, tally.rows);
}

#[test]
fn a_missing_line_is_lost_and_named() {
    let (mut records, instances) = records();
    let missing = records.remove(records.len() / 2);
    let tally = counted(&records, &instances);
    assert_eq!(faults(&tally), [1, 0, 0, 0, 0, 0]);
    let fault = tally.first_fault.unwrap();
    assert!(fault.contains(&missing.pod), "{fault}");
}

#[test]
fn nothing_at_all_is_all_lost() {
    let (records, instances) = records();
    let tally = counted_rows(&[], &instances);
    assert_eq!(tally.lost, records.len() as u64);
    assert!(!tally.is_exact());
}

#[test]
fn a_line_that_comes_twice_is_a_duplicate() {
    let (mut records, instances) = records();
    let twice = records[records.len() / 2].clone();
    records.push(twice);
    let tally = counted(&records, &instances);
    assert_eq!(faults(&tally), [0, 1, 0, 0, 0, 0]);
}

#[test]
fn a_row_under_another_name_is_misattributed_whatever_part_of_the_name_it_is() {
    let (records, instances) = records();
    let at = records.len() / 2;
    let wrong: [fn(&mut Found); 6] = [
        |found| found.pod.push('x'),
        |found| found.namespace.push('x'),
        |found| found.container.push('x'),
        |found| found.uid = "0".into(),
        |found| found.id = "0".into(),
        |found| {
            found.stream = match found.stream.as_str() {
                "stdout" => "stderr".into(),
                _ => "stdout".into(),
            }
        },
    ];
    for change in wrong {
        let mut records = records.clone();
        change(&mut records[at]);
        let tally = counted(&records, &instances);
        assert_eq!(faults(&tally), [0, 0, 0, 1, 0, 0]);
    }
    let mut swapped = records.clone();
    let other = records
        .iter()
        .position(|found| found.pod != records[at].pod)
        .unwrap();
    swapped[at].message = records[other].message.clone();
    swapped[other].message = records[at].message.clone();
    let tally = counted(&swapped, &instances);
    assert!(tally.misattributed >= 2, "{tally:?}");
}

#[test]
fn a_changed_byte_is_corruption() {
    let (mut records, instances) = records();
    let at = records.len() / 2;
    let last = records[at].message.len() - 1;
    records[at].message[last] ^= 1;
    let tally = counted(&records, &instances);
    assert_eq!(faults(&tally), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn a_missing_part_of_a_long_line_is_corruption() {
    let (mut records, instances) = records();
    let long = records
        .iter_mut()
        .find(|found| found.message.len() > 2 * 16_384)
        .unwrap();
    long.message.drain(16_384..32_768);
    let tally = counted(&records, &instances);
    assert_eq!(faults(&tally), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn a_row_that_is_cut_off_is_corruption() {
    let (records, instances) = records();
    let mut rows: Vec<String> = records.iter().map(Found::row).collect();
    let half = rows[7].len() / 2;
    rows[7].truncate(half);
    let tally = counted_rows(&rows, &instances);
    assert_eq!(faults(&tally), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn two_lines_that_changed_places_are_out_of_order() {
    let (mut records, instances) = records();
    let at = (1..records.len())
        .find(|at| {
            let (one, two) = (&records[at - 1], &records[*at]);
            one.stream == two.stream && one.id == two.id
        })
        .unwrap();
    records.swap(at - 1, at);
    let tally = counted(&records, &instances);
    assert_eq!(faults(&tally), [0, 0, 0, 0, 1, 0]);
}

#[test]
fn a_wrong_partial_mark_is_seen_both_ways() {
    let (records, instances) = records();
    let partial = records.iter().position(|found| found.partial).unwrap();
    let whole = records.iter().position(|found| !found.partial).unwrap();
    for at in [partial, whole] {
        let mut records = records.clone();
        records[at].partial ^= true;
        let tally = counted(&records, &instances);
        assert_eq!(faults(&tally), [0, 0, 0, 0, 0, 1]);
    }
}
