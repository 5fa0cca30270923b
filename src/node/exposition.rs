//! A snapshot in the Prometheus text format, version 0.0.4.
//!
//! Invariant: families are in the order of their names, each there once, HELP and TYPE before its samples; samples
//! are in the order in which they were taken, so that two pages of one snapshot are equal.

use std::fmt::Write;

use super::snapshot::{Family, Kind, Snapshot};

/// Adds the families that `shown` wants, by name, to a page.
pub fn render(snapshot: &Snapshot, shown: impl Fn(&str) -> bool, page: &mut String) {
    let families = snapshot.families();
    let mut families: Vec<&Family> = families.filter(|family| shown(&family.spec.name)).collect();
    families.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
    for family in families {
        let (name, kind) = (&family.spec.name, kind(family.spec.kind));
        page.push_str("# HELP ");
        page.push_str(name);
        page.push(' ');
        escaped(&family.spec.help, false, page);
        // Writing to a String does not fail.
        let _written = write!(page, "\n# TYPE {name} {kind}\n");
        for sample in &family.samples {
            page.push_str(name);
            let mut before = '{';
            for (label, text) in snapshot.labels(sample) {
                page.push(before);
                before = ',';
                page.push_str(label);
                page.push_str("=\"");
                escaped(text, true, page);
                page.push('"');
            }
            if before == ',' {
                page.push('}');
            }
            page.push(' ');
            value(sample.value, page);
            page.push('\n');
        }
    }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Untyped => "untyped",
    }
}

fn escaped(text: &str, is_quoted: bool, page: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => page.push_str("\\\\"),
            '\n' => page.push_str("\\n"),
            '"' if is_quoted => page.push_str("\\\""),
            // Some scrapers take a carriage return for a line's end; the format has no escape for it.
            control if control.is_control() => page.push('\u{fffd}'),
            plain => page.push(plain),
        }
    }
}

/// Digits enough that the same value is read again.
fn value(value: f64, page: &mut String) {
    let _written = if value.is_infinite() {
        page.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        Ok(())
    } else {
        // NaN is written as Prometheus reads it.
        write!(page, "{value}")
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::node::fields::spec;
    use crate::node::fixture::empty;
    use crate::node::snapshot::{Spec, Unit};

    fn page(snapshot: &Snapshot) -> String {
        let mut page = String::new();
        render(snapshot, |_| true, &mut page);
        page
    }

    #[test]
    fn families_are_sorted_typed_and_escaped() {
        let b = Spec::counter("b_total", Unit::Count, "Two\nlines \\ \"here\".");
        let a = Spec::untyped("a", Unit::One, "A.");
        let mut snapshot = empty();
        snapshot.add(&b, &[("x", "q\"b\\n\n\r"), ("y", "")], 0.5);
        snapshot.add(&a, &[], f64::INFINITY);
        snapshot.add(&a, &[("x", "1")], f64::NEG_INFINITY);
        snapshot.add(&b, &[], 9_007_199_254_740_993.0);
        snapshot.add(&a, &[("x", "2")], f64::NAN);
        assert_eq!(
            page(&snapshot),
            "# HELP a A.\n# TYPE a untyped\na +Inf\na{x=\"1\"} -Inf\na{x=\"2\"} NaN\n\
             # HELP b_total Two\\nlines \\\\ \"here\".\n# TYPE b_total counter\n\
             b_total{x=\"q\\\"b\\\\n\\n\u{fffd}\",y=\"\"} 0.5\nb_total 9007199254740992\n"
        );
        let mut some = String::new();
        render(&snapshot, |name| name != "a", &mut some);
        assert!(some.starts_with("# HELP b_total "), "{some}");
    }

    proptest! {
        /// Invariant: whatever labels and values, each sample is one line, and its value is read again as it was.
        #[test]
        fn any_sample_is_one_line(texts in prop::collection::btree_set("\\PC{0,8}|[\\n\\r\"\\\\]{0,4}", 1..6), number in any::<f64>()) {
            let gauge = spec("g".to_owned(), "G.".to_owned(), Kind::Gauge, Unit::One);
            let mut snapshot = empty();
            for text in &texts {
                snapshot.add(&gauge, &[("l", text)], number);
            }
            let page = page(&snapshot);
            let lines: BTreeSet<&str> = page.split_terminator('\n').skip(2).collect();
            prop_assert!(lines.len() <= texts.len() && page.split_terminator('\n').count() == 2 + texts.len());
            for line in lines {
                let read: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
                prop_assert!(read == number || (read.is_nan() && number.is_nan()));
            }
        }
    }
}
