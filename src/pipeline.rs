//! One pipeline per sink: read, parse, join, select, encode, compress, seal, hand over, account.
//! ARCHITECTURE.md tells the life of a line through it.

pub mod board;
pub mod chains;
pub mod concurrency;
pub mod delivery;
pub mod drain;
pub mod emit;
pub mod exclude;
pub mod fill;
pub mod group;
pub mod judge;
pub mod ledger;
pub mod namespaces;
pub mod payload;
pub mod roster;
mod ruled;
pub mod schedule;
pub mod show;
pub mod straight;
pub mod turn;
pub mod worker;
