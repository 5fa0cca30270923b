use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Keeper, Kept, assert_each_once, assert_only_refused, run};
use crate::store::{Asked, Store, StoreServer, Told};

/// A table with a deduplication window, which merges rows of one uid when it is read.
#[derive(Default)]
struct Table {
    tokens: BTreeSet<String>,
    rows: Vec<Kept>,
    /// A message that cannot be stored.
    poison: Option<String>,
}

/// What stands in a query string.
fn pairs(query: &str) -> BTreeMap<&str, &str> {
    let pairs = query.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).collect()
}

impl Store for Table {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        let pairs = pairs(&asked.query);
        let query = pairs.get("query").copied().unwrap_or_default();
        let wanted = [
            asked.path == "/",
            query == "INSERT%20INTO%20logs%20FORMAT%20JSONEachRow",
            pairs.get("database") == Some(&"db"),
            pairs.get("wait_end_of_query") == Some(&"1"),
            pairs.get("date_time_input_format") == Some(&"best_effort"),
            asked.header("x-clickhouse-user") == "me",
            asked.header("content-encoding") == "gzip",
        ];
        if wanted.contains(&false) {
            violations.push(format!("{wanted:?} {:?} {:?}", asked.query, asked.headers));
        }
        let token = pairs.get("insert_deduplication_token").copied();
        let token = token.unwrap_or_default().to_owned();
        if token.len() != 32 {
            violations.push(format!("a token of {} bytes", token.len()));
        }
        let plain = asked.plain();
        let rows: Vec<Kept> = plain
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| {
                let row: Value = serde_json::from_slice(line).unwrap();
                let text = |column: &str| row[column].as_str().unwrap().to_owned();
                Kept {
                    uid: text("RecordUid"),
                    origin: format!("{}/{}", text("PodName"), text("ContainerName")),
                    message: text("LogMessage"),
                }
            })
            .collect();
        let poisoned = |row: &Kept| self.poison.as_ref() == Some(&row.message);
        if rows.iter().any(poisoned) {
            let mut told = Told::of(400, "Code: 41. DB::Exception: Cannot parse datetime");
            told.headers
                .push(("x-clickhouse-exception-code", "41".to_owned()));
            return told;
        }
        if self.tokens.insert(token) {
            self.rows.extend(rows);
        }
        Told::of(200, "")
    }
}

impl Keeper for Table {
    fn count(&self) -> usize {
        self.rows.len()
    }

    fn kept(&self) -> Vec<Kept> {
        self.rows.clone()
    }
}

fn sink(server: &StoreServer<Table>) -> Value {
    json!({
        "type": "clickhouse",
        "url": server.url(""),
        "database": "db",
        "table": "logs",
        "headers": {"X-ClickHouse-User": "me"},
    })
}

#[test]
fn nothing_is_lost_and_final_shows_each_row_once() {
    let server = StoreServer::start(Table::default(), Some(2));
    assert_each_once(&run(&server, sink(&server)));
}

/// A row that the table cannot store costs no other row.
#[test]
fn a_row_that_cannot_be_stored_is_the_only_dead_letter() {
    let poison = "this is poison";
    let table = Table {
        poison: Some(poison.to_owned()),
        ..Table::default()
    };
    let server = StoreServer::start(table, None);
    let words = [poison, "Cannot parse datetime"];
    let taken = assert_only_refused(&server, sink(&server), [&[], &[poison]], &words);
    assert_eq!(server.look(|table| table.rows.len()), taken);
}
