//! The one integration binary: each module says what it proves.

// Helpers outside of #[test] functions fail their test in the same ways as those do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The simulation traces on request; its names are ASCII.
#![allow(clippy::print_stderr, clippy::string_slice)]

/// The admin pages over a real socket: they answer any client, balance while workers publish, and match METRICS.md.
#[path = "it/admin.rs"]
mod admin;
/// The programs that people unpack with read what every codec and level writes.
#[path = "it/compress.rs"]
mod compress;
/// The config reference and the examples say what the code does; `check` reports and exits as stated.
#[path = "it/config.rs"]
mod config;
/// What is measured of a real pod is what the kernel, the runtime and the network plugin say of it.
#[path = "it/containers.rs"]
mod containers;
/// What the manifest for a cluster mounts, grants and probes is what the configuration in it needs.
#[path = "it/deploy.rs"]
mod deploy;
/// The pages of `docs/` name keys, defaults, figures and files that there are, and their examples load.
#[path = "it/docs.rs"]
mod docs;

/// What Container Insights is told becomes a configuration that `check` accepts; the rest is named.
#[path = "it/import.rs"]
mod import;

/// A strict HTTP server that does as a test tells it.
#[path = "it/support/http_server.rs"]
mod http_server;

/// Authorities and certificates made on the spot.
#[path = "it/support/certificates.rs"]
mod certificates;

/// No room of the sources reaches into one above it; sources are short and ASCII.
#[path = "it/layers.rs"]
mod layers;

/// A small HTTP proxy.
#[path = "it/support/proxy.rs"]
mod proxy;

/// A strict broker of Kafka's protocol that does as a test tells it.
#[path = "it/support/kafka_broker.rs"]
mod kafka_broker;

/// Every attempt at a broker gets exactly one verdict, and the right one; identities and trust are followed.
#[path = "it/kafka.rs"]
mod kafka;

/// The file sink on real directories: what a cut at any byte leaves, rolling, retiring, a full disk, two instances.
#[path = "it/file_sink.rs"]
mod file_sink;
/// Every attempt over a real socket gets exactly one verdict, and the right one; rotated files are followed.
#[path = "it/http_sink.rs"]
mod http_sink;
/// The simulated node that several tests share.
#[path = "it/support.rs"]
mod support;

/// The catalog follows every file through rotation, compression, deletion and faults, within its budgets.
#[path = "it/catalog.rs"]
mod catalog;

/// Every measure of the node, on trees that stand in for nodes, is what METRICS.md says; garbage is a well-formed page.
#[path = "it/node.rs"]
mod node;

/// The real binary as a child process, and the logs that it tails.
#[path = "it/support/agent.rs"]
mod agent;
/// The real binary through kills, outages, mistakes, full disks and hostile logs: nothing is lost in silence.
#[path = "it/process.rs"]
mod process;

/// The real binary against a strict API server that fails in every known way: the right pod's words with each row.
#[path = "it/kube.rs"]
mod kube;
/// Each stack trace of the nine languages, as programs print them, is one record.
#[path = "it/multiline.rs"]
mod multiline;

/// The data plane keeps its promise: a seeded simulation of files, crashes and sinks, single-threaded, on virtual time.
#[path = "it/pipeline.rs"]
mod pipeline;
/// `longshore read` makes of every shape of line, file and end what it should, within bounded memory.
#[path = "it/read.rs"]
mod read;
/// Remote write to a strict receiver: all samples once, in order, with their end; logs and samples delay each other not.
#[path = "it/remote_write.rs"]
mod remote_write;

/// OTLP over gRPC against a real server: what is asked, and what each answer comes to.
#[path = "it/otlp.rs"]
mod otlp;
/// Every sink through faults and three kills: nothing is lost, and repeats are known by their uid.
#[path = "it/sinks.rs"]
mod sinks;
/// A server that stores what a sink sends, and fails on purpose.
#[path = "it/support/store.rs"]
mod store;
