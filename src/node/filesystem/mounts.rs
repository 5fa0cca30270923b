//! One line of `mountinfo` (proc(5)).

use std::borrow::Cow;

/// A mount.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount<'l> {
    /// Major and minor number of the file system, as stat(2) gives it of its files, but for those that number their
    /// subvolumes.
    pub number: (u32, u32),
    /// What is mounted.
    pub device: Cow<'l, str>,
    /// Where.
    pub point: Cow<'l, str>,
    /// Its type.
    pub kind: &'l str,
    /// Whether the mount, or the file system itself, cannot be written to; also where the kernel made it so after an
    /// error.
    pub read_only: bool,
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS`. `None`: not of this form.
pub fn parse(line: &str) -> Option<Mount<'_>> {
    let (mount, system) = line.split_once(" - ")?;
    let mut words = mount.split(' ').skip(2);
    let (major, minor) = words.next()?.split_once(':')?;
    let number = (major.parse().ok()?, minor.parse().ok()?);
    let mut words = words.skip(1);
    let (point, own) = (words.next()?, words.next()?);
    // The source may be empty, and then there are two spaces.
    let mut words = system.split(' ');
    let (kind, device) = (words.next()?, words.next()?);
    let of_system = words.next().unwrap_or_default();
    let is_read_only = |options: &str| {
        options
            .split(',')
            .any(|it| it == "ro" || it == "emergency_ro")
    };
    (point.starts_with('/') && !kind.is_empty()).then(|| Mount {
        number,
        device: unescaped(device),
        point: unescaped(point),
        kind,
        read_only: is_read_only(own) || is_read_only(of_system),
    })
}

/// The kernel writes space, tab, line end and backslash as a backslash and three octal digits.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.split_at_checked(3);
        match code.and_then(|(digits, after)| Some((octal(digits)?, after))) {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// An ASCII character by its number; others are not escaped.
fn octal(digits: &str) -> Option<char> {
    let is_octal = digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let number = u8::from_str_radix(digits, 8).ok()?;
    (is_octal && number.is_ascii()).then_some(char::from(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_skipped_and_names_unescaped() {
        let line = "36 35 98:0 /mnt1 /a\\040\\011\\134b rw,noatime master:1 shared:2 - ext3 /dev/x\\040y ro,data";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, "/a \t\\b");
        assert_eq!(mount.device, "/dev/x y");
        assert_eq!((mount.kind, mount.read_only), ("ext3", true));
        assert_eq!(mount.number, (98, 0));
        assert_eq!(parse("1 2 3:4 / /p rw - tmpfs  rw").unwrap().device, "");
        assert!(
            parse("1 2 3:4 / /p rw - xfs /dev/a rw,emergency_ro")
                .unwrap()
                .read_only
        );
        assert!(
            !parse("1 2 3:4 / /p rw - xfs /dev/a rw,errors=remount-ro")
                .unwrap()
                .read_only
        );
        for bad in [
            "",
            "-",
            "1 2 3:4 / /p rw xfs /dev/a",
            "1 2 3:4 / p rw - xfs a rw",
            "1 2 - xfs a",
            "1 2 3 / /p rw - xfs a rw",
            "1 2 3:x / /p rw - xfs a rw",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        /// Invariant: what the kernel escapes comes back as it was.
        #[test]
        fn what_was_escaped_comes_back(text in "[a \\t\\n\\\\\u{e4}0-7]{0,20}") {
            let escaped: String = text.chars().map(|c| match c {
                ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", u32::from(c)),
                c => c.to_string(),
            }).collect();
            prop_assert_eq!(unescaped(&escaped), text);
        }

        /// Invariant: no line makes it panic.
        #[test]
        fn any_line(line in "\\PC{0,60}|[0-9:/ a,ro\\\\-]{0,60}") {
            let _mount = parse(&line);
        }
    }
}
