use super::*;
use crate::cli::import::source;

const EVERY: &str = include_str!("../../../../tests/fixtures/import/every.yaml");

/// The paths of all settings of the fixture that has every setting.
fn paths() -> Vec<String> {
    let found = source::find(EVERY, "every.yaml").unwrap();
    let mut paths = Vec::new();
    for (_, value) in found.maps.iter().flatten() {
        let Some(text) = value.text().filter(|it| it.contains('=')) else {
            continue;
        };
        let table = Value::of_toml(DeTable::parse(text).unwrap().get_ref());
        table.leaves("", &mut |path, _| paths.push(path.to_owned()));
    }
    paths
}

/// No row is there that no setting reaches, and each setting is understood.
#[test]
fn every_row_has_a_setting_in_the_fixture_and_every_setting_a_row() {
    let paths = paths();
    let mut rows: Vec<&Row> = logs::ROWS.iter().chain(metrics::ROWS).collect();
    rows.extend(agent::ROWS);
    for row in &rows {
        assert!(paths.iter().any(|path| row.is_of(path)), "{}", row.path);
    }
    for path in &paths {
        assert!(rows.iter().any(|row| row.is_of(path)), "{path}");
    }
    let roots: Vec<&str> = SECTIONS.iter().map(|(_, root, _)| *root).collect();
    for row in rows {
        let root = row.path.split('.').next().unwrap();
        assert!(roots.contains(&root), "{}", row.path);
    }
}

#[test]
fn durations_are_those_of_go() {
    for (text, wanted) in [
        ("1m", Some(60_000)),
        ("1m30s", Some(90_000)),
        ("1.5h", Some(5_400_000)),
        ("250ms", Some(250)),
        ("900us", Some(0)),
        ("1d", Some(86_400_000)),
        ("0m", Some(0)),
        ("", None),
        ("1", None),
        ("m", None),
        ("1 m", None),
        ("-1m", None),
        ("1x", None),
        ("1.2.3s", None),
        ("99999999999999999999999h", Some(u64::MAX)),
    ] {
        assert_eq!(duration_ms(text), wanted, "{text}");
    }
}

proptest::proptest! {
    /// Any text is a duration or none.
    #[test]
    fn a_duration_never_panics(text in "\\PC{0,24}") {
        duration_ms(&text);
    }

    /// A glob's expression matches the glob's own text, if that has no wildcards.
    #[test]
    fn an_expression_matches_its_name(name in "[a-zA-Z_:.+$^(){}\\[\\]|\\\\-]{1,24}") {
        let mut draft = Draft::default();
        let list = Value::List(vec![Value::Text(name.clone())]);
        let rows = metrics::ROWS;
        let row = rows.iter().find(|row| row.path.ends_with("node.fieldpass")).unwrap();
        proptest::prop_assert_eq!(row.outcome(&list, &mut draft), Outcome::Taken);
        let pattern = crate::config::pattern::Pattern::whole(&draft.node.keep[0]).unwrap();
        proptest::prop_assert!(pattern.matches(&name));
    }
}
