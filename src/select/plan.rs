//! What one sink does with one chain: decided whenever something about the chain becomes known, never per record.

use std::sync::Arc;

use super::multiline;
use crate::config::multiline::{Multiline, MultilineMode};
use crate::record::ChainMeta;
use crate::tail::multiline::Grouping;

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
    /// Which of its lines belong together; `None`: every line is a record.
    pub multiline: Option<Arc<Grouping>>,
}

/// Makes plans by the rules of one sink.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    multiline: Multiline,
    grouping: Option<Arc<Grouping>>,
}

impl Planner {
    /// With groups of lines as the config of the sink says.
    #[must_use]
    pub fn with_multiline(mut self, multiline: &Multiline) -> Planner {
        self.multiline = multiline.clone();
        self.grouping = multiline::grouping(multiline, None);
        self
    }

    /// The plan for a chain, of which this is known now.
    pub fn plan(&self, _chain: &ChainMeta) -> Plan {
        Plan {
            multiline: self.multiline(None),
            ..Plan::default()
        }
    }

    /// Which lines of a chain belong together, if its pod wishes for `mode`, or for nothing of its own.
    pub fn multiline(&self, wish: Option<&MultilineMode>) -> Option<Arc<Grouping>> {
        match wish {
            None => self.grouping.clone(),
            wish => multiline::grouping(&self.multiline, wish),
        }
    }
}
