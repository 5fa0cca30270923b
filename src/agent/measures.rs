//! What is measured of the node: the collectors that the configuration asks for, and the thread that asks them, joined
//! to the sinks that take metrics.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::{StartError, descriptors};
use crate::clock::Clock;
use crate::config::metrics::Ip;
use crate::config::{Config, HttpSink};
use crate::kube::families::ClusterState;
use crate::node::container::names::LogTree;
use crate::node::container::{ContainerSettings, Containers};
use crate::node::gpu::Gpus;
use crate::node::ip::endpoint::{Endpoint, Fetch};
use crate::node::ip::{IpSettings, IpUsage, SharedFacts, Source};
use crate::node::sampler::{Running, Sampler};
use crate::node::{self, Collect};
use crate::pods::store::Pods;
use crate::samples::inbox::Inbox;
use crate::scrape::Target;
use crate::sink::http::client::Exchange;
use crate::sink::http::{Surroundings, Wire};
use crate::waker::Waker;

/// A page with the state of an address manager is read up to here.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The sampler waits for such a page no longer than this.
const PAGE_TIMEOUT_MS: u64 = 500;

/// Where snapshots go; a reload changes it.
#[derive(Default)]
pub(super) struct Outlets(ArcSwap<Vec<Arc<Inbox>>>);

impl Outlets {
    /// From now on to these.
    pub(super) fn set(&self, inboxes: Vec<Arc<Inbox>>) {
        self.0.store(Arc::new(inboxes));
    }
}

/// Starts to sample, if the configuration says so; every snapshot is offered to all `outlets`.
pub(super) fn start(
    config: &Config,
    pods: Option<&Arc<Pods>>,
    outlets: &Arc<Outlets>,
    network: &Handle,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Running>, StartError> {
    if !config.metrics.enabled {
        return Ok(None);
    }
    let sampler = Sampler::new(
        &config.metrics,
        collectors(config, pods, network)?,
        Arc::clone(clock),
    );
    // Not an owner: the published snapshots own the waker.
    let published = Arc::downgrade(sampler.published());
    let outlets = Arc::clone(outlets);
    sampler.published().subscribe(Waker::new(move || {
        if let Some(snapshot) = published.upgrade().and_then(|it| it.latest()) {
            for inbox in outlets.0.load().iter() {
                inbox.offer(Arc::clone(&snapshot));
            }
        }
    }));
    let fail = |source| StartError::Thread {
        what: "the sampler of the node",
        source,
    };
    sampler.start().map(Some).map_err(fail)
}

fn collectors(
    config: &Config,
    pods: Option<&Arc<Pods>>,
    network: &Handle,
) -> Result<Vec<Box<dyn Collect>>, StartError> {
    let surroundings = Surroundings::of_process();
    let logs = &config.logs;
    let settings = ContainerSettings {
        descriptors_max: descriptors::spare(config),
        ..ContainerSettings::default()
    };
    let names = LogTree::new(&logs.container_links, &logs.pod_logs);
    let containers = Containers::new(settings, Box::new(names));
    let (ip, pages) = addresses(&config.metrics.ip, &surroundings, network)?;
    let facts = SharedFacts::default();
    let cluster = pods.map(|pods| ClusterState::new(&config.node, Arc::clone(pods), facts.clone()));
    // Addresses are compared with the containers of the same sample.
    let addresses = IpUsage::new(ip, Box::new(pages), containers.live(), facts);
    let mut all: Vec<Box<dyn Collect>> = vec![Box::new(containers)];
    if let Some(cluster) = cluster {
        all.push(Box::new(cluster));
    }
    all.extend([Box::new(addresses) as Box<dyn Collect>, Box::new(Gpus)]);
    for target in &config.metrics.scrape {
        let target = Target::start(target, &surroundings, network)
            .map_err(|error| StartError::Sink(error.to_string()))?;
        all.push(Box::new(target));
    }
    // File systems are the last of these: they may have to be waited for.
    all.extend(node::collectors(config));
    Ok(all)
}

fn addresses(
    config: &Ip,
    surroundings: &Surroundings,
    network: &Handle,
) -> Result<(IpSettings, Pages), StartError> {
    let urls = [
        (Source::AzureCns, &config.azure_cns_url),
        (Source::AwsCni, &config.aws_url),
        (Source::Cilium, &config.cilium_url),
    ];
    let endpoints = urls
        .into_iter()
        .filter_map(|(source, url)| {
            let url = url.clone()?;
            Some(Endpoint { source, url })
        })
        .collect();
    let mut settings = IpSettings {
        host_local_directory: config.cni_networks.clone(),
        endpoints,
        compat_azure: config.compat_azure,
        ..IpSettings::default()
    };
    settings
        .endpoints
        .dedup_by(|one, other| one.url == other.url);
    let mut exchanges = HashMap::new();
    for endpoint in &settings.endpoints {
        let mut http = HttpSink::new(endpoint.url.clone());
        http.connect_timeout_ms = PAGE_TIMEOUT_MS;
        http.request_timeout_ms = PAGE_TIMEOUT_MS;
        let wire = Wire {
            content_type: "text/plain",
            content_encoding: None,
        };
        let exchange = Exchange::new(surroundings, "metrics.ip", &http, wire, 1)
            .map_err(|mistake| StartError::Sink(mistake.of("metrics.ip").to_string()))?;
        exchanges.insert(endpoint.url.clone(), exchange);
    }
    let network = network.clone();
    Ok((settings, Pages { exchanges, network }))
}

/// Pages of address managers, asked by the sampler's thread.
struct Pages {
    exchanges: HashMap<String, Exchange>,
    network: Handle,
}

impl Fetch for Pages {
    fn get(&mut self, url: &str) -> Result<String, String> {
        let exchange = self.exchanges.get(url).ok_or("not configured")?;
        let fetched = self.network.block_on(exchange.fetch(PAGE_BYTES_MAX));
        match fetched {
            Ok((status, page)) if status.is_success() => {
                String::from_utf8(page).map_err(|_| "not text".to_owned())
            }
            Ok((status, _)) => Err(status.to_string()),
            Err(failure) => Err(failure.text),
        }
    }
}
