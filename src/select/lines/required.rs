//! Which literals a pattern needs: without one of them in a message it cannot match.
//!
//! Invariant: whatever a pattern matches, lower-cased, holds one of the literals that [`required`] gives for it.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Shorter literals tell too little.
pub(super) const LITERAL_BYTES_MIN: usize = 4;
/// More alternatives are not worth a look.
const ALTERNATIVES_MAX: usize = 16;
/// A longer literal is not rarer.
const LENGTH_THAT_COUNTS: usize = 8;

/// The literals of which each match of `pattern` holds one, in lower case, each of [`LITERAL_BYTES_MIN`] bytes or more.
/// `None`: there are no such literals.
pub(super) fn required(pattern: &str) -> Option<Vec<Vec<u8>>> {
    let mut builder = ParserBuilder::new();
    let hir = builder.unicode(false).utf8(false).build().parse(pattern);
    let found = of(&hir.ok()?)?;
    let long = found
        .iter()
        .all(|literal| literal.len() >= LITERAL_BYTES_MIN);
    (long && !found.is_empty()).then_some(found)
}

/// What all that `hir` matches is in lower case, if it is always the same.
fn exact(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(Vec::new()),
        HirKind::Literal(literal) => Some(literal.0.to_ascii_lowercase()),
        HirKind::Class(class) => same_letter(class).map(|letter| vec![letter]),
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => {
            let mut whole = Vec::new();
            for part in parts {
                whole.extend(exact(part)?);
            }
            Some(whole)
        }
        HirKind::Repetition(_) | HirKind::Alternation(_) => None,
    }
}

/// The letter whose two cases are all that the class has.
fn same_letter(class: &Class) -> Option<u8> {
    let Class::Bytes(class) = class else {
        return None;
    };
    let mut bytes = class.iter().flat_map(|range| range.start()..=range.end());
    let letter = bytes.next()?.to_ascii_lowercase();
    bytes
        .all(|byte| byte.to_ascii_lowercase() == letter)
        .then_some(letter)
}

fn of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(of(branch)?);
            }
            (all.len() <= ALTERNATIVES_MAX).then_some(all)
        }
        HirKind::Concat(parts) => {
            let mut best = None;
            let mut run = Vec::new();
            for part in parts {
                match exact(part) {
                    Some(literal) => run.extend(literal),
                    None => {
                        better(&mut best, Some(vec![std::mem::take(&mut run)]));
                        better(&mut best, of(part));
                    }
                }
            }
            better(&mut best, Some(vec![run]));
            best
        }
        _ => exact(hir).map(|literal| vec![literal]),
    }
}

fn better(best: &mut Option<Vec<Vec<u8>>>, other: Option<Vec<Vec<u8>>>) {
    let worth = |literals: &Vec<Vec<u8>>| {
        let shortest = literals.iter().map(Vec::len).min().unwrap_or(0);
        shortest.min(LENGTH_THAT_COUNTS) * ALTERNATIVES_MAX + ALTERNATIVES_MAX
            - literals.len().min(ALTERNATIVES_MAX)
    };
    if let Some(other) = other
        && best.as_ref().is_none_or(|best| worth(best) < worth(&other))
    {
        *best = Some(other);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_of_patterns() {
        for (pattern, wanted) in [
            ("GET /healthz", Some(vec!["get /healthz"])),
            ("(?i)connection reset", Some(vec!["connection reset"])),
            (r"\d+ms timeout of .*", Some(vec!["ms timeout of "])),
            ("^(fool|barbaz) x", Some(vec!["fool", "barbaz"])),
            ("(?:abcd)+", Some(vec!["abcd"])),
            (r"\bpanic\b", Some(vec!["panic"])),
            ("(?:abcd)*", None),
            ("a.*b", None),
            (".*", None),
            ("foo|.x", None),
        ] {
            let found = required(pattern);
            let wanted = wanted.map(|all| all.iter().map(|it| it.as_bytes().to_vec()).collect());
            assert_eq!(found, wanted, "{pattern}");
        }
    }

    proptest! {
        /// Invariant: what a pattern matches holds one of its literals.
        #[test]
        fn matches_hold_a_literal(
            pattern in "[a-dA-D]{0,4}(\\(\\?i\\))?([a-d]{3,5}|\\([a-d]{3}\\|[b-e]{4}\\)[+?]|\\[ab\\]c|\\.\\*){1,4}",
            message in "[a-eA-E]{0,24}",
        ) {
            let Ok(compiled) = crate::config::lines::MessagePattern::new(&pattern) else {
                return Ok(());
            };
            if let Some(literals) = required(&pattern)
                && compiled.regex().is_match(message.as_bytes())
            {
                let lowered = message.to_ascii_lowercase().into_bytes();
                let held = literals.iter().any(|it| memchr::memmem::find(&lowered, it).is_some());
                prop_assert!(held, "{pattern} on {message}: {literals:?}");
            }
        }
    }
}
