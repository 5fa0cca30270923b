use prost::Message;
use serde_json::json;

use super::{Keeper, Kept, assert_each_once, run};
use crate::otlp::messages::{Request, Value};
use crate::store::{Asked, Store, StoreServer, Told};

/// Takes requests for logs, and keeps what it has seen twice.
#[derive(Default)]
struct Logs(Vec<Kept>);

impl Store for Logs {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        let right = asked.path == "/otlp/v1/logs" && asked.query == "tenant=a";
        if !right || asked.header("content-type") != "application/x-protobuf" {
            violations.push(format!("{asked:?}"));
        }
        let plain = asked.plain();
        if plain.len() > 4 << 20 {
            violations.push(format!("{} bytes", plain.len()));
        }
        let request = Request::decode(plain.as_slice()).unwrap();
        for run in request.resource_logs {
            let resource = run.resource.unwrap();
            let of = |name: &str| text(&resource.attributes, name);
            let origin = format!("{}/{}", of("k8s.pod.name"), of("k8s.container.name"));
            for record in run
                .scope_logs
                .into_iter()
                .flat_map(|scope| scope.log_records)
            {
                let Some(Value::Text(message)) = record.body.and_then(|body| body.value) else {
                    panic!("a record without text");
                };
                self.0.push(Kept {
                    uid: text(&record.attributes, "log.record.uid"),
                    origin: origin.clone(),
                    message,
                });
            }
        }
        Told::of(200, "")
    }
}

fn text(attributes: &[crate::otlp::messages::KeyValue], name: &str) -> String {
    let pair = attributes.iter().find(|pair| pair.key == name).unwrap();
    match pair.value.clone().and_then(|any| any.value) {
        Some(Value::Text(text)) => text,
        other => panic!("{name} is {other:?}"),
    }
}

impl Keeper for Logs {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn kept(&self) -> Vec<Kept> {
        self.0.clone()
    }
}

#[test]
fn nothing_is_lost_and_uids_tell_repeats() {
    let server = StoreServer::start(Logs::default(), Some(3));
    let sink = json!({"type": "otlp", "url": server.url("/otlp?tenant=a")});
    assert_each_once(&run(&server, sink));
}
