//! What the whole line is meant to reach, set beside what it did: a report, never an assertion.

/// Numbers of files for which the goals are set.
pub const FILES: [usize; 2] = [10, 100];

/// Measurement, the least percentage of reading and splitting, and for which build.
const GOALS: [(&str, f64, &str); 5] = [
    ("blackhole", 15.0, "any"),
    ("http", 8.0, "any"),
    ("http, gzip 1", 4.0, "default"),
    ("http, gzip 1", 7.0, "feature `isal`"),
    ("http, zstd 1", 6.0, "any"),
];

/// Prints each goal with what was measured: `measured` gives the percentage of reading and splitting.
pub fn print(measured: impl Fn(&str) -> f64) {
    println!("| goal | build | at least, % of read + split | measured | |");
    println!("|---|---|---|---|---|");
    for (what, least, build) in GOALS {
        let measured = measured(what);
        let word = if measured >= least { "met" } else { "missed" };
        println!("| {what} | {build} | {least:.0} | {measured:.1} | {word} |");
    }
    println!();
}
