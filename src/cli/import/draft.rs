//! The configuration that is being made, and its text.
//!
//! Invariant: with the variables of [`PLACEHOLDERS`] filled in, the text is a configuration without mistakes. What
//! the preset says is not said again.

use std::fmt::Write;

use crate::config::preset::Preset;
use crate::config::render::quoted;
use crate::config::substitute::escape;

/// What whoever imports has to fill in, as environment variables.
pub(super) const PLACEHOLDERS: [&str; 2] = ["AZURE_LOGS_ENDPOINT", "AZURE_LOGS_DCR"];
/// How often Container Insights measures if nobody says.
pub(super) const INTERVAL_MS: u64 = 60_000;
/// Namespaces that it leaves out if nobody says.
pub(super) const SYSTEM_NAMESPACES: [&str; 2] = ["kube-system", "gatekeeper-system"];

/// One of the two outputs of containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stream {
    /// Whether it is collected; by default it is.
    pub(super) enabled: Option<bool>,
    /// Whether any of its settings is there: then its list has another default.
    pub(super) is_given: bool,
    /// Namespaces that are left out.
    pub(super) exclude: Option<Vec<String>>,
}

impl Stream {
    /// Whether it is collected.
    pub(super) fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// The namespaces that are left out.
    pub(super) fn excluded(&self) -> Vec<String> {
        match &self.exclude {
            Some(names) => names.clone(),
            None if self.is_given => Vec::new(),
            None => SYSTEM_NAMESPACES.map(str::to_owned).to_vec(),
        }
    }
}

/// A page of metrics on the own node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Target {
    /// Its address as the configuration has it, variables included.
    pub(super) url: String,
    /// How often, if not by default.
    pub(super) interval_ms: Option<u64>,
    /// Expressions for the families that are kept.
    pub(super) keep: Vec<String>,
    /// Expressions for those that are not.
    pub(super) drop: Vec<String>,
    /// The label `job`.
    pub(super) job: Option<&'static str>,
}

/// What is collected into the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Draft {
    pub(super) preset: Option<Preset>,
    pub(super) stdout: Stream,
    pub(super) stderr: Stream,
    /// Whether pods may exclude themselves by annotations.
    pub(super) annotations: bool,
    /// Whether traces are joined.
    pub(super) multiline: bool,
    /// Languages of traces; absent: those of the default; empty: nothing is joined.
    pub(super) languages: Option<Vec<&'static str>>,
    /// Whether rows have what the cluster says of their pods.
    pub(super) metadata: bool,
    /// Whether rows have the image.
    pub(super) images: bool,
    /// Which fields; absent: all.
    pub(super) fields: Option<Vec<&'static str>>,
    /// Whether a rule takes no logs.
    pub(super) no_logs: bool,
    /// Whether a rule takes no metrics.
    pub(super) no_metrics: bool,
    /// How often the node is measured, if a rule says.
    pub(super) interval_ms: Option<u64>,
    /// What `node` of the Prometheus settings says: one target for each URL.
    pub(super) node: Target,
    pub(super) node_urls: Vec<String>,
    /// Whether network policies are measured, and whether in full.
    pub(super) policies: bool,
    pub(super) policies_in_full: bool,
    /// Whether addresses of the subnet are measured.
    pub(super) subnet: bool,
    pub(super) flush_ms: Option<u64>,
    pub(super) upload_ms: Option<u64>,
    pub(super) age_max_ms: Option<u64>,
    /// Level of gzip; 0 is none.
    pub(super) compression: Option<u64>,
}

impl Draft {
    /// Whether logs of any stream are taken.
    pub(super) fn takes_logs(&self) -> bool {
        !self.no_logs && (self.stdout.is_on() || self.stderr.is_on())
    }

    /// Namespaces whose logs are left out: those that no stream that is on wants.
    pub(super) fn excluded(&self) -> Vec<String> {
        match (self.stdout.is_on(), self.stderr.is_on()) {
            (true, true) => {
                let other = self.stderr.excluded();
                let mut names = self.stdout.excluded();
                names.retain(|name| other.contains(name));
                names
            }
            (true, false) => self.stdout.excluded(),
            (false, _) => self.stderr.excluded(),
        }
    }

    /// Whether rows have metadata: without any field Container Insights adds none, whatever the switch says.
    fn has_metadata(&self) -> bool {
        self.metadata && self.fields.as_ref().is_none_or(|fields| !fields.is_empty())
    }

    /// Fields of `KubernetesMetadata`; `None`: by default.
    fn include_fields(&self) -> Option<Vec<&'static str>> {
        match (self.has_metadata(), self.images) {
            (true, _) => self.fields.clone(),
            (false, true) => Some(vec!["image", "imageRepo", "imageTag"]),
            // The cluster is asked for annotations alone: rows are not to grow by that.
            (false, false) => self.asks_cluster().then(|| vec!["podUid"]),
        }
    }

    /// Whether traces are joined.
    fn joins(&self) -> bool {
        self.multiline && self.languages.as_ref().is_none_or(|it| !it.is_empty())
    }

    /// Whether the cluster has to be asked.
    pub(super) fn asks_cluster(&self) -> bool {
        self.takes_logs() && (self.has_metadata() || self.images || self.annotations)
    }

    /// Whether the node's address is part of the configuration.
    pub(super) fn needs_address(&self) -> bool {
        let of_node = self.node_urls.iter().any(|url| url.contains("${NODE_IP}"));
        !self.no_metrics && (self.subnet || self.policies || of_node)
    }

    /// All targets.
    fn targets(&self) -> Vec<Target> {
        let of_node = self.node_urls.iter().map(|url| Target {
            url: url.clone(),
            ..self.node.clone()
        });
        let mut targets: Vec<Target> = of_node.collect();
        if self.policies {
            let drop = match self.policies_in_full {
                true => Vec::new(),
                false => vec!["npm_ipset_counts".to_owned()],
            };
            targets.push(Target {
                url: "http://${NODE_IP}:10091/node-metrics".to_owned(),
                interval_ms: Some(INTERVAL_MS),
                drop,
                job: Some("azure-npm"),
                ..Target::default()
            });
        }
        targets
    }

    /// The configuration as text.
    pub(super) fn render(&self) -> String {
        let mut page = Page::default();
        if let Some(preset) = self.preset {
            page.key("preset", preset.name());
        }
        if self.asks_cluster() {
            page.open("kubernetes");
            page.key("source", "api");
            page.close();
        }
        if self.takes_logs() {
            self.logs(&mut page);
        }
        self.metrics(&mut page);
        self.sink(&mut page);
        page.text
    }

    fn logs(&self, page: &mut Page) {
        let excluded = self.excluded();
        let is_partial = !(self.stdout.is_on() && self.stderr.is_on());
        let says_none = excluded.is_empty() && self.preset == Some(Preset::CostOptimized);
        let selects = !excluded.is_empty() || says_none || is_partial || self.asks_cluster();
        if !selects && !self.joins() {
            return;
        }
        page.open("logs");
        if selects {
            page.open("select");
            if !excluded.is_empty() || says_none {
                page.open("exclude");
                page.texts("namespaces", &excluded);
                page.close();
            }
            if is_partial {
                let stream = if self.stdout.is_on() {
                    "stdout"
                } else {
                    "stderr"
                };
                page.texts("streams", &[stream]);
            }
            if self.annotations {
                page.texts("pod_annotations", &["fluentbit.io/exclude"]);
            } else if self.asks_cluster() {
                page.key("pod_annotations", "none");
            }
            page.close();
        }
        if self.joins() {
            let all = vec!["go", "java", "python"];
            page.open("multiline");
            page.texts("mode", self.languages.as_ref().unwrap_or(&all));
            page.close();
        }
        page.close();
    }

    fn metrics(&self, page: &mut Page) {
        let defaults = self.preset.map(Preset::defaults);
        page.open("metrics");
        let is_on = !self.no_metrics;
        if defaults.is_none_or(|it| it.metrics_enabled) != is_on {
            page.key("enabled", is_on);
        }
        if is_on {
            let interval_ms = self.interval_ms.unwrap_or(INTERVAL_MS);
            if defaults.is_none_or(|it| it.metrics_interval_ms != interval_ms) {
                page.key("interval_ms", interval_ms);
            }
            if defaults.is_none() {
                page.key("profile", "minimal");
            }
            if self.subnet {
                page.open("ip");
                page.key("azure_cns_url", "\"http://${NODE_IP}:10092/metrics\"");
                page.key("compat_azure", true);
                page.close();
            }
            let targets = self.targets();
            if !targets.is_empty() {
                page.open("scrape");
                targets.iter().for_each(|target| page.target(target));
                page.close();
            }
        }
        page.close_or_drop();
    }

    fn sink(&self, page: &mut Page) {
        let takes_logs = self.takes_logs();
        page.open("sinks");
        page.open("azure");
        page.key("type", "azure_logs");
        let [endpoint, rule] = PLACEHOLDERS;
        page.key("endpoint", format!("${{{endpoint}}}"));
        page.key("dcr", format!("${{{rule}}}"));
        page.open("azure_auth");
        page.key("workload_identity", "{}");
        page.close();
        let signals = match (takes_logs, !self.no_metrics) {
            (true, true) => "[logs, metrics]",
            (true, false) => "[logs]",
            (false, _) => "[metrics]",
        };
        page.key("signals", signals);
        if takes_logs {
            page.key("parse_json", true);
            if let Some(fields) = self.include_fields() {
                page.texts("include_fields", &fields);
            }
            if let Some(age_max_ms) = self.age_max_ms {
                page.open("read_from");
                page.key("age_max_ms", age_max_ms);
                page.close();
            }
            if let Some(flush_ms) = self.flush_ms.max(self.upload_ms) {
                page.key("flush_interval_ms", flush_ms);
            }
        }
        match self.compression {
            Some(0) => page.key("compression", "none"),
            Some(level) => page.key("compression_level", level),
            None => {}
        }
        page.close();
        page.close();
    }
}

/// The text so far.
#[derive(Debug, Default)]
struct Page {
    text: String,
    depth: usize,
    /// Where each open mapping begins.
    opened: Vec<usize>,
}

impl Page {
    /// A key with a value that needs no quotes.
    fn key(&mut self, key: &str, value: impl std::fmt::Display) {
        let indent = self.depth * 2;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{key}: {value}", "");
    }

    fn open(&mut self, key: &str) {
        let indent = self.depth * 2;
        self.opened.push(self.text.len());
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{key}:", "");
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.opened.pop();
    }

    /// Ends a mapping, and takes it back if it is empty.
    fn close_or_drop(&mut self) {
        let start = self.opened.last().copied().unwrap_or_default();
        let is_empty = self
            .text
            .get(start..)
            .is_some_and(|it| it.lines().count() < 2);
        if is_empty {
            self.text.truncate(start);
        }
        self.close();
    }

    /// A list of texts that came from elsewhere: nothing in them is a variable.
    fn texts(&mut self, key: &str, texts: &[impl AsRef<str>]) {
        let texts = texts.iter().map(|text| quoted(&escape(text.as_ref())));
        let texts: Vec<String> = texts.collect();
        self.key(key, format!("[{}]", texts.join(", ")));
    }

    fn target(&mut self, target: &Target) {
        let indent = self.depth * 2;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}- url: {}", "", quoted(&target.url));
        self.depth += 1;
        if let Some(interval_ms) = target.interval_ms {
            self.key("interval_ms", interval_ms);
        }
        for (key, list) in [("keep", &target.keep), ("drop", &target.drop)] {
            if !list.is_empty() {
                self.texts(key, list);
            }
        }
        if let Some(job) = target.job {
            self.key("labels", format!("{{job: {job}}}"));
        }
        self.depth = self.depth.saturating_sub(1);
    }
}
