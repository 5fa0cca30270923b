//! longshore: a per-node Kubernetes telemetry agent.
//!
//! ```text
//!  /var/log/pods/<ns>_<pod>_<uid>/<container>/N.log*        (written by the container runtime)
//!        |
//!   catalog     what chains and segments exist, how long they are; holds their descriptors
//!  ======= one thread per pipeline worker ===================================================
//!        |  tail       read blocks, parse lines, join parts and groups
//!        |  select     what is wanted, how urgent it is, what is hidden
//!        |  encode     runs of records -> payload bytes, compressed
//!        |  pipeline   the loop: schedule, seal, hand over, judge, account
//!  ==========================================================================================
//!   sink        one attempt, one verdict; tokio lives behind it
//!        |
//!   checkpoint  the durable cursors, moved only by a verdict
//! ```
//!
//! Off to the side: `agent` builds all of it and applies new configurations; `kube` asks the cluster who the pods are
//! and `pods` keeps it for the catalog; `node`, `scrape` and `samples` measure the node and send what they found by a
//! way of their own; `admin` shows what the others publish.

pub mod admin;
pub mod agent;
pub mod catalog;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod config;
pub mod encode;
pub mod files;
pub mod kube;
pub mod node;
pub mod own_log;
pub mod own_pod;
pub mod pipeline;
pub mod pods;
pub mod record;
pub mod samples;
pub mod scrape;
pub mod select;
pub mod sink;
pub mod tail;
pub mod waker;
