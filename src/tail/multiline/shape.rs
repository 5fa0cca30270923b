//! What lines look like: small predicates that the grammars share.

/// Without the carriage return that terminals and Windows put before a line end.
#[inline]
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Nothing but white space.
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Begins with a space or a tab, and has something behind it.
pub(super) fn is_indented(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t')) && !is_blank(line)
}

/// What is behind the spaces and tabs at the beginning.
pub(super) fn unindented(line: &[u8]) -> &[u8] {
    let indent = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    line.get(indent.count()..).unwrap_or_default()
}

/// What is behind at least one decimal digit.
pub(super) fn after_number(line: &[u8]) -> Option<&[u8]> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        None
    } else {
        line.get(digits..)
    }
}

/// What is behind the first place of `needle`.
pub(super) fn after<'l>(line: &'l [u8], needle: &[u8]) -> Option<&'l [u8]> {
    let at = memchr::memmem::find(line, needle)?;
    line.get(at + needle.len()..)
}

/// Whether one of these is its beginning.
pub(super) fn starts_with_any(line: &[u8], starts: &[&[u8]]) -> bool {
    starts.iter().any(|start| line.starts_with(start))
}

/// A byte of a name, as most languages have them.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Ends with a colon and a number: a place in a source.
pub(super) fn ends_with_place(line: &[u8]) -> bool {
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    digits > 0 && line.len() > digits && line.get(line.len() - digits - 1) == Some(&b':')
}
