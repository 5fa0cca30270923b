//! What is wanted, and how urgent it is.

pub mod level;
