//! Families whose names come from the kernel's own files, and small readers that those files have in common.
//!
//! Invariants: a name that the kernel gives becomes a family's only if it may be one; no more than [`NAMES_MAX`] are
//! kept, so that a file of garbage does not fill the memory.

use std::collections::HashMap;
use std::path::Path;

use super::host::HostError;
use super::snapshot::{Kind, Spec, Unit};

/// Most names of one file: `netstat` of any kernel has fewer than 250.
pub const NAMES_MAX: usize = 1_024;

/// The families of one file, by what the file calls them.
#[derive(Default)]
pub struct Families {
    specs: HashMap<String, Option<Spec>>,
}

impl Families {
    /// The family of a field, made by `make` when it is first seen. `None`: not wanted, or not a name.
    pub fn get(&mut self, field: &str, make: impl FnOnce(&str) -> Option<Spec>) -> Option<&Spec> {
        if !self.specs.contains_key(field) {
            if self.specs.len() >= NAMES_MAX {
                return None;
            }
            let spec = make(field).filter(|spec| is_name(&spec.name));
            self.specs.insert(field.to_owned(), spec);
        }
        self.specs.get(field)?.as_ref()
    }
}

/// A family with a name and help made up.
pub fn spec(name: String, help: String, kind: Kind, unit: Unit) -> Spec {
    Spec {
        name: name.into(),
        help: help.into(),
        kind,
        unit,
    }
}

/// Whether a family may have this name.
fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// A number as the kernel writes it: decimal, whole or with a fraction, never infinite.
pub fn number(text: &str) -> Option<f64> {
    let known = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let is_decimal = !text.is_empty() && text.bytes().all(known);
    let value: f64 = is_decimal.then(|| text.parse().ok()).flatten()?;
    value.is_finite().then_some(value)
}

/// Lines that could not be understood; the others of their file count all the same.
pub struct Faults {
    any: bool,
    what: &'static str,
}

impl Faults {
    /// None yet; `what` is what the lines should be.
    pub fn of(what: &'static str) -> Faults {
        Faults { any: false, what }
    }

    /// One more.
    pub fn add(&mut self) {
        self.any = true;
    }

    /// Keeps what was understood.
    pub fn keep<T>(&mut self, understood: Option<T>) -> Option<T> {
        self.any |= understood.is_none();
        understood
    }

    /// An error if there were any.
    pub fn told(self, path: &Path) -> Result<(), HostError> {
        if self.any {
            return Err(HostError::Malformed {
                path: path.to_owned(),
                what: self.what,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_decimal() {
        assert_eq!(number("12"), Some(12.0));
        assert_eq!(number("0.75"), Some(0.75));
        assert_eq!(number("-1"), Some(-1.0));
        for text in [
            "",
            "inf",
            "NaN",
            "1e3",
            "0x1",
            "1-",
            "+1",
            ".",
            &"9".repeat(400),
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn families_are_bounded_and_named() {
        let make = |field: &str| {
            let name = format!("node_{field}");
            Some(spec(name, "Help.".to_owned(), Kind::Gauge, Unit::One))
        };
        let mut families = Families::default();
        assert_eq!(families.get("a", make).unwrap().name, "node_a");
        assert!(families.get("a b", make).is_none());
        for number in 0..2 * NAMES_MAX {
            families.get(&number.to_string(), make);
        }
        assert_eq!(families.specs.len(), NAMES_MAX);
    }

    proptest! {
        /// Invariant: no text makes it panic; what is a number is finite.
        #[test]
        fn any_text_is_a_number_or_not(text in "[-0-9.e+xinfNa]{0,12}|\\PC{0,8}") {
            prop_assert!(number(&text).is_none_or(f64::is_finite));
        }
    }
}
