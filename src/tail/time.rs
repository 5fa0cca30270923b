//! Timestamps as container runtimes write them: checked byte by byte, brought to UTC, compared.
//!
//! Invariant: every [`TimeText`] made here is a real calendar moment in the form of RFC 3339, in
//! UTC and ending in `Z`, and holds nothing that JSON would have to escape.

use std::time::SystemTime;

use super::docker;
use crate::record::TimeText;

/// Bytes of `YYYY-MM-DDTHH:MM:SS`.
const SECOND_BYTES: usize = 19;
/// More digits than nanoseconds have are not a timestamp of a runtime.
const FRACTION_DIGITS_MAX: usize = 9;
const MINUTES_PER_DAY: i64 = 24 * 60;

/// The least byte at each place of a moment, and by how much the byte there may exceed it.
const LEAST: &[u8; SECOND_BYTES] = b"0000-00-00T00:00:00";
const SPAN: &[u8; SECOND_BYTES] = &[9, 9, 9, 9, 0, 1, 9, 0, 3, 9, 0, 2, 9, 0, 5, 9, 0, 6, 9];

/// 0x01 in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// 0x80 in each byte.
const HIGH: u64 = ONES << 7;
/// 0x7F in each byte.
const LOW: u64 = !HIGH;
/// The digit 0 in each byte: digits, and nothing else, differ from it by exclusive or in at most 9.
const DIGIT_ZEROS: u64 = ONES * b'0' as u64;

/// A date and a time of day, each field in its range. The second may be 60 (a leap second).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

/// Reads a timestamp off the beginning of `text`, and gives what lies behind it.
///
/// The form is that of RFC 3339: `YYYY-MM-DDTHH:MM:SS`, perhaps `.` and 1 to 9 digits, then `Z`,
/// `+hh:mm` or `-hh:mm`. A zone other than `Z` is brought to UTC with the same fraction digits. A
/// second of 60 is let through.
#[inline]
pub fn take(text: &[u8]) -> Option<(TimeText, &[u8])> {
    let (head, rest) = text.split_first_chunk::<SECOND_BYTES>()?;
    let moment = Moment::read(head)?;
    let fraction = fraction_bytes(rest)?;
    let (zone, rest) = rest.split_at_checked(fraction)?.1.split_first()?;
    if *zone == b'Z' {
        let len = SECOND_BYTES + fraction + 1;
        let time = match text.first_chunk() {
            Some(bytes) => TimeText::of_first(bytes, len),
            None => TimeText::new(text.get(..len)?),
        };
        return Some((time, rest));
    }
    take_zoned(text, moment, fraction)
}

/// The time of `text`, if it is a timestamp from its first byte to its last.
pub fn parse(text: &[u8]) -> Option<TimeText> {
    let (time, rest) = take(text)?;
    rest.is_empty().then_some(time)
}

/// Nanoseconds since the Unix epoch; `None` outside of what 64 bits hold (the years 1678 to 2261).
///
/// A leap second counts as the second behind it, since Unix time has no place for it.
pub fn unix_ns(time: &TimeText) -> Option<i64> {
    let (head, rest) = time.as_bytes().split_first_chunk::<SECOND_BYTES>()?;
    let seconds = Moment::read(head)?.unix_seconds();
    let digits = rest.get(..fraction_bytes(rest)?)?;
    let mut nanos = 0;
    for place in 1..=FRACTION_DIGITS_MAX {
        let digit = digits.get(place).map_or(0, |byte| byte.wrapping_sub(b'0'));
        nanos = nanos * 10 + i64::from(digit);
    }
    // Before the epoch the product alone may leave the range that the sum is in.
    if seconds < 0 {
        let ahead = seconds.checked_add(1)?.checked_mul(1_000_000_000)?;
        return ahead.checked_sub(1_000_000_000 - nanos);
    }
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// The wall clock's time with nine fraction digits, for records whose line brings none.
///
/// A clock before 1970 or after 9999 gives [`TimeText::EPOCH`].
pub fn from_wall(wall: SystemTime) -> TimeText {
    let Ok(since) = wall.duration_since(SystemTime::UNIX_EPOCH) else {
        return TimeText::EPOCH;
    };
    let minutes = i64::try_from(since.as_secs() / 60).unwrap_or(i64::MAX);
    let second = (since.as_secs() % 60) as u32;
    let Some(moment) = Moment::from_unix_minutes(minutes, second) else {
        return TimeText::EPOCH;
    };
    let mut fraction = *b".000000000";
    write_digits(&mut fraction[1..], since.subsec_nanos());
    moment.text(&fraction)
}

/// When the first line of a segment was written, in nanoseconds since the Unix epoch: what segments
/// are ordered by.
///
/// `head_line` is the line without its line end. Of a CRI line the timestamp alone must be there,
/// of a docker line all of it (docker writes the time last).
pub fn first_time_ns(head_line: &[u8], docker: bool) -> Option<i64> {
    let time = if docker {
        docker::time(head_line)?
    } else {
        take(head_line)?.0
    };
    unix_ns(&time)
}

/// How many bytes of `rest` are `.` and its digits; 0 if there is no fraction.
#[inline]
fn fraction_bytes(rest: &[u8]) -> Option<usize> {
    let Some((b'.', digits)) = rest.split_first() else {
        return Some(0);
    };
    if let Some([eight @ .., ninth, tenth]) = digits.first_chunk::<10>()
        && let Some(eight) = eight.first_chunk::<8>()
    {
        let others = above(u64::from_le_bytes(*eight) ^ DIGIT_ZEROS, ONES * 9);
        let digits = match others {
            0 if !ninth.is_ascii_digit() => 8,
            0 if tenth.is_ascii_digit() => return None,
            0 => 9,
            _ => (others.trailing_zeros() / 8) as usize,
        };
        return (digits > 0).then_some(1 + digits);
    }
    let digits = digits
        .iter()
        .take(FRACTION_DIGITS_MAX + 1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    (1..=FRACTION_DIGITS_MAX)
        .contains(&digits)
        .then_some(1 + digits)
}

/// Eight bytes of `text` from `AT` on.
#[inline(always)]
fn word_of<const AT: usize>(text: &[u8; SECOND_BYTES]) -> u64 {
    let bytes = text.get(AT..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// 0x80 in each byte of `word` that is greater than the one of `most` (below 0x80); no carry passes between bytes.
#[inline]
const fn above(word: u64, most: u64) -> u64 {
    (((word & LOW) + (LOW - most)) | word) & HIGH
}

/// [`take`] for a zone that is not `Z`.
#[cold]
fn take_zoned(text: &[u8], moment: Moment, fraction: usize) -> Option<(TimeText, &[u8])> {
    let (fraction, rest) = text.get(SECOND_BYTES..)?.split_at_checked(fraction)?;
    let (zone, rest) = rest.split_first_chunk::<6>()?;
    let [sign, h1, h2, b':', m1, m2] = *zone else {
        return None;
    };
    if ![h1, h2, m1, m2].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (hours, minutes) = (two(h1, h2), two(m1, m2));
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = i64::from(hours * 60 + minutes);
    let utc_minutes = match sign {
        b'+' => moment.unix_minutes() - ahead,
        b'-' => moment.unix_minutes() + ahead,
        _ => return None,
    };
    let utc = Moment::from_unix_minutes(utc_minutes, moment.second)?;
    Some((utc.text(fraction), rest))
}

impl Moment {
    /// Reads `YYYY-MM-DDTHH:MM:SS`. Without branches until all is known: this runs once per log
    /// line.
    #[inline]
    fn read(text: &[u8; SECOND_BYTES]) -> Option<Moment> {
        let out_of_place = above(word_of::<0>(text) ^ word_of::<0>(LEAST), word_of::<0>(SPAN))
            | above(word_of::<8>(text) ^ word_of::<8>(LEAST), word_of::<8>(SPAN))
            | above(
                word_of::<11>(text) ^ word_of::<11>(LEAST),
                word_of::<11>(SPAN),
            );
        if out_of_place != 0 {
            return None;
        }
        let moment = Moment {
            year: two(text[0], text[1]) * 100 + two(text[2], text[3]),
            month: two(text[5], text[6]),
            day: two(text[8], text[9]),
            hour: two(text[11], text[12]),
            minute: two(text[14], text[15]),
            second: two(text[17], text[18]),
        };
        let in_range = (moment.month.wrapping_sub(1) < 12)
            & (moment.day != 0)
            & (moment.hour < 24)
            & (moment.second <= 60);
        (in_range && (moment.day <= 28 || moment.day <= moment.month_days())).then_some(moment)
    }

    fn month_days(&self) -> u32 {
        let leap = self.year.is_multiple_of(400)
            || (self.year.is_multiple_of(4) && !self.year.is_multiple_of(100));
        match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// Days since 1970-01-01. Years are taken to begin in March, so that the leap day is a year's
    /// last.
    fn unix_days(&self) -> i64 {
        let march_year = i64::from(self.year) - i64::from(self.month < 3);
        let march_month = i64::from((self.month + 9) % 12);
        let year_days = (153 * march_month + 2) / 5 + i64::from(self.day) - 1;
        let leap_days =
            march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
        march_year * 365 + leap_days + year_days - EPOCH_MARCH_DAYS
    }

    fn unix_minutes(&self) -> i64 {
        self.unix_days() * MINUTES_PER_DAY + i64::from(self.hour * 60 + self.minute)
    }

    fn unix_seconds(&self) -> i64 {
        self.unix_minutes() * 60 + i64::from(self.second)
    }

    /// `None` outside of the years 0000 to 9999, which are all that the text can say.
    fn from_unix_minutes(minutes: i64, second: u32) -> Option<Moment> {
        const CYCLE_DAYS: i64 = 400 * 365 + 97;
        let days = minutes.div_euclid(MINUTES_PER_DAY) + EPOCH_MARCH_DAYS;
        let minute_of_day = minutes.rem_euclid(MINUTES_PER_DAY);
        let day_of_cycle = days.rem_euclid(CYCLE_DAYS);
        // Taking out the leap days that lie before leaves years of 365 days.
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
            - day_of_cycle / 146_096)
            / 365;
        let day_of_year =
            day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = (march_month + 2) % 12 + 1;
        let year = days.div_euclid(CYCLE_DAYS) * 400 + year_of_cycle + i64::from(month < 3);
        if !(0..=9999).contains(&year) {
            return None;
        }
        Some(Moment {
            year: year as u32,
            month: month as u32,
            day: (day_of_year - (153 * march_month + 2) / 5 + 1) as u32,
            hour: (minute_of_day / 60) as u32,
            minute: (minute_of_day % 60) as u32,
            second,
        })
    }

    /// The text with `fraction` (its `.` included, or empty) and `Z`.
    fn text(&self, fraction: &[u8]) -> TimeText {
        let mut text = [b'Z'; TimeText::BYTES_MAX];
        text[..SECOND_BYTES].copy_from_slice(LEAST);
        write_digits(&mut text[..4], self.year);
        write_digits(&mut text[5..7], self.month);
        write_digits(&mut text[8..10], self.day);
        write_digits(&mut text[11..13], self.hour);
        write_digits(&mut text[14..16], self.minute);
        write_digits(&mut text[17..19], self.second);
        let mut len = SECOND_BYTES;
        for byte in fraction.iter().take(FRACTION_DIGITS_MAX + 1) {
            text[len] = *byte;
            len += 1;
        }
        TimeText::new(&text[..=len])
    }
}

/// Days from the first of March of the year 0 to the epoch.
const EPOCH_MARCH_DAYS: i64 = 719_468;

const fn two(tens: u8, ones: u8) -> u32 {
    tens.wrapping_sub(b'0') as u32 * 10 + ones.wrapping_sub(b'0') as u32
}

/// Writes `value` right-aligned over all of `place`, with leading zeros.
fn write_digits(place: &mut [u8], mut value: u32) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests;
