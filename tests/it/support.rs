//! What several integration tests share.

#[path = "support/sim_clock.rs"]
pub mod sim_clock;
#[path = "support/sim_files.rs"]
pub mod sim_files;
