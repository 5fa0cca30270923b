//! Files to what is in them: the sections of the agent's ConfigMap, and settings of data collection rules.
//!
//! A file is YAML or JSON, as `kubectl get -o yaml`, `az ... show` or an export of a template give it; what is looked
//! for may lie anywhere in it.

use crate::config::mistake::Report;
use crate::config::yaml::{TEXT_BYTES_MAX, read_foreign};

use super::value::Value;

/// The name of the ConfigMap.
pub(super) const MAP_NAME: &str = "container-azm-ms-agentconfig";

/// What one file has.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The `data` of each ConfigMap of the agent: keys with their texts.
    pub(super) maps: Vec<Vec<(String, Value)>>,
    /// Rules.
    pub(super) rules: Vec<Rule>,
    /// What else a rule says that has a meaning here: where, and what.
    pub(super) others: Vec<(String, Value)>,
}

/// The part of a data collection rule that is about containers.
#[derive(Debug, PartialEq)]
pub(super) struct Rule {
    /// `dataCollectionSettings`, if it has any.
    pub(super) settings: Option<Value>,
    /// The streams that stand beside it.
    pub(super) streams: Option<Value>,
}

/// Reads the text of the file called `name`. An error says why it is not YAML.
pub(super) fn find(text: &str, name: &str) -> Result<Found, String> {
    let mut report = Report::new(name);
    let node = read_foreign(text, &mut report);
    let Some(node) = node.filter(|_| report.is_empty()) else {
        let mistakes = report.into_mistakes();
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        return Err(lines.join("\n"));
    };
    let root = Value::of_yaml(&node);
    let mut found = Found::default();
    walk(&root, &mut found);
    let is_bare = ["namespaceFilteringMode", "enableContainerLogV2", "streams"]
        .iter()
        .any(|key| root.get(key).is_some());
    if found.rules.is_empty() && is_bare {
        found.rules.push(Rule {
            settings: Some(root),
            streams: None,
        });
    }
    Ok(found)
}

fn walk(value: &Value, found: &mut Found) {
    match value {
        Value::List(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Map(entries) => {
            if let Some(data) = agent_map(value) {
                return found.maps.push(data);
            }
            let extension = value.get("extensionName").and_then(Value::text);
            if extension == Some("ContainerInsights") {
                let settings = value.get("extensionSettings");
                return found.rules.push(Rule {
                    settings: settings
                        .and_then(|it| it.get("dataCollectionSettings"))
                        .cloned(),
                    streams: value.get("streams").cloned(),
                });
            }
            for (key, value) in entries {
                match key.as_str() {
                    "dataCollectionSettings" => found.rules.push(Rule {
                        settings: Some(value.clone()),
                        streams: None,
                    }),
                    "transformKql" | "syslog" | "prometheusForwarder" if !value.is_off() => {
                        found.others.push((key.clone(), value.clone()));
                    }
                    "extensionName" if extension == Some("ContainerLogV2Extension") => {
                        found.others.push((key.clone(), value.clone()));
                    }
                    _ => walk(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The data of a ConfigMap if it is the agent's: by its name or, where it has none, by its keys.
fn agent_map(value: &Value) -> Option<Vec<(String, Value)>> {
    if value.get("kind").and_then(Value::text) != Some("ConfigMap") {
        return None;
    }
    let name = value.get("metadata").and_then(|it| it.get("name"));
    let Some(Value::Map(data)) = value.get("data") else {
        return None;
    };
    let is_agents = match name.and_then(Value::text) {
        Some(name) => name == MAP_NAME,
        None => data.iter().any(|(key, _)| key.ends_with("-settings")),
    };
    is_agents.then(|| data.clone())
}

/// Longest file that is read.
pub(super) const FILE_BYTES_MAX: usize = TEXT_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_found_alone_and_in_a_list() {
        let map = "kind: ConfigMap\nmetadata: {name: container-azm-ms-agentconfig}\ndata:\n  a: |-\n    x = '${Y}'\n";
        let found = find(map, "f").unwrap();
        let wanted = vec![("a".to_owned(), Value::Text("x = '${Y}'".to_owned()))];
        assert_eq!(found.maps.first(), Some(&wanted));
        let list = format!("kind: List\nitems:\n- {}", map.replace('\n', "\n  "));
        assert_eq!(find(&list, "f").unwrap().maps, [wanted]);
        let other = map.replace("container-azm-ms-agentconfig", "another");
        assert_eq!(find(&other, "f").unwrap(), Found::default());
    }

    #[test]
    fn a_rule_is_found_in_each_form() {
        let settings = r#"{"interval": "1m", "streams": ["Microsoft-Perf"]}"#;
        let extension = format!(
            r#"{{"extensionName": "ContainerInsights", "extensionSettings": {{"dataCollectionSettings": {settings}}},
                "streams": ["Microsoft-ContainerLogV2"]}}"#
        );
        let sources = format!(r#"{{"dataSources": {{"extensions": [{extension}]}}}}"#);
        let template = format!(r#"{{"resources": [{{"properties": {sources}}}]}}"#);
        for (text, has_streams) in [
            (&sources, true),
            (&template, true),
            (&settings.to_owned(), false),
        ] {
            let found = find(text, "f").unwrap();
            assert_eq!(found.rules.len(), 1, "{text}");
            let interval = found.rules[0]
                .settings
                .as_ref()
                .and_then(|it| it.get("interval"));
            assert_eq!(interval, Some(&Value::Text("1m".to_owned())));
            assert_eq!(found.rules[0].streams.is_some(), has_streams);
        }
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_line() {
        let error = find("a: [\nb: 1\n", "f.yaml").unwrap_err();
        assert!(error.starts_with("f.yaml:"), "{error}");
    }
}
