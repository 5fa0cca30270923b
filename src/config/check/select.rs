//! Rules of selection: globs, selectors, streams, and which annotations of pods are obeyed.

use crate::config::Config;
use crate::config::glob::Glob;
use crate::config::keys::Known;
use crate::config::kubernetes::PodSource;
use crate::config::mistake::{Report, cut, nearest};
use crate::config::select::{
    ANNOTATIONS, ITEMS_MAX, MetadataMissing, RULES, Rules, SELECT, Select,
};
use crate::config::selector::{Selector, Values};
use crate::config::walk::{Field, Section, found};
use crate::config::yaml::{Node, Value};

/// What is asked about pods: what paths do not say is else never known.
#[derive(Clone, Copy)]
struct Asked {
    pods: bool,
    namespaces: bool,
}

impl Asked {
    fn by(config: &Config) -> Asked {
        let kubernetes = &config.kubernetes;
        let pods = kubernetes.source != PodSource::None;
        Asked {
            pods,
            namespaces: pods && kubernetes.namespace_labels,
        }
    }
}

/// The rules under `logs`; of `config`, all that says who is asked about pods has been checked.
pub(super) fn of_logs(top: &Section<'_>, config: &mut Config, report: &mut Report) {
    let Some(entry) = top.entry("logs") else {
        return;
    };
    if !super::is_map(&entry.value) {
        return;
    }
    let path = "logs".to_owned();
    let known = Known::of(&crate::config::keys::LOGS);
    if let Some(logs) = Section::of(&entry.value, path, entry.place, known, report) {
        let mut select = config.logs.select.clone();
        check(&logs, &mut select, config, report);
        config.logs.select = select;
    }
}

/// Changes what the key `select` says.
pub(super) fn check(
    section: &Section<'_>,
    select: &mut Select,
    config: &Config,
    report: &mut Report,
) {
    let Some(inner) = section.section("select", Known::of(&SELECT), report) else {
        return;
    };
    fill(&inner, select, Asked::by(config), report);
}

/// Reads the keys of one `select`.
fn fill(inner: &Section<'_>, select: &mut Select, asked: Asked, report: &mut Report) {
    for (key, into) in [
        ("include", &mut select.include),
        ("exclude", &mut select.exclude),
    ] {
        if let Some(section) = inner.section(key, Known::of(&RULES), report) {
            rules(&section, into, asked, report);
        }
    }
    streams(inner, select, report);
    if let Some(missing) = inner.choice("metadata_missing", &MetadataMissing::ALL, report) {
        select.metadata_missing = missing;
    }
    annotations(inner, select, report);
}

fn rules(section: &Section<'_>, rules: &mut Rules, asked: Asked, report: &mut Report) {
    let name = |text: &str| Glob::new(text).ok_or("not a glob of 1 to 1024 printable characters");
    let workload = |text: &str| match text.split('/').count() {
        2 => name(text),
        _ => Err("not of the form KIND/NAME, for instance Deployment/web-*"),
    };
    let label = |text: &str| Selector::new(text, Values::OfLabels);
    let annotation = |text: &str| Selector::new(text, Values::OfAnnotations);
    list(section, "namespaces", &mut rules.namespaces, name, report);
    list(section, "pods", &mut rules.pods, name, report);
    list(section, "containers", &mut rules.containers, name, report);
    list(section, "workloads", &mut rules.workloads, workload, report);
    list(section, "images", &mut rules.images, name, report);
    list(section, "labels", &mut rules.labels, label, report);
    list(
        section,
        "annotations",
        &mut rules.annotations,
        annotation,
        report,
    );
    list(
        section,
        "namespace_labels",
        &mut rules.namespace_labels,
        label,
        report,
    );
    const NOBODY: &str = "can never be decided: nobody is asked about pods; set kubernetes.source";
    const NO_NAMESPACES: &str =
        "can never be decided: nobody is asked about namespaces; set kubernetes.namespace_labels";
    for (key, is_empty, is_asked) in [
        ("workloads", rules.workloads.is_empty(), asked.pods),
        ("images", rules.images.is_empty(), asked.pods),
        ("labels", rules.labels.is_empty(), asked.pods),
        ("annotations", rules.annotations.is_empty(), asked.pods),
        (
            "namespace_labels",
            rules.namespace_labels.is_empty(),
            asked.namespaces,
        ),
    ] {
        if !is_empty && !is_asked && section.entry(key).is_some() {
            let text = if asked.pods { NO_NAMESPACES } else { NOBODY };
            section.add(key, report, text);
        }
    }
}

/// Replaces `into` by the texts under `key`, each made into a `T` or said to be wrong.
fn list<T>(
    section: &Section<'_>,
    key: &str,
    into: &mut Vec<T>,
    make: impl Fn(&str) -> Result<T, &'static str>,
    report: &mut Report,
) {
    let Some(field) = section.field(key) else {
        return;
    };
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    if items.len() > ITEMS_MAX {
        return field.refuse(report);
    }
    into.clear();
    for item in items {
        let Some(text) = text_of(item) else {
            refuse_item(&field, item, "not a text", report);
            continue;
        };
        match make(text) {
            Ok(made) => into.push(made),
            Err(wrong) => refuse_item(&field, item, wrong, report),
        }
    }
}

fn text_of(item: &Node) -> Option<&str> {
    match &item.value {
        Value::Scalar(scalar) if !scalar.is_null() => Some(&scalar.text),
        _ => None,
    }
}

fn refuse_item(field: &Field<'_>, item: &Node, wrong: &str, report: &mut Report) {
    if item.value != Value::Refused {
        let text = format!("found {}: {wrong}", found(item));
        report.add(item.place, &field.path, text);
    }
}

fn streams(section: &Section<'_>, select: &mut Select, report: &mut Report) {
    let Some(field) = section.field("streams") else {
        return;
    };
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    let mut streams = crate::config::select::Streams {
        stdout: false,
        stderr: false,
    };
    for item in items {
        match text_of(item) {
            Some("stdout") => streams.stdout = true,
            Some("stderr") => streams.stderr = true,
            _ => return field.refuse(report),
        }
    }
    if items.is_empty() {
        return field.refuse(report);
    }
    select.streams = streams;
}

fn annotations(section: &Section<'_>, select: &mut Select, report: &mut Report) {
    let Some(field) = section.field("pod_annotations") else {
        return;
    };
    let items = match (&field.node.value, field.text()) {
        (_, Some("all")) => {
            select.pod_annotations = ANNOTATIONS.to_vec();
            return;
        }
        (_, Some("none")) => {
            select.pod_annotations.clear();
            return;
        }
        (Value::List(items), _) => items,
        _ => return field.refuse(report),
    };
    let mut obeyed = Vec::new();
    for item in items {
        let Some(text) = text_of(item) else {
            refuse_item(&field, item, "not a text", report);
            continue;
        };
        match ANNOTATIONS.into_iter().find(|known| *known == text) {
            Some(known) => obeyed.push(known),
            None => {
                let hint = match nearest(text, ANNOTATIONS) {
                    Some(name) => format!("did you mean {name}?"),
                    None => format!("allowed are {}", ANNOTATIONS.join(", ")),
                };
                let text = format!("unknown annotation {}; {hint}", cut(text, 64));
                report.add(item.place, &field.path, text);
            }
        }
    }
    select.pod_annotations = ANNOTATIONS
        .into_iter()
        .filter(|it| obeyed.contains(it))
        .collect();
}

#[cfg(test)]
mod tests;
