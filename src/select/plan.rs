//! What one sink does with one chain: decided whenever something about the chain becomes known, never per record.

use crate::record::ChainMeta;

/// Whether a chain is collected, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    /// It is read.
    #[default]
    Collect,
    /// It is counted by its length and never opened for this sink.
    Exclude,
    /// A rule depends on what is not known yet: nothing of it is read.
    Wait,
}

/// What follows from a sink's rules, and the pod's own wishes, for a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whether it is read.
    pub decision: Decision,
}

/// Makes plans by the rules of one sink.
#[derive(Clone, Debug, Default)]
pub struct Planner {}

impl Planner {
    /// The plan for a chain, of which this is known now.
    pub fn plan(&self, _chain: &ChainMeta) -> Plan {
        Plan::default()
    }
}
