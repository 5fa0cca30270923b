//! The names of levels.

use crate::record::Level;

/// The longest name.
const NAME_BYTES_MAX: usize = 13;

/// The level that has this name, in any case.
pub(super) fn named(name: &[u8]) -> Option<Level> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"fatal" | b"panic" | b"dpanic" | b"critical" | b"crit" | b"alert" | b"emergency"
        | b"emerg" | b"ftl" | b"fata" | b"pani" => Level::Critical,
        b"error" | b"err" | b"erro" | b"severe" | b"fail" => Level::Error,
        b"warning" | b"warn" | b"wrn" => Level::Warning,
        b"information" | b"informational" | b"info" | b"inf" | b"notice" => Level::Info,
        b"debug" | b"debu" | b"dbug" | b"dbg" => Level::Debug,
        b"trace" | b"trce" | b"trac" | b"trc" | b"verbose" | b"vrb" => Level::Trace,
        _ => return None,
    })
}
