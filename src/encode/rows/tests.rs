use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::config::{Columns, MetadataFields};
use crate::encode::testing::{Owned, Runs, chain, known};
use crate::record::{Flags, Level, Stream};

const SEED: u64 = 7;

/// What encoding some runs gave.
#[derive(Debug, Default, PartialEq)]
struct Payload {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    replaced: Vec<bool>,
}

/// Encodes runs as the pipeline does: what a run appended is moved away before the next begins.
fn encode(rows: &mut Rows, runs: &[(ChainMeta, Vec<Owned>)]) -> Payload {
    let mut payload = Payload::default();
    let mut staging = Vec::new();
    rows.begin(&mut staging);
    for (chain, records) in runs {
        let described = rows.describe(chain);
        let run = Run {
            parse_json: None,
            chain,
            described: &described,
            uid_seed: SEED,
        };
        rows.begin_run(&run, &mut staging);
        for record in records {
            let encoded = rows.record(&record.record(), &mut staging);
            payload.replaced.push(encoded.replaced);
            payload
                .ends
                .push((payload.bytes.len() + staging.len()) as u32);
        }
        rows.end_run(&mut staging);
        payload.bytes.append(&mut staging);
    }
    rows.finish(&mut staging);
    payload.bytes.append(&mut staging);
    payload
}

fn one(config: &RowsConfig, cluster_name: Option<&str>, record: Owned) -> String {
    let mut rows = Rows::new(config, "node-1", cluster_name);
    let payload = encode(&mut rows, &[(chain("web-0"), vec![record])]);
    String::from_utf8(payload.bytes).unwrap()
}

#[test]
fn all_columns_in_their_order() {
    let config = RowsConfig {
        record_uid: true,
        fields: vec![
            ("team".to_owned(), Value::from("a\"b")),
            ("shard".to_owned(), serde_json::json!({"n": [1, null]})),
        ],
        ..RowsConfig::default()
    };
    let mut record = Owned::of(b"say \"hi\"\t\xFF");
    record.flags = Flags::CUT.with(Flags::PARTIAL);
    let uid = record_uid(SEED, &record.record());
    let expected = format!(
        concat!(
            r#"{{"TimeGenerated":"2024-02-29T23:59:59.000000001Z","Computer":"node-1","ContainerId":"0123abcd","#,
            r#""ContainerName":"app \"one\"","PodName":"web-0","PodNamespace":"shop","#,
            r#""LogMessage":"say \"hi\"\t{}","LogSource":"stderr","LogLevel":"WARNING","#,
            r#""KubernetesMetadata":{{"podUid":"uid of web-0"}},"ClusterName":"harbour","#,
            r#""RecordUid":"{:032x}","LogFlags":"partial,cut","team":"a\"b","shard":{{"n":[1,null]}}}}"#,
            "\n"
        ),
        '\u{FFFD}', uid
    );
    assert_eq!(one(&config, Some("harbour"), record), expected);
}

#[test]
fn columns_that_were_not_asked_for_are_absent() {
    let row = one(&RowsConfig::default(), None, Owned::of(b"x"));
    for column in ["ClusterName", "RecordUid", "LogFlags"] {
        assert!(!row.contains(column), "{row}");
    }
}

#[test]
fn json_messages_are_objects_only_on_request() {
    let message = br#"{"a" : 1, "a":"x"}"#;
    let asked = RowsConfig {
        parse_json: true,
        ..RowsConfig::default()
    };
    let row = one(&asked, None, Owned::of(message));
    assert!(row.contains(r#""LogMessage":{"a" : 1, "a":"x"},"#), "{row}");
    let row = one(&RowsConfig::default(), None, Owned::of(message));
    assert!(row.contains(r#""LogMessage":"{\"a\" : 1, "#), "{row}");
    let row = one(&asked, None, Owned::of(br#"{"a" : 1} {"b":2}"#));
    assert!(row.contains(r#""LogMessage":"{\"a\" : 1} "#), "{row}");
}

#[test]
fn an_object_broken_over_lines_stays_on_the_rows_line() {
    let asked = RowsConfig {
        parse_json: true,
        ..RowsConfig::default()
    };
    let row = one(&asked, None, Owned::of(b"{\r\"a\"\n:\"\xC3\"}\r"));
    assert_eq!(row.matches(['\n', '\r']).count(), 1, "{row}");
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["LogMessage"], serde_json::json!({"a": "\u{FFFD}"}));
}

#[test]
fn a_row_without_any_column_is_an_empty_object() {
    let mut config = RowsConfig::default();
    for column in Columns::NAMES {
        config.columns.set(column, None);
    }
    assert_eq!(one(&config, Some("harbour"), Owned::of(b"x")), "{}\n");
    config.fields.push(("only".to_owned(), Value::from(1)));
    assert_eq!(one(&config, None, Owned::of(b"x")), "{\"only\":1}\n");
}

#[test]
fn an_empty_payload_is_an_empty_array() {
    let config = RowsConfig {
        format: RowFormat::JsonArray,
        ..RowsConfig::default()
    };
    let mut rows = Rows::new(&config, "n", None);
    assert_eq!(encode(&mut rows, &[]).bytes, b"[]");
    let whole = encode(&mut rows, &[(chain("p"), vec![Owned::of(b"x")])]);
    let mut cut = Vec::new();
    rows.cut(&whole.bytes, &whole.ends, &[], &mut cut);
    assert_eq!(cut, b"[]");
    assert_eq!(rows.content_type(), "application/json");
}

#[test]
fn marks_that_do_not_fit_the_payload_cut_nothing() {
    for format in [RowFormat::Ndjson, RowFormat::JsonArray] {
        let config = RowsConfig {
            format,
            ..RowsConfig::default()
        };
        let rows = Rows::new(&config, "n", None);
        let mut cut = Vec::new();
        rows.cut(b"[{}]", &[900, 3], &[0..1, 1..2, 5..9], &mut cut);
        assert!(cut.len() < 10);
    }
}

/// The row of a record, made the slow way: keys in order with their values.
fn model(
    config: &RowsConfig,
    cluster_name: Option<&str>,
    chain: &ChainMeta,
    owned: &Owned,
) -> Vec<(String, Value)> {
    let text = String::from_utf8_lossy(&owned.message);
    let object: Option<Map<String, Value>> = serde_json::from_str(&text).ok();
    let flags = owned.flags.names().collect::<Vec<_>>().join(",");
    let uid = format!("{:032x}", record_uid(SEED, &owned.record()));
    let values = [
        Some(Value::from(String::from_utf8_lossy(owned.time.as_bytes()))),
        Some(Value::from("node-1")),
        Some(Value::from(chain.container_id.as_str())),
        Some(Value::from(chain.key.container.as_str())),
        Some(Value::from(chain.pod.as_str())),
        Some(Value::from(chain.namespace.as_str())),
        Some(match object.filter(|_| config.parse_json) {
            Some(object) => Value::from(object),
            None => Value::from(text),
        }),
        Some(Value::from(owned.stream.as_str())),
        Some(Value::from(owned.level.as_str())),
        Some(serde_json::json!({"podUid": chain.key.pod_uid})),
        cluster_name.map(Value::from),
        config.record_uid.then(|| Value::from(uid)),
        (!flags.is_empty()).then(|| Value::from(flags)),
    ];
    let mut row = Vec::new();
    for (column, value) in Columns::NAMES.into_iter().zip(values) {
        if let Some(name) = config.columns.name(column)
            && let Some(value) = value
        {
            row.push((name.to_owned(), value));
        }
    }
    row.extend(config.fields.iter().cloned());
    row
}

/// The text of an object with its members in the given order.
fn text_of(members: &[(String, Value)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn config() -> impl Strategy<Value = RowsConfig> {
    let change = prop_oneof![
        3 => Just(None),
        2 => Just(Some(None)),
        1 => any::<String>().prop_map(|name| Some(Some(name))),
    ];
    // Sometimes nearly all columns are dropped, so that any of them may come first.
    let changes = prop_oneof![
        prop::collection::vec(change.clone(), Columns::NAMES.len()),
        prop::collection::vec(
            prop_oneof![8 => Just(Some(None)), 1 => Just(None)],
            Columns::NAMES.len()
        ),
    ];
    let fields = prop::collection::vec((any::<String>(), any::<i32>().prop_map(Value::from)), 0..3);
    (changes, any::<[bool; 3]>(), fields).prop_map(|(changes, [array, json, uid], fields)| {
        let mut columns = Columns::default();
        for (column, change) in Columns::NAMES.into_iter().zip(changes) {
            if let Some(name) = change {
                columns.set(column, name);
            }
        }
        RowsConfig {
            format: if array {
                RowFormat::JsonArray
            } else {
                RowFormat::Ndjson
            },
            columns,
            parse_json: json,
            record_uid: uid,
            include_fields: MetadataFields::ALL,
            fields,
        }
    })
}

fn record() -> impl Strategy<Value = Owned> {
    let message = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<String>().prop_map(String::into_bytes),
        any::<String>().prop_map(|text| serde_json::json!({"m": text, "n": [1, {}]})
            .to_string()
            .into_bytes()),
    ];
    let levels = prop::sample::select(vec![
        Level::Critical,
        Level::Error,
        Level::Warning,
        Level::Info,
        Level::Debug,
        Level::Trace,
        Level::Unknown,
    ]);
    let flags = prop::sample::subsequence(vec![Flags::PARTIAL, Flags::CUT, Flags::UNPARSED], 0..=3)
        .prop_map(|flags| flags.into_iter().fold(Flags::NONE, Flags::with));
    (message, levels, flags, any::<bool>(), any::<u32>()).prop_map(
        |(message, level, flags, stdout, start)| Owned {
            stream: if stdout {
                Stream::Stdout
            } else {
                Stream::Stderr
            },
            level,
            flags,
            start: u64::from(start),
            ..Owned::of(&message)
        },
    )
}

fn runs() -> impl Strategy<Value = Runs> {
    let pod = any::<String>().prop_map(|pod| chain(&pod));
    prop::collection::vec((pod, prop::collection::vec(record(), 0..4)), 0..4)
}

/// Which of the records to keep, as ranges and as runs of the kept records alone.
fn select(runs: &[(ChainMeta, Vec<Owned>)], keep: &[bool]) -> (Vec<Range<u32>>, Runs) {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for number in (0..)
        .zip(keep)
        .filter(|(_, keep)| **keep)
        .map(|(number, _)| number)
    {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    let mut keep = keep.iter();
    let kept = runs
        .iter()
        .map(|(chain, records)| {
            let records = records.iter().filter(|_| *keep.next().unwrap());
            (chain.clone(), records.cloned().collect())
        })
        .collect();
    (ranges, kept)
}

proptest! {
    /// Every row has exactly the members that the model has, in order; what separates rows is what the format says.
    #[test]
    fn rows_equal_the_model(config in config(), runs in runs(), named: bool) {
        let cluster_name = named.then_some("harbour");
        let mut rows = Rows::new(&config, "node-1", cluster_name);
        let payload = encode(&mut rows, &runs);
        let expected: Vec<String> = runs
            .iter()
            .flat_map(|(chain, records)| records.iter().map(move |record| (chain, record)))
            .map(|(chain, record)| text_of(&model(&config, cluster_name, chain, record)))
            .collect();
        let expected = match config.format {
            RowFormat::Ndjson => expected.iter().map(|row| format!("{row}\n")).collect(),
            RowFormat::JsonArray => format!("[{}]", expected.join(",")),
            RowFormat::Protobuf => unreachable!("rows are JSON"),
        };
        let found = String::from_utf8(payload.bytes).unwrap();
        prop_assert_eq!(found, expected);
        let replaced: Vec<bool> = runs
            .iter()
            .flat_map(|(_, records)| records)
            .map(|record| std::str::from_utf8(&record.message).is_err())
            .collect();
        if rows.layout.message {
            prop_assert_eq!(payload.replaced, replaced);
        } else {
            prop_assert!(payload.replaced.iter().all(|replaced| !replaced));
        }
    }

    /// Cutting any records out of a payload gives what encoding just those would have given; all of them: the payload.
    #[test]
    fn a_cut_equals_encoding_what_is_kept(
        config in config(),
        runs in runs(),
        keep in prop::collection::vec(any::<bool>(), 16),
    ) {
        let mut rows = Rows::new(&config, "node-1", None);
        let whole = encode(&mut rows, &runs);
        let keep = &keep[..whole.ends.len()];
        for keep in [keep.to_vec(), vec![true; keep.len()], vec![false; keep.len()]] {
            let (ranges, kept) = select(&runs, &keep);
            let mut cut = Vec::new();
            rows.cut(&whole.bytes, &whole.ends, &ranges, &mut cut);
            let expected = encode(&mut rows, &kept).bytes;
            prop_assert_eq!(String::from_utf8(cut).unwrap(), String::from_utf8(expected).unwrap());
        }
    }
}

/// The `KubernetesMetadata` of a row of a pod that is known.
fn metadata(include_fields: MetadataFields) -> Value {
    let config = RowsConfig {
        include_fields,
        ..RowsConfig::default()
    };
    let mut rows = Rows::new(&config, "n", None);
    let payload = encode(&mut rows, &[(known("web-0"), vec![Owned::of(b"hi")])]);
    let row: Value = serde_json::from_slice(&payload.bytes).unwrap();
    row["KubernetesMetadata"].clone()
}

#[test]
fn what_is_known_of_a_pod_is_in_seven_members_or_those_that_are_wanted() {
    let all = serde_json::json!({
        "podUid": "api-uid",
        "podLabels": {"app.kubernetes.io/name": "web \"1\""},
        "podAnnotations": {"note": "n"},
        "image": "team/web",
        "imageID": "sha256:ab",
        "imageRepo": "reg:5000",
        "imageTag": "1.2",
    });
    assert_eq!(metadata(MetadataFields::ALL), all);
    for name in MetadataFields::NAMES {
        let one = MetadataFields::NONE.with(&name.to_lowercase()).unwrap();
        let Value::Object(members) = metadata(one) else {
            panic!("no object with {name}");
        };
        let members: Vec<(String, Value)> = members.into_iter().collect();
        assert_eq!(members, [(name.to_owned(), all[name].clone())]);
    }
    assert_eq!(metadata(MetadataFields::NONE), serde_json::json!({}));
    assert_eq!(MetadataFields::NONE.with("labels"), None);
}
