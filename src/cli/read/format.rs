//! The format of a file's lines: told, or found out.

use clap::ValueEnum;

use crate::tail::line::Line;
use crate::tail::{cri, docker};

/// Of which format the lines of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// That of the first line which is of either.
    Auto,
    /// `TIME stdout|stderr F|P CONTENT`: containerd, CRI-O.
    Cri,
    /// `{"log":...,"stream":...,"time":...}`: docker's json-file.
    Docker,
}

/// Takes a line apart. Of an unknown format, the first line that is of either decides.
pub(super) fn parse<'a>(
    format: &mut Format,
    line: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Option<Line<'a>> {
    let (parsed, found) = match format {
        Format::Cri => return cri::parse(line),
        Format::Docker => return docker::parse(line, scratch),
        Format::Auto => match cri::parse(line) {
            Some(parsed) => (parsed, Format::Cri),
            None => (docker::parse(line, scratch)?, Format::Docker),
        },
    };
    *format = found;
    Some(parsed)
}
