//! Keys of `metrics`.

use std::path::PathBuf;

use super::http::wrong_url;
use crate::config::keys::{IP, Known, METRICS, METRICS_NUMBERS};
use crate::config::metrics::{Ip, Metrics, Profile};
use crate::config::mistake::Report;
use crate::config::pattern::Pattern;
use crate::config::walk::{Field, Section};
use crate::config::yaml::Value;

/// Most expressions of one list.
const PATTERNS_MAX: usize = 64;

/// Fills in `metrics`.
pub(super) fn check(top: &Section<'_>, metrics: &mut Metrics, report: &mut Report) {
    let known = Known::of(&METRICS).numbers(&METRICS_NUMBERS);
    let section = top.section("metrics", known, report);
    roots(top, section.as_ref(), metrics, report);
    let Some(section) = section else { return };
    section.numbers(&METRICS_NUMBERS, metrics, report);
    if let Some(enabled) = section.switch("enabled", report) {
        metrics.enabled = enabled;
    }
    let profiles = [
        ("minimal", Profile::Minimal),
        ("standard", Profile::Standard),
        ("full", Profile::Full),
    ];
    if let Some(profile) = section.choice("profile", &profiles, report) {
        metrics.profile = profile;
    }
    metrics.keep = patterns(&section, "keep", report);
    metrics.drop = patterns(&section, "drop", report);
    for (key, exclude) in [
        (
            "filesystem_mounts_exclude",
            &mut metrics.filesystem_mounts_exclude,
        ),
        (
            "filesystem_types_exclude",
            &mut metrics.filesystem_types_exclude,
        ),
        ("disks_exclude", &mut metrics.disks_exclude),
        ("interfaces_exclude", &mut metrics.interfaces_exclude),
    ] {
        let field = section.field(key);
        if let Some(pattern) = field.and_then(|field| pattern(&field, Pattern::part, report)) {
            *exclude = pattern;
        }
    }
    ip(&section, &mut metrics.ip, report);
}

/// The roots: from the section; else from the environment, which may be wrong, too.
fn roots(
    top: &Section<'_>,
    section: Option<&Section<'_>>,
    metrics: &mut Metrics,
    report: &mut Report,
) {
    for (key, variable, default, root) in [
        ("proc", "HOST_PROC", "/proc", &mut metrics.proc),
        ("sys", "HOST_SYS", "/sys", &mut metrics.sys),
        ("root", "HOST_ROOT", "/", &mut metrics.root),
    ] {
        let given = section.filter(|section| section.entry(key).is_some());
        if let Some(section) = given {
            *root = section
                .path(key, report)
                .unwrap_or_else(|| PathBuf::from(default));
        } else if !root.is_absolute() {
            let text = format!(
                "the environment variable {variable} is not an absolute path; set metrics.{key}, or unset it"
            );
            top.add("metrics", report, text);
        }
    }
}

fn patterns(section: &Section<'_>, key: &str, report: &mut Report) -> Vec<Pattern> {
    let Some(field) = section.field(key) else {
        return Vec::new();
    };
    let Value::List(items) = &field.node.value else {
        field.refuse(report);
        return Vec::new();
    };
    if items.len() > PATTERNS_MAX {
        let text = format!("found {}; allowed are {PATTERNS_MAX}", items.len());
        report.add(field.place, &field.path, text);
    }
    let items = items.iter().take(PATTERNS_MAX).enumerate();
    items
        .filter_map(|(at, item)| {
            let item = Field {
                path: format!("{}[{at}]", field.path),
                place: item.place,
                node: item,
                allowed: "a regular expression for a whole name".to_owned(),
            };
            pattern(&item, Pattern::whole, report)
        })
        .collect()
}

fn pattern(
    field: &Field<'_>,
    read: fn(&str) -> Result<Pattern, String>,
    report: &mut Report,
) -> Option<Pattern> {
    let Some(text) = field.text() else {
        return field.wrong(report);
    };
    match read(text) {
        Ok(pattern) => Some(pattern),
        Err(wrong) => {
            let wrong = format!("not a regular expression: {wrong}");
            report.add(field.place, &field.path, wrong);
            None
        }
    }
}

fn ip(section: &Section<'_>, ip: &mut Ip, report: &mut Report) {
    let Some(section) = section.section("ip", Known::of(&IP), report) else {
        return;
    };
    if section.entry("cni_networks").is_some() {
        ip.cni_networks = section.path_or_null("cni_networks", report);
    }
    if let Some(compat) = section.switch("compat_azure", report) {
        ip.compat_azure = compat;
    }
    for (key, url) in [
        ("azure_cns_url", &mut ip.azure_cns_url),
        ("aws_url", &mut ip.aws_url),
        ("cilium_url", &mut ip.cilium_url),
    ] {
        let Some(field) = section.field(key).filter(|field| !field.is_null()) else {
            continue;
        };
        match field.text().map(|text| (text, wrong_url(text))) {
            Some((text, None)) => *url = Some(text.to_owned()),
            Some((_, Some(wrong))) => {
                let text = format!("{wrong}; allowed is {}", field.allowed);
                report.add(field.place, &field.path, text);
            }
            None => field.refuse(report),
        }
    }
}
