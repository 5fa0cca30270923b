//! What one sink does with one chain: decided whenever something about the chain becomes known, never per record.

use std::sync::Arc;

use super::annotations::Wishes;
use super::lines::{ChainLines, LinesPlanner, LinesWishes};
use super::multiline;
use super::rules::{self, By, Verdict};
use crate::config::lines::{Detector, Rate};
use crate::config::multiline::{Multiline, MultilineMode};
use crate::config::select::Select;
use crate::record::ChainMeta;
use crate::tail::multiline::Grouping;

/// Whether a chain is collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    /// It is read.
    #[default]
    Collect,
    /// It is counted by its length and never opened for this sink.
    Exclude,
    /// A rule depends on what is not known yet: nothing of it is read.
    Wait,
}

impl Decision {
    /// Its name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Decision::Collect => "collect",
            Decision::Exclude => "exclude",
            Decision::Wait => "wait",
        }
    }
}

/// What follows from a sink's rules, and the pod's own wishes, for a chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Whether it is read.
    pub decision: Decision,
    /// Which of its lines belong together; `None`: every line is a record.
    pub multiline: Option<Arc<Grouping>>,
    /// What becomes of its records; `None`: all are wanted as they are.
    pub lines: Option<Arc<ChainLines>>,
    /// What decided that, for people; empty if nothing speaks against collecting.
    pub rule: String,
    /// Who excluded it, if it is excluded.
    pub by: By,
    /// Per stream: who excluded its lines, if somebody did. Of an excluded chain both are.
    pub left_out: [Option<By>; 2],
    /// What the pod's annotations ask for, as far as they are obeyed.
    pub wishes: Wishes,
}

impl Plan {
    /// Of a chain that is excluded whatever a sink's rules say.
    pub fn excluded(rule: &str) -> Plan {
        Plan {
            decision: Decision::Exclude,
            rule: rule.to_owned(),
            left_out: [Some(By::Rule); 2],
            ..Plan::default()
        }
    }
}

/// Makes plans by the rules of one sink.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    select: Arc<Select>,
    multiline: Multiline,
    grouping: Option<Arc<Grouping>>,
    lines: Option<Arc<LinesPlanner>>,
}

impl Planner {
    /// A planner by these rules.
    pub fn new(select: Select) -> Planner {
        Planner {
            select: Arc::new(select),
            ..Planner::default()
        }
    }

    /// With groups of lines as the config of the sink says.
    #[must_use]
    pub fn with_multiline(mut self, multiline: &Multiline) -> Planner {
        self.multiline = multiline.clone();
        self.grouping = multiline::grouping(multiline, None);
        self
    }

    /// The plan for a chain, of which this is known now.
    pub fn plan(&self, chain: &ChainMeta) -> Plan {
        let mut wishes = self.wishes(chain);
        let multiline = self.multiline(&mut wishes);
        let lines = self.lines(&mut wishes);
        let Verdict {
            decision,
            rule,
            by,
            left_out,
        } = rules::decide(&self.select, chain, &wishes);
        Plan {
            decision,
            rule,
            by,
            left_out,
            wishes,
            multiline,
            lines,
        }
    }

    /// With rules for records.
    #[must_use]
    pub fn with_lines(mut self, lines: Arc<LinesPlanner>) -> Planner {
        self.lines = Some(lines);
        self
    }

    /// Whether a chain may be read, now or when more is known: the catalog opens its files only then.
    pub fn may_want(&self, chain: &ChainMeta) -> bool {
        let wishes = self.wishes(chain);
        rules::decide(&self.select, chain, &wishes).decision != Decision::Exclude
    }

    fn wishes(&self, chain: &ChainMeta) -> Wishes {
        match chain.pod_state.info() {
            Some(info) => Wishes::of(info, &chain.key.container, &self.select.pod_annotations),
            None => Wishes::default(),
        }
    }

    /// Which lines of a chain belong together: as its pod wishes, or as the config says.
    fn multiline(&self, wishes: &mut Wishes) -> Option<Arc<Grouping>> {
        let Some(names) = &wishes.multiline else {
            return self.grouping.clone();
        };
        let text = match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(","),
        };
        match MultilineMode::named(&text) {
            Some(mode) => multiline::grouping(&self.multiline, Some(&mode)),
            None => {
                wishes.refuse("longshore.dev/multiline", &text, MultilineMode::NAMES);
                self.grouping.clone()
            }
        }
    }

    /// What becomes of a chain's records: as the config says, and less if its pod wishes so.
    fn lines(&self, wishes: &mut Wishes) -> Option<Arc<ChainLines>> {
        let planner = self.lines.as_ref()?;
        let mut redact = Vec::new();
        for name in wishes.redact.clone() {
            match Detector::named(&name) {
                Some(detector) => redact.push(detector),
                None => wishes.refuse("longshore.dev/redact", &name, Detector::NAMES),
            }
        }
        planner.plan(&LinesWishes {
            min_level: wishes.min_level,
            sample: wishes.sample,
            rate: Some(Rate {
                lines: wishes.rate_lines.unwrap_or_default(),
                bytes: wishes.rate_bytes.unwrap_or_default(),
            }),
            redact,
        })
    }
}
