//! Asks the cluster who the node's pods are: the API server (one list and one watch), or the kubelet.
//!
//! It runs on the network's thread and fills [`Pods`]; nobody waits for it. Invariant: of one kind of object at most one
//! request is under way, and a request that failed is repeated after a growing, jittered wait.

pub mod families;
pub mod kubelet;
pub mod lines;
pub mod pace;
pub mod quantity;
pub mod resources;
pub mod stats;
pub mod watch;
pub mod wire;
pub mod workload;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::kubelet::Poller;
use self::pace::Pace;
use self::resources::{Namespaces, OwnNode, OwnPods, Resource};
use self::stats::Counted;
use self::watch::Watcher;
use crate::clock::Clock;
use crate::config::kubernetes::{Kubernetes, PodSource};
use crate::config::{HttpSink, Secret};
use crate::pods::store::Pods;
use crate::sink::http::client::Exchange;
use crate::sink::http::connect::ProxySettings;
use crate::sink::http::{StartError, Surroundings, Wire};
use crate::waker::Waker;

/// Asking, until it is dropped.
#[derive(Debug)]
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
    counted: Vec<Arc<Counted>>,
}

impl Running {
    /// What is counted, for each kind of object.
    pub fn counted(&self) -> &[Arc<Counted>] {
        &self.counted
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What all askers need.
struct Start<'a> {
    config: &'a Kubernetes,
    node: &'a str,
    pods: &'a Arc<Pods>,
    clock: &'a Arc<dyn Clock>,
    runtime: &'a Handle,
    running: Running,
}

/// Begins to ask as configured; `None`: nobody is asked. `node`: the own node's name. `clock`: that of whoever asks the
/// store.
pub fn start(
    config: &Kubernetes,
    node: &str,
    pods: &Arc<Pods>,
    clock: &Arc<dyn Clock>,
    runtime: &Handle,
) -> Result<Option<Running>, StartError> {
    let mut start = Start {
        config,
        node,
        pods,
        clock,
        runtime,
        running: Running {
            tasks: Vec::new(),
            counted: Vec::new(),
        },
    };
    match config.source {
        PodSource::None => return Ok(None),
        PodSource::Api => start.watch_all()?,
        PodSource::Kubelet => start.poll_kubelet()?,
    }
    Ok(Some(start.running))
}

impl Start<'_> {
    fn watch_all(&mut self) -> Result<(), StartError> {
        let mut surroundings = Surroundings::of_process();
        surroundings.clock = Arc::clone(self.clock);
        let exchange = Arc::new(exchange(&surroundings, &self.config.api, "kubernetes.api")?);
        let doubted = self.doubted();
        let pods = || Arc::clone(self.pods);
        let own = self.own_pods();
        let namespaces = Namespaces {
            pods: pods(),
            listed: None,
        };
        let node = OwnNode {
            node: self.node.to_owned(),
            pods: pods(),
            listed: false,
        };
        self.watch(own, &exchange, doubted);
        if self.config.node_object {
            self.watch(node, &exchange, Arc::default());
        }
        if self.config.namespace_labels {
            self.watch(namespaces, &exchange, Arc::default());
        }
        Ok(())
    }

    fn poll_kubelet(&mut self) -> Result<(), StartError> {
        let mut surroundings = Surroundings::of_process();
        surroundings.clock = Arc::clone(self.clock);
        // The kubelet is on the node: no way to it leads through a proxy.
        surroundings.proxy = ProxySettings::default();
        let mut http = self.config.kubelet.clone();
        http.url = format!("{}/pods", http.url.trim_end_matches('/'));
        let mut exchange = exchange(&surroundings, &http, "kubernetes.kubelet")?;
        if !self.config.kubelet_verify {
            exchange = exchange.trusting_anyone();
        }
        let counted = Counted::new("pods");
        let poller = Poller {
            resource: self.own_pods(),
            exchange: Arc::new(exchange),
            counted: Arc::clone(&counted),
            clock: Arc::clone(self.clock),
            pace: Pace::new(fastrand::u64(..)),
            start_spread: Duration::from_millis(self.config.start_spread_ms),
            interval: Duration::from_millis(self.config.kubelet_interval_ms),
            doubted: self.doubted(),
        };
        self.running.counted.push(counted);
        self.running.tasks.push(self.runtime.spawn(poller.run()));
        Ok(())
    }

    fn own_pods(&self) -> OwnPods {
        OwnPods {
            node: self.node.to_owned(),
            pods: Arc::clone(self.pods),
            listed: None,
        }
    }

    /// Told when a pod is asked for that is not known.
    fn doubted(&self) -> Arc<Notify> {
        let doubted = Arc::new(Notify::new());
        let its = Arc::clone(&doubted);
        self.pods
            .wakes_when_awaited(Waker::new(move || its.notify_one()));
        doubted
    }

    fn watch<R: Resource>(&mut self, resource: R, exchange: &Arc<Exchange>, doubted: Arc<Notify>) {
        let counted = Counted::new(resource.name());
        let watcher = Watcher {
            resource,
            exchange: Arc::clone(exchange),
            counted: Arc::clone(&counted),
            clock: Arc::clone(self.clock),
            pace: Pace::new(fastrand::u64(..)),
            start_spread: Duration::from_millis(self.config.start_spread_ms),
            watch_timeout: Duration::from_millis(self.config.watch_timeout_ms),
            doubted,
        };
        self.running.counted.push(counted);
        self.running.tasks.push(self.runtime.spawn(watcher.run()));
    }
}

/// Requests as configured, of JSON.
fn exchange(
    surroundings: &Surroundings,
    http: &HttpSink,
    name: &str,
) -> Result<Exchange, StartError> {
    let mut http = http.clone();
    let json = Secret::Literal("application/json".to_owned());
    http.headers.push(("accept".to_owned(), json));
    let wire = Wire {
        content_type: "application/json",
        content_encoding: None,
    };
    // A list and a watch of each kind of object, at most.
    const CONNECTIONS_MAX: usize = 4;
    Exchange::new(surroundings, name, &http, wire, CONNECTIONS_MAX)
        .map_err(|mistake| mistake.of(name))
}
