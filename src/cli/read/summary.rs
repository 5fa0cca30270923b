//! What was read, for `--summary`.

use std::fmt;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Files that could be opened.
    pub(super) files: u64,
    /// Lines, those of no format and the unfinished ones among them.
    pub(super) lines: u64,
    /// Rows printed.
    pub(super) records: u64,
    /// Of these, how many lack their end.
    pub(super) partial: u64,
    /// How many are longer than a record may be.
    pub(super) cut: u64,
    /// How many are lines of no known format.
    pub(super) unparsed: u64,
    /// What was left out of those that are too long.
    pub(super) cut_bytes: u64,
    /// NULs that nobody wrote.
    pub(super) hole_bytes: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            files,
            lines,
            records,
            partial,
            cut,
            unparsed,
            ..
        } = self;
        write!(
            f,
            "files {files}, lines {lines}, records {records}, partial {partial}, cut {cut}, unparsed {unparsed}, \
             bytes cut off {}, bytes of holes {}",
            self.cut_bytes, self.hole_bytes
        )
    }
}
