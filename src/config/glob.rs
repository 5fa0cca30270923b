//! Globs for names: `*` is any text, `?` any one byte, everything else is itself.
//!
//! Invariant: matching takes at most as many steps as pattern and name have bytes, multiplied.

/// A pattern for a whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Longest pattern, in bytes: longer than any name that it could be for.
    pub const BYTES_MAX: usize = 1024;

    /// The pattern; `None` if it is empty, too long, or holds control characters.
    pub fn new(text: &str) -> Option<Glob> {
        let good = !text.is_empty()
            && text.len() <= Glob::BYTES_MAX
            && !text.chars().any(char::is_control);
        good.then(|| Glob(text.to_owned()))
    }

    /// As it stands in the config.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of a name is as the pattern says.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut in_name) = (0, 0);
        // Behind the last star, and how much of the name it has taken: where to go on when the rest does not fit.
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(in_name) {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, in_name));
                }
                Some(wanted) if *wanted == b'?' || wanted == byte => {
                    at += 1;
                    in_name += 1;
                }
                _ => match &mut star {
                    Some((behind, taken)) => {
                        *taken += 1;
                        (at, in_name) = (*behind, *taken);
                    }
                    None => return false,
                },
            }
        }
        let rest = pattern.get(at..).unwrap_or_default();
        rest.iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn stars_and_question_marks_stand_for_text() {
        for (pattern, name) in [
            ("kube-system", "kube-system"),
            ("kube-*", "kube-system"),
            ("kube-*", "kube-"),
            ("*", ""),
            ("*", "anything"),
            ("web-?", "web-1"),
            ("*/app:*", "reg:5000/app:1.2"),
            ("a*b*c", "aXbXbXc"),
            ("**a**", "xax"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("kube-system", "kube-system2"),
            ("kube-system", "kube-syste"),
            ("kube-*", "xkube-system"),
            ("web-?", "web-"),
            ("web-?", "web-10"),
            ("a*b*c", "aXbXcX"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in ["", "a\nb", &"x".repeat(Glob::BYTES_MAX + 1)] {
            assert_eq!(Glob::new(text), None);
        }
    }

    /// By trying everything.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| slowly(rest, &name[at..])),
            Some((wanted, rest)) => name.split_first().is_some_and(|(byte, name)| {
                (*wanted == b'?' || wanted == byte) && slowly(rest, name)
            }),
        }
    }

    proptest! {
        /// Matching in one pass finds what trying every split finds.
        #[test]
        fn one_pass_is_enough(pattern in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            let expected = slowly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(&pattern, &name), expected);
        }
    }
}
