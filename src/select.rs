//! What is wanted, how urgent it is, and what becomes of it before it is encoded.

pub mod annotations;
pub mod level;
pub mod lines;
pub mod multiline;
pub mod plan;
pub mod rules;
