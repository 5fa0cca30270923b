//! `multiline`: which lines of a container's output belong together, for all sinks under `logs`, for one under its name.
//!
//! Invariant: [`OwnPatterns`] has `start` or `continue`. What a sink does not say is as under `logs`.

use super::keys::{Key, Known, MINUTE, Number, key};
use super::mistake::Report;
use super::pattern::Pattern;
use super::render::Page;
use super::walk::{Field, Section};
use super::yaml::Value;

/// Languages whose stack traces are known, in the order of the reference.
pub const LANGUAGES: [&str; 9] = [
    "java", "python", "go", "ruby", "node", "dotnet", "php", "rust", "cpp",
];

/// Which lines belong together, and how many at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Multiline {
    /// By what.
    pub mode: MultilineMode,
    /// Most lines of one record.
    pub lines_max: u32,
    /// A group that has not grown for so long is over.
    pub timeout_ms: u64,
}

/// By what lines are known to belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum MultilineMode {
    /// Every line is a record.
    #[default]
    None,
    /// Stack traces of every language of [`LANGUAGES`].
    Auto,
    /// Stack traces of these, each of [`LANGUAGES`].
    Languages(Vec<&'static str>),
    /// Expressions of the user's.
    Own(Box<OwnPatterns>),
}

/// Expressions for lines; each is looked for anywhere in a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnPatterns {
    /// A group's first line.
    pub start: Option<Pattern>,
    /// Its other lines.
    pub continues: Option<Pattern>,
    /// Its last line.
    pub end: Option<Pattern>,
}

impl Default for Multiline {
    fn default() -> Multiline {
        Multiline {
            mode: MultilineMode::None,
            lines_max: 1_000,
            timeout_ms: 1_000,
        }
    }
}

impl MultilineMode {
    /// What [`MultilineMode::named`] takes.
    pub const NAMES: &str =
        "none, auto, or some of java, python, go, ruby, node, dotnet, php, rust and cpp";

    /// The mode of that text, as a pod's annotation has it: `none`, `auto`, or languages with commas between them.
    pub fn named(text: &str) -> Option<MultilineMode> {
        match text.trim() {
            "none" => return Some(MultilineMode::None),
            "auto" => return Some(MultilineMode::Auto),
            _ => {}
        }
        let languages = text.split(',').map(|name| language(name.trim()));
        let languages: Vec<_> = languages.collect::<Option<_>>()?;
        Some(MultilineMode::Languages(in_order(&languages)))
    }
}

fn language(name: &str) -> Option<&'static str> {
    LANGUAGES.into_iter().find(|known| *known == name)
}

/// So that equal meaning is an equal value.
fn in_order(languages: &[&str]) -> Vec<&'static str> {
    let known = LANGUAGES.into_iter();
    known.filter(|name| languages.contains(name)).collect()
}

const PATTERN_OR_NULL: &str = "a regular expression or null";

/// Its keys without numbers.
static KEYS: [Key; 4] = [
    key(
        "mode",
        "none, auto, own, or a list of java, python, go, ruby, node, dotnet, php, rust and cpp",
    ),
    key("start", PATTERN_OR_NULL),
    key("continue", PATTERN_OR_NULL),
    key("end", PATTERN_OR_NULL),
];

/// Its numbers.
static NUMBERS: [Number<Multiline>; 2] = [
    Number::new(
        "lines_max",
        (2, 100_000),
        |it| u64::from(it.lines_max),
        |it, value| it.lines_max = value as u32,
    ),
    Number::new(
        "timeout_ms",
        (10, MINUTE),
        |it| it.timeout_ms,
        |it, value| it.timeout_ms = value,
    ),
];

/// All keys.
pub fn keys() -> Known {
    Known::of(&KEYS).numbers(&NUMBERS)
}

/// Takes over the section under `outer`, if it is there.
pub(super) fn check(outer: &Section<'_>, multiline: &mut Multiline, report: &mut Report) {
    let Some(section) = outer.section("multiline", keys(), report) else {
        return;
    };
    section.numbers(&NUMBERS, multiline, report);
    let given = ["start", "continue", "end"]
        .map(|key| Some((key, section.field(key).filter(|field| !field.is_null())?)));
    let first = given.iter().flatten().next().map(|(key, _)| *key);
    let [start, continues, end] =
        given.map(|given| given.map(|(_, field)| pattern(&field, report)));
    let mode = section.field("mode");
    let says_own = mode
        .as_ref()
        .is_some_and(|field| field.text() == Some("own"));
    match (mode, first) {
        (Some(field), first) if !says_own => {
            if let Some(mode) = words(&field, report) {
                multiline.mode = mode;
            }
            if let Some(key) = first {
                let text = "has a meaning only with mode: own";
                section.add(key, report, text);
            }
        }
        (None, None) => {}
        (_, _) if start.is_none() && continues.is_none() => {
            let key = first.unwrap_or("mode");
            section.add(key, report, "needs start, continue or both");
        }
        (_, _) => {
            multiline.mode = MultilineMode::Own(Box::new(OwnPatterns {
                start: start.flatten(),
                continues: continues.flatten(),
                end: end.flatten(),
            }));
        }
    }
}

fn pattern(field: &Field<'_>, report: &mut Report) -> Option<Pattern> {
    let Some(text) = field.text() else {
        return field.wrong(report);
    };
    match Pattern::part(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let text = format!("not a regular expression: {error}");
            report.add(field.place, &field.path, text);
            None
        }
    }
}

fn words(field: &Field<'_>, report: &mut Report) -> Option<MultilineMode> {
    let Value::List(items) = &field.node.value else {
        return match field.text() {
            Some("none") => Some(MultilineMode::None),
            Some("auto") => Some(MultilineMode::Auto),
            _ => field.wrong(report),
        };
    };
    let languages = items.iter().map(|item| match &item.value {
        Value::Scalar(scalar) => language(&scalar.text),
        _ => None,
    });
    match languages.collect::<Option<Vec<_>>>() {
        Some(languages) if !languages.is_empty() => {
            Some(MultilineMode::Languages(in_order(&languages)))
        }
        _ => field.wrong(report),
    }
}

/// Writes it out.
pub(super) fn render(multiline: &Multiline, page: &mut Page) {
    page.open("multiline");
    let none = OwnPatterns::default();
    let own = match &multiline.mode {
        MultilineMode::Own(own) => own,
        _ => &none,
    };
    match &multiline.mode {
        MultilineMode::None => page.raw("mode", "none"),
        MultilineMode::Auto => page.raw("mode", "auto"),
        MultilineMode::Languages(names) => page.raw("mode", format!("[{}]", names.join(", "))),
        MultilineMode::Own(_) => page.raw("mode", "own"),
    }
    for (key, pattern) in [
        ("start", &own.start),
        ("continue", &own.continues),
        ("end", &own.end),
    ] {
        page.scalar_or_null(key, pattern.as_ref().map(Pattern::as_str));
    }
    page.numbers(&NUMBERS, multiline);
    page.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::parse::parse;
    use crate::config::render::render;

    fn parsed(logs: &str, sink: &str) -> Result<Config, Vec<String>> {
        let yaml = format!(
            "logs: {{multiline: {{{logs}}}}}\nsinks: {{a: {{type: stdout, multiline: {{{sink}}}}}}}"
        );
        let text = |mistakes: Vec<crate::config::mistake::Mistake>| {
            let each = mistakes.into_iter();
            each.map(|it| format!("{}: {}", it.path, it.text)).collect()
        };
        parse(&yaml, "f", &|_| None, "n").map_err(text)
    }

    fn of_sink(logs: &str, sink: &str) -> Multiline {
        let config = parsed(logs, sink).unwrap();
        let again = parse(&render(&config), "f", &|_| None, "n").unwrap();
        assert_eq!(again, config, "what is rendered says the same");
        config.sinks[0].multiline.clone()
    }

    fn own(start: Option<&str>, continues: Option<&str>, end: Option<&str>) -> MultilineMode {
        let pattern = |text: Option<&str>| text.map(|text| Pattern::part(text).unwrap());
        MultilineMode::Own(Box::new(OwnPatterns {
            start: pattern(start),
            continues: pattern(continues),
            end: pattern(end),
        }))
    }

    #[test]
    fn a_sink_has_what_it_does_not_say_from_all() {
        assert_eq!(of_sink("", ""), Multiline::default());
        let both = of_sink("mode: auto, lines_max: 7", "timeout_ms: 50");
        assert_eq!((both.lines_max, both.timeout_ms), (7, 50));
        assert_eq!(both.mode, MultilineMode::Auto);
        let none = of_sink("mode: own, start: x, lines_max: 7", "mode: none");
        assert_eq!((none.mode, none.lines_max), (MultilineMode::None, 7));
        let other = of_sink("start: x, end: z", "continue: '^\\s'");
        assert_eq!(other.mode, own(None, Some("^\\s"), None));
        let all = of_sink("start: x, end: z", "");
        assert_eq!(all.mode, own(Some("x"), None, Some("z")));
        let listed = of_sink("", "mode: [go, java]");
        assert_eq!(listed.mode, MultilineMode::Languages(vec!["java", "go"]));
    }

    #[test]
    fn all_mistakes_at_once() {
        let mistakes =
            parsed("mode: cobol, start: '('", "mode: own, end: x, lines_max: 1").unwrap_err();
        let found = |words: &str| mistakes.iter().filter(|it| it.starts_with(words)).count();
        assert_eq!(
            found("logs.multiline.mode: found \"cobol\"; allowed is none, auto"),
            1
        );
        assert_eq!(found("logs.multiline.start: not a regular expression: "), 1);
        assert_eq!(
            found("logs.multiline.start: has a meaning only with mode: own"),
            1
        );
        assert_eq!(
            found("sinks.a.multiline.end: needs start, continue or both"),
            1
        );
        assert_eq!(found("sinks.a.multiline.lines_max: found \"1\""), 1);
        assert_eq!(mistakes.len(), 5, "{mistakes:#?}");
        for mode in ["[]", "[auto]", "{a: b}", "[java, cobol]", "~"] {
            assert!(parsed(&format!("mode: {mode}"), "").is_err(), "{mode}");
        }
        assert!(parsed("mode: own", "").is_err());
    }

    #[test]
    fn a_text_of_a_pod() {
        assert_eq!(MultilineMode::named("auto"), Some(MultilineMode::Auto));
        let two = MultilineMode::Languages(vec!["java", "cpp"]);
        assert_eq!(MultilineMode::named(" cpp,java "), Some(two));
        for text in ["", "own", "java,", "java;go"] {
            assert_eq!(MultilineMode::named(text), None, "{text}");
        }
    }
}
