//! Bytes to records: line formats, joining, reading. Everything but `read.rs` is pure.

pub mod cri;
pub mod docker;
pub mod inflate;
pub mod join;
pub mod json;
pub mod line;
pub mod lines;
pub mod multiline;
pub mod read;
pub mod time;
