//! Names of the file sink's own files: `<start time>-<number>.<suffix>[.open|.damaged]`.
//!
//! Invariant: only what [`Name::parse`] takes is ever cut, renamed or deleted. Files are ordered by their number, which
//! only grows; the time is for people, and may step back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Suffixes that any configuration of this sink can write.
const SUFFIXES: [&str; 8] = [
    "ndjson",
    "ndjson.gz",
    "ndjson.zst",
    "json",
    "json.gz",
    "json.zst",
    "pb.gz",
    "pb.zst",
];

/// Longer numbers are not ours: there is always a next one.
const DIGITS_MAX: usize = 18;

/// What a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Written to; its tail may be torn.
    Open,
    /// Whole, for good.
    Finished,
    /// Set aside: it holds something that no torn write explains.
    Damaged,
}

/// A file's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// When it was begun, in seconds since 1970.
    pub(super) start_s: u64,
    /// Its place in the order.
    pub(super) number: u64,
    /// What follows the first dot, without the state.
    pub(super) suffix: &'static str,
    /// What it is in.
    pub(super) state: State,
}

impl Name {
    /// The suffix as a constant, if this sink can write it.
    pub(super) fn known_suffix(suffix: &str) -> Option<&'static str> {
        SUFFIXES.into_iter().find(|known| *known == suffix)
    }

    /// Takes a file name apart; `None`: not one of ours.
    pub(super) fn parse(text: &str) -> Option<Name> {
        let (stem, rest) = text.split_once('.')?;
        let (start, number) = stem.split_once('-')?;
        let (suffix, state) = if let Some(suffix) = rest.strip_suffix(".open") {
            (suffix, State::Open)
        } else if let Some(suffix) = rest.strip_suffix(".damaged") {
            (suffix, State::Damaged)
        } else {
            (rest, State::Finished)
        };
        if !(10..=DIGITS_MAX).contains(&number.len())
            || !number.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        Some(Name {
            start_s: parse_time(start)?,
            number: number.parse().ok()?,
            suffix: Name::known_suffix(suffix)?,
            state,
        })
    }

    /// The same file in another state.
    pub(super) fn with(&self, state: State) -> Name {
        Name {
            state,
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = civil_from_days(self.start_s / 86_400);
        let second = self.start_s % 86_400;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
        )?;
        let state = match self.state {
            State::Open => ".open",
            State::Finished => "",
            State::Damaged => ".damaged",
        };
        write!(f, "-{:010}.{}{state}", self.number, self.suffix)
    }
}

/// Whole seconds since 1970, kept within the years that a name can hold.
pub(super) fn seconds_of(wall: SystemTime) -> u64 {
    const YEAR_10000_S: u64 = 253_402_300_800;
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_secs().min(YEAR_10000_S - 1)
}

fn parse_time(text: &str) -> Option<u64> {
    let field = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        if all { digits.parse().ok() } else { None }
    };
    if text.len() != 16 || text.get(8..9)? != "T" || text.get(15..)? != "Z" {
        return None;
    }
    let (year, month, day) = (field(0, 4)?, field(4, 6)?, field(6, 8)?);
    let (hour, minute, second) = (field(9, 11)?, field(11, 13)?, field(13, 15)?);
    let in_range = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years are counted from March, so that the
/// leap day is the last of its year.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_reads_as_a_time_and_a_number() {
        let name = Name {
            start_s: 1_709_210_096,
            number: 42,
            suffix: "ndjson.gz",
            state: State::Open,
        };
        assert_eq!(
            name.to_string(),
            "20240229T123456Z-0000000042.ndjson.gz.open"
        );
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for foreign in [
            "",
            ".lock",
            "notes.txt",
            "20240229T123456Z-0000000042",
            "20240229T123456Z-0000000042.txt",
            "20240229T123456Z-42.ndjson",
            "20240229T123456Z-+000000042.ndjson",
            "20240229T123456Z-0000000042.ndjson.gz.open.open",
            "20241329T123456Z-0000000042.ndjson",
            "20240229 123456Z-0000000042.ndjson",
            "2024022\u{e9}T12345Z-0000000042.ndjson",
            "20240229T123456Z-18446744073709551615.ndjson",
        ] {
            assert_eq!(Name::parse(foreign), None, "{foreign}");
        }
    }

    proptest! {
        /// parse(display(name)) = name, for every time a name can hold, and display grows with the time.
        #[test]
        fn a_name_survives_its_text(
            start_s in 0_u64..253_402_300_799, number in 0..10_u64.pow(18), suffix in 0_usize..6,
            state in 0_u8..3,
        ) {
            let state = match state {
                0 => State::Open,
                1 => State::Finished,
                _ => State::Damaged,
            };
            let name = Name { start_s, number, suffix: SUFFIXES[suffix], state };
            prop_assert_eq!(Name::parse(&name.to_string()), Some(name.clone()));
            let later = Name { start_s: start_s + 1, ..name.clone() };
            prop_assert!(later.to_string() > name.to_string());
        }
    }
}
