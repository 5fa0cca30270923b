use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;

fn utc(text: &str) -> Option<String> {
    parse(text.as_bytes()).map(|time| String::from_utf8(time.as_bytes().to_vec()).unwrap())
}

fn ns(text: &str) -> Option<i64> {
    unix_ns(&parse(text.as_bytes())?)
}

/// Days from 0000-01-01 by walking over every year and month: slow, and not how the code does it.
fn days_by_walking(year: u32, month: u32, day: u32) -> i64 {
    let leap = |year: u32| {
        year.is_multiple_of(400) || (year.is_multiple_of(4) && !year.is_multiple_of(100))
    };
    let mut days = 0;
    for past in 0..year {
        days += if leap(past) { 366 } else { 365 };
    }
    let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for past in 1..month {
        days += lengths[past as usize - 1] + i64::from(past == 2 && leap(year));
    }
    days + i64::from(day) - 1
}

#[test]
fn utc_is_copied_as_it_is() {
    for text in [
        "2024-02-29T23:59:59Z",
        "2024-01-01T00:00:00.1Z",
        "2024-01-01T00:00:00.123456789Z",
        "2024-01-01T00:00:00.000000000Z",
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60.999Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
    ] {
        assert_eq!(utc(text).as_deref(), Some(text));
    }
}

#[test]
fn zones_are_brought_to_utc_with_the_same_digits() {
    for (zoned, expected) in [
        ("2024-01-01T08:00:00.5+08:00", "2024-01-01T00:00:00.5Z"),
        ("2024-03-01T00:30:00.120+01:00", "2024-02-29T23:30:00.120Z"),
        ("2023-12-31T23:00:00-01:30", "2024-01-01T00:30:00Z"),
        (
            "2024-01-01T00:00:00.000000001+00:00",
            "2024-01-01T00:00:00.000000001Z",
        ),
        ("2024-01-01T00:00:00-00:00", "2024-01-01T00:00:00Z"),
        ("2017-01-01T05:29:60+05:30", "2016-12-31T23:59:60Z"),
        ("2024-01-01T05:45:00+05:45", "2024-01-01T00:00:00Z"),
    ] {
        assert_eq!(utc(zoned).as_deref(), Some(expected), "{zoned}");
    }
}

#[test]
fn what_is_no_timestamp_is_refused() {
    for text in [
        "",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.1234567890Z",
        "2024-01-01T00:00:00.12a4Z",
        "2024-01-01t00:00:00z",
        "2024-01-01 00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2024-01-32T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-04-31T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:00+0800",
        "2024-01-01T00:00:00+08",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+00:60",
        "2024-01-01T00:00:00*00:00",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:00-00:01",
        "-024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z ",
        "2024-0\"-01T00:00:00Z",
    ] {
        assert_eq!(utc(text), None, "{text}");
    }
}

#[test]
fn unix_time_is_right_at_known_moments_and_at_its_borders() {
    assert_eq!(ns("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(ns("1970-01-01T00:00:00.000000001Z"), Some(1));
    assert_eq!(ns("1969-12-31T23:59:59.999999999Z"), Some(-1));
    assert_eq!(
        ns("2001-09-09T01:46:40.5Z"),
        Some(1_000_000_000_500_000_000)
    );
    assert_eq!(ns("2016-12-31T23:59:60Z"), ns("2017-01-01T00:00:00Z"));
    assert_eq!(ns("2262-04-11T23:47:16.854775807Z"), Some(i64::MAX));
    assert_eq!(ns("2262-04-11T23:47:16.854775808Z"), None);
    assert_eq!(ns("1677-09-21T00:12:43.145224192Z"), Some(i64::MIN));
    assert_eq!(ns("1677-09-21T00:12:43.145224191Z"), None);
    assert_eq!(ns("9999-12-31T23:59:59Z"), None);
}

#[test]
fn the_wall_clock_is_written_with_nine_digits() {
    let at = |seconds, nanos| from_wall(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
    assert_eq!(at(0, 0).as_bytes(), b"1970-01-01T00:00:00.000000000Z");
    assert_eq!(
        at(951_782_400, 7).as_bytes(),
        b"2000-02-29T00:00:00.000000007Z"
    );
    assert_eq!(
        at(253_402_300_799, 0).as_bytes(),
        b"9999-12-31T23:59:59.000000000Z"
    );
    assert_eq!(at(253_402_300_800, 0), TimeText::EPOCH);
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(from_wall(before), TimeText::EPOCH);
}

#[test]
fn the_first_time_of_a_segment_is_found_in_both_formats() {
    let docker = br#"{"log":"x\n","stream":"stdout","time":"1970-01-01T00:00:02Z"}"#;
    assert_eq!(first_time_ns(docker, true), Some(2_000_000_000));
    assert_eq!(first_time_ns(&docker[..40], true), None);
    assert_eq!(first_time_ns(docker, false), None);
    assert_eq!(
        first_time_ns(b"1970-01-01T01:00:01+01:00 std", false),
        Some(1_000_000_000)
    );
    assert_eq!(first_time_ns(b"what is this", false), None);
}

prop_compose! {
    fn moment()(
        year in 1_u32..9999, month in 1_u32..=12, day in 1_u32..=28, minute in 0_i64..1440,
        second in 0_u32..=60, fraction in "(\\.[0-9]{1,9})?",
    ) -> (u32, u32, u32, i64, u32, String) {
        (year, month, day, minute, second, fraction)
    }
}

proptest! {
    /// Bringing a time to UTC moves it by its offset, as counted by walking over the calendar.
    #[test]
    fn offsets_agree_with_a_walk_over_the_calendar(
        (year, month, day, minute, second, fraction) in moment(), offset in -1439_i64..=1439,
    ) {
        let (sign, ahead) = (if offset < 0 { '-' } else { '+' }, offset.abs());
        let zoned = format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{second:02}{fraction}{sign}{:02}:{:02}",
            minute / 60, minute % 60, ahead / 60, ahead % 60,
        );
        let converted = utc(&zoned).unwrap();
        let field = |range: std::ops::Range<usize>| converted.get(range).unwrap().parse::<u32>().unwrap();
        let minutes = days_by_walking(field(0..4), field(5..7), field(8..10)) * 1440
            + i64::from(field(11..13) * 60 + field(14..16));
        prop_assert_eq!(minutes + offset, days_by_walking(year, month, day) * 1440 + minute);
        let tail = format!(":{second:02}{fraction}Z");
        prop_assert_eq!(converted.get(16..), Some(tail.as_str()));
    }

    /// Unix time agrees with the walk over the calendar wherever 64 bits hold it.
    #[test]
    fn unix_time_agrees_with_a_walk_over_the_calendar(
        (year, month, day, minute, second, fraction) in moment(),
    ) {
        let text = format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{second:02}{fraction}Z",
            minute / 60, minute % 60,
        );
        let days = days_by_walking(year, month, day) - days_by_walking(1970, 1, 1);
        let digits = fraction.trim_start_matches('.');
        let nanos: i128 = format!("{digits:0<9}").parse().unwrap();
        let expected = i128::from((days * 1440 + minute) * 60 + i64::from(second)) * 1_000_000_000 + nanos;
        prop_assert_eq!(ns(&text), i64::try_from(expected).ok());
    }

    /// What the wall clock is written as is the same moment when read again.
    #[test]
    fn the_wall_clock_reads_back(since_ns in 0..i64::MAX) {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_nanos(since_ns.unsigned_abs());
        prop_assert_eq!(unix_ns(&from_wall(wall)), Some(since_ns));
    }

    /// Any bytes are read or refused without a panic, and what is read needs no escapes in JSON.
    #[test]
    fn any_bytes_are_read_or_refused(text in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9][.Z+,-][0-9Z:]{0,16}"
            .prop_map(String::into_bytes),
    ]) {
        if let Some((time, rest)) = take(&text) {
            prop_assert!(text.ends_with(rest));
            prop_assert!(time.as_bytes().iter().all(|byte| b"0123456789-:.TZ".contains(byte)));
            prop_assert_eq!(parse(time.as_bytes()), Some(time));
        }
    }
}
