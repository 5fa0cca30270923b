//! What was delivered of each namespace: who made the bill.
//!
//! Invariants: no number ever falls while the agent runs, also not when logs are forgotten; the sum over all names is
//! what was delivered since the start; at most [`Namespaces::NAMED_MAX`] names are kept, and what belongs to a further
//! one is counted under [`Namespaces::REST`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ledger::Amount;

/// Amounts by namespace, since the agent's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    by_name: BTreeMap<Arc<str>, Amount>,
}

impl Namespaces {
    /// Most names of one worker. A node has some hundred pods; a name that was given one stays, so that its number
    /// does not begin anew.
    pub const NAMED_MAX: usize = 200;
    /// The name of the rest. It is none that a namespace can have (RFC 1123 knows no underscore).
    pub const REST: &'static str = "_rest";

    /// The sink has these.
    pub fn deliver(&mut self, namespace: &str, amount: Amount) {
        if amount == Amount::default() {
            return;
        }
        if let Some(sum) = self.by_name.get_mut(namespace) {
            *sum += amount;
            return;
        }
        let name = match self.by_name.len() < Self::NAMED_MAX {
            true => namespace,
            false => Self::REST,
        };
        *self.by_name.entry(Arc::from(name)).or_default() += amount;
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Namespaces) {
        for (name, amount) in &other.by_name {
            *self.by_name.entry(Arc::clone(name)).or_default() += *amount;
        }
    }

    /// The amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.by_name
            .iter()
            .map(|(name, amount)| (name.as_ref(), *amount))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Nothing that is delivered is missing from the sum, names are bounded, and no number falls.
        #[test]
        fn everything_is_counted_under_a_bounded_number_of_names(
            deliveries in prop::collection::vec((0_u32..300, 0_u64..1_000, 0_u64..10), 0..600)
        ) {
            let mut namespaces = Namespaces::default();
            let mut total = Amount::default();
            for (name, bytes, lines) in deliveries {
                let before = namespaces.clone();
                let amount = Amount { bytes, lines };
                namespaces.deliver(&format!("team-{name}"), amount);
                total += amount;
                for (name, was) in &before.by_name {
                    let is = namespaces.by_name[name];
                    prop_assert!(is.bytes >= was.bytes && is.lines >= was.lines);
                }
            }
            let mut sum = Amount::default();
            for (_, amount) in namespaces.iter() {
                sum += amount;
            }
            prop_assert_eq!(sum, total);
            prop_assert!(namespaces.iter().count() <= Namespaces::NAMED_MAX + 1);
        }
    }

    #[test]
    fn two_workers_add_up_and_what_is_beyond_the_bound_has_a_name_of_its_own() {
        let amount = Amount { bytes: 3, lines: 1 };
        let mut one = Namespaces::default();
        for number in 0..=Namespaces::NAMED_MAX {
            one.deliver(&format!("n{number}"), amount);
        }
        let mut both = one.clone();
        both.add(&one);
        let shown: Vec<(&str, Amount)> = both.iter().collect();
        assert_eq!(shown.len(), Namespaces::NAMED_MAX + 1);
        assert!(shown.iter().all(|(_, amount)| amount.bytes == 6));
        assert!(shown.iter().any(|(name, _)| *name == Namespaces::REST));
    }
}
