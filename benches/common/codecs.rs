//! Every codec, with the levels that are measured.

use longshore::config::Compression;

/// All of them, the fastest level of each first.
pub fn all() -> impl Iterator<Item = Compression> {
    std::iter::successors(behind(Compression::None), |kind| behind(*kind))
}

/// The one that is measured after another. A new codec does not compile here before it has a place.
fn behind(kind: Compression) -> Option<Compression> {
    match kind {
        Compression::None => Some(Compression::Gzip(1)),
        Compression::Gzip(..=1) => Some(Compression::Gzip(6)),
        Compression::Gzip(2..) => Some(Compression::Zstd(1)),
        Compression::Zstd(..=1) => Some(Compression::Zstd(3)),
        Compression::Zstd(2..) => Some(Compression::Snappy),
        Compression::Snappy => None,
    }
}

/// Its name in reports.
pub fn name(kind: Compression) -> String {
    match kind {
        Compression::None => "none".to_owned(),
        Compression::Gzip(level) => format!("gzip {level}"),
        Compression::Zstd(level) => format!("zstd {level}"),
        Compression::Snappy => "snappy".to_owned(),
    }
}
