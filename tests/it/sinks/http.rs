use serde_json::{Value, json};

use super::{Keeper, Kept, assert_each_once, run};
use crate::store::{Asked, Store, StoreServer, Told};

/// Takes JSON lines, and keeps what it has seen twice.
#[derive(Default)]
struct Lines(Vec<Kept>);

impl Store for Lines {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        let right = asked.path == "/rows" && asked.query == "tenant=a";
        if !right || asked.header("content-type") != "application/x-ndjson" {
            violations.push(format!("{asked:?}"));
        }
        for line in asked.plain().split_inclusive(|byte| *byte == b'\n') {
            let row: Value = serde_json::from_slice(line).unwrap();
            let text = |column: &str| row[column].as_str().unwrap().to_owned();
            self.0.push(Kept {
                uid: text("RecordUid"),
                origin: format!("{}/{}", text("PodName"), text("ContainerName")),
                message: text("LogMessage"),
            });
        }
        Told::of(200, "")
    }
}

impl Keeper for Lines {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn kept(&self) -> Vec<Kept> {
        self.0.clone()
    }
}

#[test]
fn nothing_is_lost_and_uids_tell_repeats() {
    let server = StoreServer::start(Lines::default(), Some(1));
    let sink = json!({"type": "http", "url": server.url("/rows?tenant=a"), "record_uid": true});
    assert_each_once(&run(&server, sink));
}
