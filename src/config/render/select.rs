//! Rules of selection as YAML.

use super::Page;
use crate::config::glob::Glob;
use crate::config::select::{ANNOTATIONS, Rules, Select};
use crate::config::selector::Selector;

/// Writes the key `select`.
pub(super) fn render(select: &Select, page: &mut Page) {
    page.open("select");
    for (key, rules) in [("include", &select.include), ("exclude", &select.exclude)] {
        page.open(key);
        render_rules(rules, page);
        page.close();
    }
    let streams = [
        ("stdout", select.streams.stdout),
        ("stderr", select.streams.stderr),
    ];
    let streams = streams.iter().filter(|(_, taken)| *taken);
    let streams: Vec<&str> = streams.map(|(word, _)| *word).collect();
    page.raw("streams", format!("[{}]", streams.join(", ")));
    page.raw("metadata_missing", select.metadata_missing.as_str());
    match select.pod_annotations.len() {
        0 => page.raw("pod_annotations", "none"),
        all if all == ANNOTATIONS.len() => page.raw("pod_annotations", "all"),
        _ => page.texts("pod_annotations", select.pod_annotations.iter().copied()),
    }
    page.close();
}

fn render_rules(rules: &Rules, page: &mut Page) {
    for (key, globs) in [
        ("namespaces", &rules.namespaces),
        ("pods", &rules.pods),
        ("containers", &rules.containers),
        ("workloads", &rules.workloads),
        ("images", &rules.images),
    ] {
        page.texts(key, globs.iter().map(Glob::as_str));
    }
    for (key, selectors) in [
        ("labels", &rules.labels),
        ("annotations", &rules.annotations),
        ("namespace_labels", &rules.namespace_labels),
    ] {
        page.texts(key, selectors.iter().map(Selector::as_str));
    }
}
