//! Rules for records as somebody may have them: a least level, five expressions and three redactions, each with a literal
//! that it needs.

use std::path::{Path, PathBuf};

use longshore::config::lines::{Detector, Lines, MessagePattern};
use longshore::record::Level;

use crate::Outcome;

/// One line in so many has a hit.
const HIT_EVERY: usize = 100;
/// What is written over the middle of such a line, in turn: what is hidden, and what is left out.
const HITS: [&[u8]; 4] = [
    b" password=hunter2 ",
    b" GET /healthz 200 ",
    b" u://me:secret@h/ ",
    b" conn 7 heartbeat ",
];
/// Longer than any header.
const HEADER_BYTES_MAX: usize = 64;

/// The rules.
pub fn rules() -> Outcome<Lines> {
    let exclude = [
        "GET /(healthz|readyz)",
        "(?i)heartbeat",
        r"kube-probe/\d+",
        "^debug: .*",
        r"lease \S+ renewed",
    ];
    let exclude = exclude.into_iter().map(MessagePattern::new);
    Ok(Lines {
        min_level: Some(Level::Debug),
        exclude: exclude.collect::<Result<_, _>>()?,
        redact: vec![
            Detector::UrlCredentials,
            Detector::SecretValues,
            Detector::BearerTokens,
        ],
        ..Lines::default()
    })
}

/// A copy of a log, as long as it is, in which one line of a hundred has something to be hidden or left out.
pub fn with_hits(path: &Path) -> Outcome<PathBuf> {
    let mut text = std::fs::read(path)?;
    let mut number = 0;
    for line in text.split_mut(|byte| *byte == b'\n') {
        number += 1;
        if number % HIT_EVERY != 0 {
            continue;
        }
        let hit = HITS[number / HIT_EVERY % HITS.len()];
        if let Some(place) = line.get_mut(HEADER_BYTES_MAX..HEADER_BYTES_MAX + hit.len()) {
            place.copy_from_slice(hit);
        }
    }
    let copy = path.with_extension("hits");
    std::fs::write(&copy, text)?;
    Ok(copy)
}
