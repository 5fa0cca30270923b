//! Keys of `metrics`.

use std::path::PathBuf;

use crate::config::keys::{
    IP, Known, METRICS, METRICS_NUMBERS, SCRAPE_NUMBERS, scrape as scrape_keys,
};
use crate::config::metrics::{Ip, Metrics, Profile};
use crate::config::mistake::Report;
use crate::config::pattern::Pattern;
use crate::config::scrape::Scrape;
use crate::config::sinks::http::{self, wrong_url};
use crate::config::sinks::remote_write::labels;
use crate::config::walk::{Field, Section};
use crate::config::yaml::Value;

/// Most targets that are scraped.
const TARGETS_MAX: usize = 64;
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
    scrape(&section, &mut metrics.scrape, report);
}

fn scrape(section: &Section<'_>, targets: &mut Vec<Scrape>, report: &mut Report) {
    let Some(field) = section.field("scrape") else {
        return;
    };
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    if items.len() > TARGETS_MAX {
        let text = format!("found {}; allowed are {TARGETS_MAX}", items.len());
        report.add(field.place, &field.path, text);
    }
    for (at, item) in items.iter().take(TARGETS_MAX).enumerate() {
        let path = format!("{}[{at}]", field.path);
        let Some(section) = Section::of(item, path, item.place, scrape_keys(), report) else {
            continue;
        };
        section.refuse_unknown(report);
        let mut target = Scrape::new(String::new());
        http::check_request(&section, &mut target.http, report);
        let url = std::mem::take(&mut target.http.url);
        target.set_url(url);
        section.numbers(&SCRAPE_NUMBERS, &mut target, report);
        target.keep = patterns(&section, "keep", report);
        target.drop = patterns(&section, "drop", report);
        labels(&section, &mut target.labels, report);
        targets.push(target);
    }
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::parse::parse;

    #[test]
    fn every_mistake_in_metrics_is_reported() {
        let text = "\
metrics:
  enabled: maybe
  interval_ms: 10
  profile: maximal
  keep: node_cpu
  drop: ['node_(', [], 'node_load.*']
  proc: proc
  disks_exclude: '*'
  interval: 1
  ip:
    azure_cns_url: 10.0.0.1:10092
    aws_url: http://u@h/
    cni_network: /x
    compat_azure: 1
sinks: {a: {type: blackhole}}
";
        let mistakes = parse(text, "f", &|_| None, "host").unwrap_err();
        let wanted = [
            "metrics.enabled: found \"maybe\"; allowed is true or false",
            "metrics.interval_ms: found \"10\"; allowed is a whole number, 1000 to 600000 ms",
            "metrics.profile: found \"maximal\"; allowed is minimal, standard or full",
            "metrics.keep: found \"node_cpu\"; allowed is a list of at most 64",
            "metrics.drop[0]: not a regular expression",
            "metrics.drop[1]: found a list; allowed is a regular expression for a whole name",
            "metrics.proc: found \"proc\"; allowed is an absolute path",
            "metrics.disks_exclude: not a regular expression",
            "metrics.interval: unknown key here; did you mean interval_ms?",
            "metrics.ip.azure_cns_url: the URL is neither http",
            "metrics.ip.aws_url: the URL has a user",
            "metrics.ip.cni_network: unknown key here; did you mean cni_networks?",
            "metrics.ip.compat_azure: found \"1\"; allowed is true or false",
        ];
        assert_eq!(mistakes.len(), wanted.len(), "{mistakes:#?}");
        for (mistake, wanted) in mistakes.iter().zip(wanted) {
            let mistake = mistake.to_string();
            assert!(mistake.contains(wanted), "{wanted} is not in {mistake}");
        }
    }

    #[test]
    fn roots_come_from_the_section_or_else_from_the_environment() {
        let relative = |name: &str| (name == "HOST_SYS").then(|| "host/sys".to_owned());
        let text = "sinks: {a: {type: blackhole}}\n";
        let mistakes = parse(text, "f", &relative, "host").unwrap_err();
        assert_eq!(mistakes.len(), 1);
        let mistake = mistakes[0].to_string();
        assert!(
            mistake.contains("HOST_SYS is not an absolute path"),
            "{mistake}"
        );
        let text = format!("{text}metrics: {{sys: /s, proc: /p, ip: {{cni_networks: null}}}}\n");
        let metrics = parse(&text, "f", &relative, "host").unwrap().metrics;
        assert_eq!(metrics.sys, PathBuf::from("/s"));
        assert_eq!(metrics.proc, PathBuf::from("/p"));
        assert_eq!(metrics.ip.cni_networks, None);
        let many = vec!["a"; 65].join(", ");
        let text = format!("sinks: {{a: {{type: blackhole}}}}\nmetrics: {{keep: [{many}]}}");
        let mistakes = parse(&text, "f", &|_| None, "host").unwrap_err();
        assert!(mistakes[0].to_string().contains("found 65"), "{mistakes:?}");
    }
}
