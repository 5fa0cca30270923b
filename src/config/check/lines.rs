//! The section `lines`: each key that is there takes the place of what held before.

use crate::config::keys;
use crate::config::keys::LINES_NUMBERS;
use crate::config::lines::{
    Detector, Lines, MessagePattern, OWN_REDACTIONS_MAX, OwnRedaction, PATTERNS_BYTES_MAX,
    PATTERNS_MAX,
};
use crate::config::mistake::Report;
use crate::config::walk::{Field, Section};
use crate::config::yaml::Value;
use crate::record::Level;

/// Puts what the mapping `lines` under `above` says into `lines`.
pub(super) fn check(above: &Section<'_>, lines: &mut Lines, report: &mut Report) {
    let Some(section) = above.section("lines", keys::lines(), report) else {
        return;
    };
    section.numbers(&LINES_NUMBERS, lines, report);
    level(&section, "min_level", &mut lines.min_level, report);
    level(
        &section,
        "sample_keep_level",
        &mut lines.sample_keep_level,
        report,
    );
    if let Some(keep) = section.switch("keep_unknown", report) {
        lines.keep_unknown = keep;
    }
    patterns(&section, "include", &mut lines.include, report);
    patterns(&section, "exclude", &mut lines.exclude, report);
    sample(&section, &mut lines.sample, report);
    redact(&section, &mut lines.redact, report);
    own_redactions(&section, &mut lines.redact_patterns, report);
    let own = lines.redact_patterns.iter().map(|own| &own.pattern);
    let all = lines.include.iter().chain(&lines.exclude).chain(own);
    let bytes: usize = all.map(MessagePattern::memory_bytes).sum();
    if bytes > PATTERNS_BYTES_MAX {
        let text = format!(
            "its regular expressions need {bytes} bytes; allowed are {PATTERNS_BYTES_MAX}: simplify those with large repetitions"
        );
        report.add(section.place, &section.path, text);
    }
}

fn level(section: &Section<'_>, key: &str, level: &mut Option<Level>, report: &mut Report) {
    let Some(field) = section.field(key) else {
        return;
    };
    if field.is_null() {
        *level = None;
        return;
    }
    let word = field.text().unwrap_or_default();
    let found = Level::STATED
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(word));
    match found {
        Some(found) => *level = Some(found),
        None => field.refuse(report),
    }
}

fn patterns(
    section: &Section<'_>,
    key: &str,
    patterns: &mut Vec<MessagePattern>,
    report: &mut Report,
) {
    let Some(field) = section.field(key) else {
        return;
    };
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    if items.len() > PATTERNS_MAX {
        let text = format!("found {}; allowed are {PATTERNS_MAX}", items.len());
        report.add(field.place, &field.path, text);
    }
    patterns.clear();
    for (at, node) in items.iter().take(PATTERNS_MAX).enumerate() {
        let item = Field {
            path: format!("{}[{at}]", field.path),
            place: node.place,
            node,
            allowed: "a regular expression".to_owned(),
        };
        patterns.extend(pattern(&item, report));
    }
}

fn pattern(field: &Field<'_>, report: &mut Report) -> Option<MessagePattern> {
    let Some(text) = field.text() else {
        return field.wrong(report);
    };
    match MessagePattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(wrong) => {
            report.add(
                field.place,
                &field.path,
                format!("not a regular expression: {wrong}"),
            );
            None
        }
    }
}

fn sample(section: &Section<'_>, sample: &mut f64, report: &mut Report) {
    let Some(field) = section.field("sample") else {
        return;
    };
    let found: Option<f64> = field.text().and_then(|text| text.parse().ok());
    match found.filter(|share| (0.0..=1.0).contains(share)) {
        Some(found) => *sample = found,
        None => field.refuse(report),
    }
}

fn redact(section: &Section<'_>, redact: &mut Vec<Detector>, report: &mut Report) {
    let Some(field) = section.field("redact") else {
        return;
    };
    if field.text() == Some("all") {
        *redact = Detector::ALL.to_vec();
        return;
    }
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    redact.clear();
    for item in items {
        let word = match &item.value {
            Value::Scalar(scalar) => scalar.text.as_str(),
            _ => "",
        };
        match Detector::ALL.into_iter().find(|it| it.as_str() == word) {
            Some(found) => redact.push(found),
            None => return field.refuse(report),
        }
    }
    redact.sort_unstable();
    redact.dedup();
}

fn own_redactions(section: &Section<'_>, own: &mut Vec<OwnRedaction>, report: &mut Report) {
    let Some(map) = section.section_of_any("redact_patterns", report) else {
        return;
    };
    if map.entries.len() > OWN_REDACTIONS_MAX {
        let text = format!(
            "found {}; allowed are {OWN_REDACTIONS_MAX}",
            map.entries.len()
        );
        report.add(map.place, &map.path, text);
    }
    own.clear();
    for entry in map.entries.iter().take(OWN_REDACTIONS_MAX) {
        let Some(field) = map.field(&entry.key) else {
            continue;
        };
        if !is_name(&entry.key) {
            let text = "not a name for a mask; allowed is a-z, 0-9 and _, at most 32, and not the name of a detector";
            report.add(entry.place, &field.path, text);
            continue;
        }
        if let Some(pattern) = pattern(&field, report) {
            let name = entry.key.clone();
            own.push(OwnRedaction { name, pattern });
        }
    }
}

/// Names stand in masks, which must not need escapes anywhere, and in label values.
fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let taken = Detector::ALL.iter().any(|it| it.as_str() == name);
    (1..=32).contains(&name.len()) && name.chars().all(word) && !taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::parse::parse;
    use crate::config::render::render;

    fn good(text: &str) -> Config {
        parse(text, "f", &|_| None, "node").unwrap()
    }

    fn bad_sink(keys: &str) -> Vec<String> {
        let text = format!("sinks: {{main: {{type: blackhole, {keys}}}}}");
        let mistakes = parse(&text, "f", &|_| None, "node").unwrap_err();
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sink_overrides_the_rules_for_lines_key_by_key() {
        let config = good(
            "logs: {lines: {min_level: info, sample: 0.25, exclude: ['a+', '\"b\\d'], redact: [cards, jwt], \
             redact_patterns: {staff: 'EMP-(\\d+)'}, pod_lines_per_second_max: 7}}\nsinks:\n  a: {type: blackhole}\n  \
             b: {type: stdout, lines: {min_level: null, exclude: [], redact: all, keep_unknown: false}}",
        );
        let [a, b] = config.sinks.as_slice() else {
            panic!("two sinks: {config:?}")
        };
        assert_eq!(a.lines, config.logs.lines);
        assert_eq!(a.lines.min_level, Some(Level::Info));
        assert_eq!(a.lines.redact, [Detector::Jwt, Detector::Cards]);
        assert_eq!((b.lines.min_level, b.lines.keep_unknown), (None, false));
        assert!(b.lines.exclude.is_empty());
        assert_eq!(b.lines.redact, Detector::ALL);
        assert_eq!((b.lines.sample, b.lines.rate.pod.lines), (0.25, 7));
        let again = good(&render(&config));
        assert_eq!(again, config);
    }

    #[test]
    fn all_that_is_wrong_with_rules_for_lines_is_said_at_once() {
        let mistakes = bad_sink(
            "lines: {min_level: loud, sample: 1.5, exclude: ['(', 7, ['x']], redact: [cards, keys],
          redact_patterns: {Bad: x, cards: y, good: '[z-a]'}, rate_burst_ms: 1, includes: []}",
        );
        let all = [
            "lines.rate_burst_ms: found \"1\"",
            "lines.min_level: found \"loud\"; allowed is critical, error,",
            "lines.exclude[0]: not a regular expression",
            "lines.exclude[2]: found a list",
            "lines.sample: found \"1.5\"; allowed is a number from 0 to 1",
            "lines.redact: found a list",
            "lines.redact_patterns.Bad: not a name for a mask",
            "lines.redact_patterns.cards: not a name for a mask",
            "lines.redact_patterns.good: not a regular expression",
            "lines.includes: unknown key here; did you mean include?",
        ];
        assert_eq!(mistakes.len(), all.len(), "{mistakes:#?}");
        for words in all {
            let said = mistakes.iter().any(|mistake| mistake.contains(words));
            assert!(said, "{words:?} is not in {mistakes:#?}");
        }
        let mistakes = bad_sink("lines: {exclude: ['(?:a{1000}){1000}']}");
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(mistakes[0].contains("lines.exclude[0]: not a regular expression"));
    }
}
