//! What the two line formats have in common.

use crate::record::{Stream, TimeText};

/// One physical line of a runtime's log file, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The runtime's timestamp, in UTC.
    pub time: TimeText,
    /// Which output.
    pub stream: Stream,
    /// More parts of the same record follow (CRI `P`; docker: no line end inside `log`).
    pub partial: bool,
    /// What the container wrote, without its line end.
    pub content: &'a [u8],
}
