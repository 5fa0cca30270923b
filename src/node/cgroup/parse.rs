//! The forms in which the kernel writes cgroup files. Pure; a line that is not understood is passed over, so that a
//! newer kernel's additions cost nothing. Admin guides "Control Group v2", "cgroup-v1", and "PSI" of the kernel say
//! what the fields mean.

use memchr::{memchr, memchr2};

/// What a limit file says: a number, or none because there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max`, or `-1`.
    None,
    /// So much.
    Of(u64),
}

/// A file of one number.
pub fn number(text: &str) -> Option<u64> {
    text.trim_ascii().parse().ok()
}

/// A file of one number or `max` (v2), or `-1` (v1's cpu quota).
pub fn limit(text: &str) -> Option<Limit> {
    match text.trim_ascii() {
        "max" | "-1" => Some(Limit::None),
        number => number.parse().ok().map(Limit::Of),
    }
}

/// A file of lines `<key> <number>` (`memory.stat`, `cpu.stat`, `memory.events`): calls `take` with each.
pub fn keyed<'a>(text: &'a str, mut take: impl FnMut(&'a str, u64)) {
    let mut rest = text;
    while let Some(space) = memchr2(b' ', b'\n', rest.as_bytes()) {
        let Some((key, after)) = rest.split_at_checked(space) else {
            return;
        };
        let end = memchr(b'\n', after.as_bytes()).unwrap_or(after.len());
        let Some((value, next)) = after.split_at_checked(end) else {
            return;
        };
        // A line end in the place of the space: no number, and the line is passed over.
        if let Some(value) = value.strip_prefix(' ').and_then(number) {
            take(key, value);
        }
        rest = next.strip_prefix('\n').unwrap_or_default();
    }
}

/// `cpu.max`: quota and period in microseconds.
pub fn cpu_max(text: &str) -> Option<(Limit, u64)> {
    let (quota, period) = text.trim_ascii().split_once(' ')?;
    Some((limit(quota)?, number(period)?))
}

/// The shares of v1 that a weight of v2 stands for, the way it is reported on both: the inverse of the runtimes'
/// conversion of 2..=262144 shares into a weight of 1..=10000.
pub fn shares_of_weight(weight: u64) -> u64 {
    2 + weight.clamp(1, 10_000).saturating_sub(1) * 262_142 / 9_999
}

/// A block device's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// `8:0`.
pub fn device(text: &str) -> Option<Device> {
    let (major, minor) = text.split_once(':')?;
    Some(Device {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

/// What was read from and written to one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// More devices of one cgroup are not looked at.
pub const DEVICES_MAX: usize = 256;

/// `io.stat` of v2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`. A device without any number did nothing and is left
/// out; some kernels write several such before the numbers of another.
pub fn io_stat(text: &str, out: &mut Vec<(Device, Io)>) {
    for line in text.lines() {
        let mut current = None;
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                None => current = device(word),
                Some((key, value)) => {
                    let (Some(device), Some(value)) = (current, number(value)) else {
                        continue;
                    };
                    if let Some(io) = entry(out, device) {
                        match key {
                            "rbytes" => io.read_bytes = value,
                            "wbytes" => io.written_bytes = value,
                            "rios" => io.reads = value,
                            "wios" => io.writes = value,
                            _ => {}
                        }
                    }
                }
            }
        }
    }
}

/// `blkio.throttle.io_service_bytes_recursive` (v1), or `..._serviced_...` for operations: lines `8:0 Read 4096`.
pub fn blkio(text: &str, bytes: bool, out: &mut Vec<(Device, Io)>) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(kind), Some(value)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (Some(device), Some(value)) = (device(name), number(value)) else {
            continue;
        };
        if let Some(io) = entry(out, device) {
            match (kind, bytes) {
                ("Read", true) => io.read_bytes = value,
                ("Write", true) => io.written_bytes = value,
                ("Read", false) => io.reads = value,
                ("Write", false) => io.writes = value,
                _ => {}
            }
        }
    }
}

fn entry(out: &mut Vec<(Device, Io)>, device: Device) -> Option<&mut Io> {
    let at = match out.iter().position(|(known, _)| *known == device) {
        Some(at) => at,
        None if out.len() >= DEVICES_MAX => return None,
        None => {
            out.push((device, Io::default()));
            out.len() - 1
        }
    };
    out.get_mut(at).map(|(_, io)| io)
}

/// How long tasks waited for a resource, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// While at least one task waited.
    pub some: Option<u64>,
    /// While all tasks waited; kernels before 5.13 have no such line for the CPU.
    pub full: Option<u64>,
}

/// `cpu.pressure` and its like: lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
pub fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let total = line
            .split_ascii_whitespace()
            .find_map(|word| number(word.strip_prefix("total=")?));
        if line.starts_with("some ") {
            pressure.some = total;
        } else if line.starts_with("full ") {
            pressure.full = total;
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_may_be_absent() {
        assert_eq!(limit("max\n"), Some(Limit::None));
        assert_eq!(limit("-1\n"), Some(Limit::None));
        assert_eq!(limit("4096\n"), Some(Limit::Of(4096)));
        assert_eq!(limit(""), None);
        assert_eq!(cpu_max("max 100000\n"), Some((Limit::None, 100_000)));
        assert_eq!(
            cpu_max("20000 100000\n"),
            Some((Limit::Of(20_000), 100_000))
        );
        assert_eq!(cpu_max("20000"), None);
    }

    #[test]
    fn weights_are_shares() {
        // The ends of both scales, and what one CPU's 1,024 shares become.
        assert_eq!(shares_of_weight(1), 2);
        assert_eq!(shares_of_weight(10_000), 262_144);
        assert_eq!(shares_of_weight(39), 998);
    }

    #[test]
    fn devices_without_numbers_do_not_take_those_of_others() {
        let mut out = Vec::new();
        io_stat(
            "8:0 8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n8:0 rbytes=9\n",
            &mut out,
        );
        let io = |read_bytes, written_bytes, reads, writes| Io {
            read_bytes,
            written_bytes,
            reads,
            writes,
        };
        let number = |major, minor| Device { major, minor };
        assert_eq!(
            out,
            [
                (number(8, 16), io(1, 2, 3, 4)),
                (number(8, 0), io(9, 0, 0, 0))
            ]
        );
    }

    #[test]
    fn both_files_of_v1_fill_one_entry() {
        let mut out = Vec::new();
        blkio(
            "8:0 Read 10\n8:0 Write 20\n8:0 Sync 5\nTotal 30\n",
            true,
            &mut out,
        );
        blkio("8:0 Read 1\n8:0 Write 2\nTotal 3\n", false, &mut out);
        let io = Io {
            read_bytes: 10,
            written_bytes: 20,
            reads: 1,
            writes: 2,
        };
        assert_eq!(out, [(Device { major: 8, minor: 0 }, io)]);
    }

    #[test]
    fn pressure_without_its_full_line_is_half_known() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n";
        assert_eq!(pressure(text).some, Some(12));
        assert_eq!(pressure(text).full, None);
        let both = format!("{text}full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
        assert_eq!(pressure(&both).full, Some(7));
    }

    proptest! {
        /// No bytes stop a parser, and none takes more devices than the bound.
        #[test]
        fn any_text_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let text = String::from_utf8_lossy(&bytes);
            let mut out = Vec::new();
            io_stat(&text, &mut out);
            blkio(&text, true, &mut out);
            keyed(&text, |_, _| {});
            let _ = (number(&text), limit(&text), cpu_max(&text), device(&text), pressure(&text));
            prop_assert!(out.len() <= DEVICES_MAX);
        }

        /// What the kernel would write of any numbers is read back.
        #[test]
        fn what_is_written_is_read(numbers in proptest::collection::vec(any::<(u16, u16, u64, u64)>(), 0..20)) {
            let mut text = String::new();
            let mut expected: Vec<(Device, Io)> = Vec::new();
            for (major, minor, bytes, ios) in numbers {
                let device = Device { major: major.into(), minor: minor.into() };
                if expected.iter().any(|(known, _)| *known == device) {
                    continue;
                }
                text += &format!("{major}:{minor} rbytes={bytes} wbytes=0 rios={ios} wios=1 dbytes=0 dios=0\n");
                expected.push((device, Io { read_bytes: bytes, written_bytes: 0, reads: ios, writes: 1 }));
            }
            let mut out = Vec::new();
            io_stat(&text, &mut out);
            prop_assert_eq!(out, expected);
        }
    }
}
