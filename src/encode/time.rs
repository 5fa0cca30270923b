//! The text of a timestamp to nanoseconds, fast for times that follow each other.
//!
//! Invariant: the number depends on the text alone; what is kept between calls only saves work.

use crate::record::TimeText;

/// Bytes of `YYYY-MM-DDTHH:MM`.
const MINUTE_BYTES: usize = 16;
/// Bytes of `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`, as runtimes mostly write it.
const WHOLE_BYTES: usize = 30;
/// Days from the first of March of the year 0 to 1970-01-01.
const EPOCH_MARCH_DAYS: i64 = 719_468;
const NANOS: u64 = 1_000_000_000;

/// Reads timestamps, keeping the last one's minute.
#[derive(Debug, Default)]
pub struct UnixTime {
    minute: [u8; MINUTE_BYTES],
    /// Seconds since 1970 at its beginning; `None` before 1970.
    seconds: Option<u64>,
}

impl UnixTime {
    /// Nanoseconds since 1970; 0, which OTLP reads as "unknown", for what is before that or beyond 64 bits (2554).
    #[inline]
    pub fn of(&mut self, time: &TimeText) -> u64 {
        let text = time.as_bytes();
        let Some((minute, rest)) = text.split_first_chunk::<MINUTE_BYTES>() else {
            return 0;
        };
        if *minute != self.minute {
            self.turn(minute);
        }
        let Some(seconds) = self.seconds else {
            return 0;
        };
        let [b':', tens, ones, fraction @ ..] = rest else {
            return 0;
        };
        let seconds = seconds + u64::from(two(*tens, *ones));
        let nanos = match (text.len(), fraction.first_chunk::<10>()) {
            (WHOLE_BYTES, Some([b'.', nanos @ ..])) => nine(nanos),
            _ => some(fraction),
        };
        let whole = seconds.checked_mul(NANOS);
        whole
            .and_then(|whole| whole.checked_add(nanos))
            .unwrap_or(0)
    }

    /// Another minute than the last.
    #[cold]
    fn turn(&mut self, minute: &[u8; MINUTE_BYTES]) {
        self.minute = *minute;
        let [
            y1,
            y2,
            y3,
            y4,
            _,
            mo1,
            mo2,
            _,
            d1,
            d2,
            _,
            h1,
            h2,
            _,
            mi1,
            mi2,
        ] = *minute;
        let year = i64::from(two(y1, y2)) * 100 + i64::from(two(y3, y4));
        let month = i64::from(two(mo1, mo2));
        // Years are taken to begin in March, so that the leap day is a year's last.
        let march_year = year - i64::from(month < 3);
        let march_month = (month + 9) % 12;
        let leap_days =
            march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
        let days =
            march_year * 365 + leap_days + (153 * march_month + 2) / 5 + i64::from(two(d1, d2))
                - 1
                - EPOCH_MARCH_DAYS;
        let minutes = (days * 24 + i64::from(two(h1, h2))) * 60 + i64::from(two(mi1, mi2));
        self.seconds = u64::try_from(minutes * 60).ok();
    }
}

#[inline]
const fn two(tens: u8, ones: u8) -> u32 {
    (tens & 15) as u32 * 10 + (ones & 15) as u32
}

/// Nine digits.
#[inline]
fn nine(digits: &[u8; 9]) -> u64 {
    let [eight @ .., ninth] = digits;
    // Pairs, then fours, then all eight digits, each step adding neighbours.
    let ones = u64::from_le_bytes(*eight) & 0x0F0F_0F0F_0F0F_0F0F;
    let pairs = (ones.wrapping_mul(10).wrapping_add(ones >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    let whole = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xFFFF_FFFF;
    whole * 10 + u64::from(ninth & 15)
}

/// A fraction of any number of digits: `.` and digits, and what is behind them.
#[cold]
fn some(fraction: &[u8]) -> u64 {
    let Some((b'.', digits)) = fraction.split_first() else {
        return 0;
    };
    let mut nanos = 0;
    for place in 0..9 {
        let digit = digits.get(place).filter(|byte| byte.is_ascii_digit());
        nanos = nanos * 10 + digit.map_or(0, |digit| u64::from(digit - b'0'));
    }
    nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> u64 {
        UnixTime::default().of(&TimeText::new(text.as_bytes()))
    }

    #[test]
    fn moments_and_their_numbers() {
        // `date -u -d ... +%s%N`
        let table = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("2024-02-29T23:59:59.987654321Z", 1_709_251_199_987_654_321),
            ("2024-03-01T00:00:00.5Z", 1_709_251_200_500_000_000),
            ("2000-12-31T12:34:56.123456Z", 978_266_096_123_456_000),
            ("2100-03-01T00:00:00.000000000Z", 4_107_542_400_000_000_000),
            ("1969-12-31T23:59:59.999999999Z", 0),
            ("9999-12-31T23:59:59.999999999Z", 0),
        ];
        for (text, number) in table {
            assert_eq!(of(text), number, "{text}");
        }
    }

    #[test]
    fn what_is_kept_changes_nothing() {
        let texts = [
            "2024-02-29T23:59:59.987654321Z",
            "2024-02-29T23:59:01.5Z",
            "2024-03-01T00:00:00.000000007Z",
            "1950-01-01T00:00:00Z",
            "2024-02-29T23:59:60Z",
        ];
        let mut kept = UnixTime::default();
        for text in texts.iter().chain(texts.iter().rev()) {
            assert_eq!(kept.of(&TimeText::new(text.as_bytes())), of(text), "{text}");
        }
    }
}
