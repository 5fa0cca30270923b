//! What the cluster is asked, joined to the catalog, and shown under the names that METRICS.md gives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::StartError;
use crate::admin::{ClusterHealth, Stat};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::Config;
use crate::kube;
use crate::kube::stats::{Counted, Fault};
use crate::pods::store::Pods;

/// Who the pods are, and who asks for that.
pub(super) struct Cluster {
    /// What is known.
    pub(super) pods: Arc<Pods>,
    running: kube::Running,
    clock: Arc<dyn Clock>,
    metadata_wait: Duration,
}

/// Begins to ask, if the configuration says so.
pub(super) fn start(
    config: &Config,
    clock: &Arc<dyn Clock>,
    network: &Handle,
) -> Result<Option<Cluster>, StartError> {
    let kubernetes = &config.kubernetes;
    let pods = Arc::new(Pods::new());
    let running = kube::start(kubernetes, &config.node, &pods, clock, network)
        .map_err(|error| StartError::Sink(error.to_string()))?;
    Ok(running.map(|running| Cluster {
        pods,
        running,
        clock: Arc::clone(clock),
        metadata_wait: Duration::from_millis(kubernetes.metadata_wait_ms),
    }))
}

impl Cluster {
    /// A catalog that asks for pods.
    pub(super) fn shown_to(&self, catalog: Catalog) -> Catalog {
        catalog.knowing(Arc::clone(&self.pods), self.metadata_wait)
    }

    /// For the admin pages.
    pub(super) fn health(&self) -> Arc<dyn ClusterHealth> {
        Arc::new(ClusterView {
            pods: Arc::clone(&self.pods),
            counted: self.running.counted().to_vec(),
            clock: Arc::clone(&self.clock),
        })
    }
}

/// Who asks the cluster, as the admin server asks for it.
pub struct ClusterView {
    /// What is known.
    pub pods: Arc<Pods>,
    /// What is counted, for each kind of object.
    pub counted: Vec<Arc<Counted>>,
    /// The clock by which things are heard.
    pub clock: Arc<dyn Clock>,
}

/// A number that each kind of object has.
type OfResource = (&'static str, &'static str, fn(&Counted) -> &AtomicU64);

const OF_RESOURCES: [OfResource; 4] = [
    (
        "longshore_kubernetes_lists_total",
        "Pages of lists that were asked for.",
        |counted| &counted.lists,
    ),
    (
        "longshore_kubernetes_watches_total",
        "Watches that were asked for.",
        |counted| &counted.watches,
    ),
    (
        "longshore_kubernetes_events_total",
        "Events of watches.",
        |counted| &counted.events,
    ),
    (
        "longshore_kubernetes_malformed_total",
        "Objects that could not be read.",
        |counted| &counted.malformed,
    ),
];

impl ClusterHealth for ClusterView {
    fn stats(&self) -> Vec<Stat> {
        let mut all = self.of_pods();
        for counted in &self.counted {
            let label = Some(("resource", counted.resource));
            let mut add = |name, help, value| {
                all.push(Stat {
                    label,
                    ..Stat::new(name, help, value)
                });
            };
            add(
                "longshore_kubernetes_in_sync",
                "1 while what is known is kept up to date.",
                counted.in_sync().into(),
            );
            let heard = counted.heard().unwrap_or_default();
            add(
                "longshore_kubernetes_heard_age_seconds",
                "Time since something was heard, or since the start of the agent.",
                self.clock.now().since(heard).as_secs(),
            );
            for (name, help, value) in OF_RESOURCES {
                add(name, help, value(counted).load(Ordering::Relaxed));
            }
        }
        for fault in Fault::ALL {
            all.push(Stat {
                name: "longshore_kubernetes_failures_total",
                help: "Requests and watches that failed.",
                label: Some(("reason", fault.as_str())),
                value: self.counted.iter().map(|it| it.faults(fault)).sum(),
            });
        }
        all
    }

    fn problems(&self) -> Vec<(&'static str, String)> {
        let all = self.counted.iter();
        all.filter_map(|counted| Some((counted.resource, counted.problem()?)))
            .collect()
    }
}

impl ClusterView {
    fn of_pods(&self) -> Vec<Stat> {
        let counts = self.pods.counts();
        vec![
            Stat::new(
                "longshore_kubernetes_pods",
                "Pods of the node that are known.",
                counts.pods as u64,
            ),
            Stat::new(
                "longshore_kubernetes_pods_deleted",
                "Deleted pods that are still known.",
                counts.deleted as u64,
            ),
            Stat::new(
                "longshore_kubernetes_pods_awaited",
                "Pods with logs of which nothing is known yet.",
                counts.awaited as u64,
            ),
            Stat::new(
                "longshore_kubernetes_pods_missing",
                "Pods with logs that were deleted before they were seen.",
                counts.missing as u64,
            ),
            Stat::new(
                "longshore_kubernetes_pods_cut",
                "Pods of which labels or annotations were left out because they were too many or too long.",
                counts.cut as u64,
            ),
            Stat::new(
                "longshore_kubernetes_refused_total",
                "Pods and namespaces that were left out because there were too many.",
                counts.refused,
            ),
        ]
    }
}
