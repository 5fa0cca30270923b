use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{BulkAction, Columns};
use crate::encode::testing::{Owned, chain, encode, keep_of, known, runs};

const SEED: u64 = 7;

fn bulk(change: impl FnOnce(&mut ElasticsearchSink)) -> Bulk {
    let mut sink = ElasticsearchSink::new("http://h".to_owned());
    change(&mut sink);
    Bulk::new(&sink, &RowsConfig::default(), "node-1", Some("blue"))
}

fn lines(payload: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(payload).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let lines = text.split_terminator('\n');
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_document_by_the_common_schema() {
    let mut encoder = bulk(|_| {});
    let record = Owned::of(b"say \"hi\"\xFF");
    let uid = format!("{:032x}", record_uid(SEED, &record.record()));
    let payload = encode(&mut encoder, SEED, &[(chain("web-0"), vec![record])]);
    let action = json!({"create": {"_index": "logs-longshore-default", "_id": uid}});
    let document = json!({
        "@timestamp": "2024-02-29T23:59:59.000000001Z",
        "host.name": "node-1",
        "container.id": "0123abcd",
        "kubernetes.container.name": "app \"one\"",
        "kubernetes.pod.name": "web-0",
        "kubernetes.namespace": "shop",
        "message": "say \"hi\"\u{FFFD}",
        "log.iostream": "stderr",
        "log.level": "WARNING",
        "kubernetes.pod.uid": "uid of web-0",
        "orchestrator.cluster.name": "blue",
    });
    assert_eq!(lines(&payload.bytes), [action, document]);
}

#[test]
fn a_document_as_a_row() {
    let mut encoder = bulk(|sink| {
        sink.schema = DocumentSchema::Rows;
        sink.ids = false;
        sink.action = BulkAction::Index;
        sink.index = "x-{namespace}-%Y.%m.%d-%H".to_owned();
    });
    let records = vec![Owned::of(b"hi")];
    let payload = encode(&mut encoder, SEED, &[(chain("web-0"), records)]);
    let lines = lines(&payload.bytes);
    let action = json!({"index": {"_index": "x-shop-2024.02.29-23"}});
    assert_eq!(lines[0], action);
    assert_eq!(lines[1]["@timestamp"], "2024-02-29T23:59:59.000000001Z");
    assert_eq!(lines[1]["TimeGenerated"], lines[1]["@timestamp"]);
    assert_eq!(lines[1]["LogMessage"], "hi");
    assert_eq!(lines[1]["KubernetesMetadata"]["podUid"], "uid of web-0");
}

#[test]
fn the_time_alone_is_a_document() {
    let mut columns = Columns::default();
    for column in Columns::NAMES {
        columns.set(column, None);
    }
    let rows = RowsConfig {
        columns,
        ..RowsConfig::default()
    };
    let mut sink = ElasticsearchSink::new("http://h".to_owned());
    sink.schema = DocumentSchema::Rows;
    let mut encoder = Bulk::new(&sink, &rows, "n", None);
    let records = vec![Owned::of(b"hi")];
    let payload = encode(&mut encoder, SEED, &[(chain("web-0"), records)]);
    let wanted = json!({"@timestamp": "2024-02-29T23:59:59.000000001Z"});
    assert_eq!(lines(&payload.bytes)[1], wanted);
}

#[test]
fn namespaces_become_legal() {
    for (namespace, wanted) in [
        ("shop", "shop"),
        ("kube-system", "kube-system"),
        ("-x", "x-x"),
        ("..", "x.."),
        ("", "x"),
        ("A*/\\ \"#", "a______"),
        ("\u{e9}", "x__"),
    ] {
        assert_eq!(legal(namespace), wanted.as_bytes(), "{namespace:?}");
    }
    assert!(legal(&"-".repeat(300)).len() <= NAMESPACE_BYTES_MAX + 1);
}

proptest! {
    /// Any records of any chains are two lines of JSON each, in order, in the index of their time, with their uid; and
    /// a cut is what encoding the kept ones alone would have made.
    #[test]
    fn documents_decode_to_their_records_and_cuts_are_payloads(
        runs in runs(), keep in keep_of(), rows: bool, ids: bool
    ) {
        let make = || bulk(|sink| {
            sink.index = "l-{namespace}-%Y.%m.%d".to_owned();
            sink.ids = ids;
            if rows {
                sink.schema = DocumentSchema::Rows;
            }
        });
        let whole = encode(&mut make(), SEED, &runs);
        let all = lines(&whole.bytes);
        let of_run = |(chain, all): &(ChainMeta, Vec<Owned>)| -> Vec<(ChainMeta, Owned)> {
            all.iter().map(|it| (chain.clone(), it.clone())).collect()
        };
        let records: Vec<_> = runs.iter().flat_map(of_run).collect();
        prop_assert_eq!(all.len(), 2 * records.len());
        let message = if rows { "LogMessage" } else { "message" };
        for (pair, (chain, record)) in all.chunks(2).zip(&records) {
            let time = std::str::from_utf8(record.time.as_bytes()).unwrap();
            let day = time.get(..10).unwrap().replace('-', ".");
            let index = format!("l-{}-{day}", chain.namespace);
            prop_assert_eq!(&pair[0]["create"]["_index"], &Value::from(index));
            let uid = format!("{:032x}", record_uid(SEED, &record.record()));
            let uid = if ids { Value::from(uid) } else { Value::Null };
            prop_assert_eq!(&pair[0]["create"]["_id"], &uid);
            let text = String::from_utf8_lossy(&record.message);
            prop_assert_eq!(&pair[1][message], &Value::from(text));
            prop_assert_eq!(&pair[1]["@timestamp"], &Value::from(time));
        }
        let (ranges, kept) = keep.of(&runs);
        let mut cut = Vec::new();
        make().cut(&whole.bytes, &whole.ends, &ranges, &mut cut);
        prop_assert_eq!(cut, encode(&mut make(), SEED, &kept).bytes);
    }
}

#[test]
fn what_is_known_of_a_pod_has_fields_of_its_own() {
    let sink = ElasticsearchSink::new("http://h".to_owned());
    let rows = RowsConfig {
        fields: vec![("kubernetes.annotations".to_owned(), json!("mine"))],
        ..RowsConfig::default()
    };
    let mut encoder = Bulk::new(&sink, &rows, "n", None);
    let payload = encode(
        &mut encoder,
        SEED,
        &[(known("web-0"), vec![Owned::of(b"hi")])],
    );
    let document = &lines(&payload.bytes)[1];
    for (name, value) in [
        ("kubernetes.pod.uid", json!("api-uid")),
        (
            "kubernetes.labels",
            json!({"app_kubernetes_io/name": "web \"1\""}),
        ),
        ("kubernetes.annotations", json!("mine")),
        ("kubernetes.deployment.name", json!("web")),
        ("container.image.name", json!("reg:5000/team/web")),
        ("container.image.tag", json!(["1.2"])),
        ("container.image.hash.all", json!(["sha256:ab"])),
    ] {
        assert_eq!(document[name], value, "{name}");
    }
    let text = String::from_utf8(payload.bytes).unwrap();
    assert_eq!(text.matches("kubernetes.annotations").count(), 1);
}
