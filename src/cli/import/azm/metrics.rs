//! The sections about metrics: `prometheus-data-collection-settings`, `metric_collection_settings`,
//! `alertable-metrics-configuration-settings` and `integrations`.

use crate::cli::import::draft::Draft;
use crate::cli::import::notes::{Notes, Outcome};
use crate::cli::import::value::Value;
use crate::config::pattern::Pattern;
use crate::config::sinks::http::wrong_url;
use crate::config::substitute::escape;

use super::{Row, by, duration_ms, lacking, needless, not, switch, unless_off};

const OF_CLUSTER: &str =
    "an agent scrapes its own node alone: each of them would scrape this again";
const PROMETHEUS: &str =
    "one Prometheus for the cluster, or a target in metrics.scrape of a configuration of one pod";
const ALWAYS_SENT: &str = "values are sent whatever they are; a threshold belongs to a rule";
const ALERTS: &str =
    "the rules in deploy/alerts, or an alert on a query of deploy/azure/queries.md";

/// The sections' settings.
pub(super) const ROWS: &[Row] = &[
    needless(
        "prometheus_data_collection_settings.cluster.interval",
        "nothing of the cluster is scraped",
    ),
    needless(
        "prometheus_data_collection_settings.cluster.fieldpass",
        "nothing of the cluster is scraped",
    ),
    needless(
        "prometheus_data_collection_settings.cluster.fielddrop",
        "nothing of the cluster is scraped",
    ),
    unless_off(
        "prometheus_data_collection_settings.cluster.urls",
        OF_CLUSTER,
        PROMETHEUS,
    ),
    unless_off(
        "prometheus_data_collection_settings.cluster.kubernetes_services",
        OF_CLUSTER,
        PROMETHEUS,
    ),
    unless_off(
        "prometheus_data_collection_settings.cluster.monitor_kubernetes_pods",
        "pods are not found by their annotations",
        "a target in metrics.scrape for what each node has at one address; else Prometheus",
    ),
    needless(
        "prometheus_data_collection_settings.cluster.monitor_kubernetes_pods_namespaces",
        "of monitor_kubernetes_pods",
    ),
    needless(
        "prometheus_data_collection_settings.cluster.kubernetes_label_selector",
        "of monitor_kubernetes_pods",
    ),
    needless(
        "prometheus_data_collection_settings.cluster.kubernetes_field_selector",
        "of monitor_kubernetes_pods",
    ),
    by(
        "prometheus_data_collection_settings.node.interval",
        interval,
    ),
    by("prometheus_data_collection_settings.node.urls", urls),
    by(
        "prometheus_data_collection_settings.node.fieldpass",
        |value, draft| names(value, &mut draft.node.keep),
    ),
    by(
        "prometheus_data_collection_settings.node.fielddrop",
        |value, draft| names(value, &mut draft.node.drop),
    ),
    unless_off(
        "metric_collection_settings.collect_kube_system_pv_metrics.enabled",
        "volumes are not measured by default, in no namespace",
        "a target in metrics.scrape for the kubelet, with `keep: [kubelet_volume_stats_.*]`: of all namespaces",
    ),
    lacking(
        "alertable_metrics_configuration_settings.container_resource_utilization_thresholds.*",
        ALWAYS_SENT,
        ALERTS,
    ),
    lacking(
        "alertable_metrics_configuration_settings.pv_utilization_thresholds.*",
        ALWAYS_SENT,
        "the kubelet in metrics.scrape with `keep: [kubelet_volume_stats_.*]`, and a rule on that",
    ),
    lacking(
        "alertable_metrics_configuration_settings.job_completion_threshold.*",
        "jobs are the cluster's, not a node's",
        "kube-state-metrics and a rule on kube_job_status_completion_time",
    ),
    by(
        "integrations.azure_network_policy_manager.collect_basic_metrics",
        policies,
    ),
    by(
        "integrations.azure_network_policy_manager.collect_advanced_metrics",
        policies_in_full,
    ),
    by(
        "integrations.azure_subnet_ip_usage.enabled",
        |value, draft| switch(value, &mut draft.subnet),
    ),
];

fn interval(value: &Value, draft: &mut Draft) -> Outcome {
    let Some(found_ms) = value.text().and_then(duration_ms) else {
        return not("a duration such as 1m or 30s");
    };
    let kept_ms = found_ms.clamp(1_000, 3_600_000);
    draft.node.interval_ms = Some(kept_ms);
    match kept_ms == found_ms {
        true => Outcome::Taken,
        false => Outcome::lacking(
            format!("an interval is from 1 s to 1 h; {kept_ms} ms was taken"),
            "another scraper for what has to be asked oftener, or more rarely",
        ),
    }
}

/// Most targets of a configuration, less the two that integrations may add.
const TARGETS_MAX: usize = 62;

fn urls(value: &Value, draft: &mut Draft) -> Outcome {
    let Some(urls) = value.texts() else {
        return not("a list of URLs");
    };
    let mut wrong = None;
    for url in &urls {
        // The address is a variable here and there; any address will do to see what is around it.
        match wrong_url(&url.replace("$NODE_IP", "192.0.2.1")) {
            None if draft.node_urls.len() < TARGETS_MAX => {
                let url = escape(url).replace("$NODE_IP", "${NODE_IP}");
                if !draft.node_urls.contains(&url) {
                    draft.node_urls.push(url);
                }
            }
            None => wrong = Some("too many of them"),
            Some(why) => wrong = Some(why),
        }
    }
    let is_secure = urls.iter().any(|url| url.starts_with("https:"));
    match wrong {
        Some(why) => Outcome::wrong(format!("{why}; the others were taken")),
        None if is_secure => Outcome::lacking(
            "Container Insights sends its service account's token and trusts any certificate; neither is done here",
            "`bearer_token: {file: PATH}` and `tls: {ca_file: PATH}` of the target in metrics.scrape",
        ),
        None => Outcome::Taken,
    }
}

/// Globs of names to expressions.
fn names(value: &Value, list: &mut Vec<String>) -> Outcome {
    let Some(globs) = value.texts() else {
        return not("a list of names of metrics");
    };
    let few = globs.len() <= NAMES_MAX;
    let expressions = globs.iter().take(NAMES_MAX).map(|glob| expression(glob));
    let expressions: Vec<String> = expressions.collect();
    if !few || expressions.iter().any(|it| Pattern::whole(it).is_err()) {
        return not(&format!("a list of at most {NAMES_MAX} names of metrics"));
    }
    *list = expressions;
    Outcome::Taken
}

/// Most names of one list.
const NAMES_MAX: usize = 64;

/// The expression for a whole name that matches what the glob matches.
fn expression(glob: &str) -> String {
    let mut text = String::with_capacity(glob.len());
    for c in glob.chars() {
        match c {
            '*' => text.push_str(".*"),
            '?' => text.push('.'),
            c if c.is_alphanumeric() || matches!(c, '_' | ':' | '-') => text.push(c),
            c => text.extend(['\\', c]),
        }
    }
    text
}

fn policies(value: &Value, draft: &mut Draft) -> Outcome {
    let Some(on) = value.switch() else {
        return not("true or false");
    };
    draft.policies |= on;
    of_policies(on)
}

fn policies_in_full(value: &Value, draft: &mut Draft) -> Outcome {
    let Some(on) = value.switch() else {
        return not("true or false");
    };
    draft.policies |= on;
    draft.policies_in_full |= on;
    of_policies(on)
}

fn of_policies(on: bool) -> Outcome {
    match on {
        true => Outcome::lacking(
            "the node's part is taken; that of the cluster, npm-metrics-cluster-service.kube-system:9000, is not",
            PROMETHEUS,
        ),
        false => Outcome::needless("off there as here"),
    }
}

/// What follows from several settings together.
pub(super) fn finish(draft: &Draft, notes: &mut Notes) {
    let asks = !draft.node_urls.is_empty() || draft.policies || draft.subnet;
    if draft.no_metrics && asks {
        let outcome = Outcome::needless(
            "the rule takes no metrics, so targets are scraped neither there nor here",
        );
        let urls = draft.node_urls.iter().map(|url| Value::Text(url.clone()));
        notes.add("scrape targets", &Value::List(urls.collect()), outcome);
    }
}
