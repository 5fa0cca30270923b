//! The Logs Ingestion API and who gives tokens for it, by the rules of their pages; what the agent sends them, and that
//! `deploy/azure` declares just the columns which it writes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use longshore::cli::check::check;
use longshore::config::sinks::azure_logs::wrong_column;
use serde_json::{Value, json};

use super::{Keeper, Kept, assert_each_once, run};
use crate::agent::{Agent, Ledger, Node, Written, of_sink, wait_for};
use crate::store::{Asked, Store, StoreServer, Told};

/// Service limits: 1 MB for a call, compressed and not; 64 KB for a value.
const CALL_BYTES_MAX: usize = 1_000_000;
const VALUE_BYTES_MAX: usize = 65_536;
const DCRS: [&str; 2] = [
    "dcr-00000000000000000000000000000001",
    "dcr-00000000000000000000000000000002",
];
const SECRET: &str = "s3cret & more";

/// The template that makes tables and rule.
fn template() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/azure/rule.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn resources<'t>(template: &'t Value, of: &str) -> Vec<&'t Value> {
    let all = template["resources"].as_array().unwrap().iter();
    all.filter(|resource| resource["type"] == of).collect()
}

fn columns(of: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let columns = of["columns"].as_array().unwrap().iter();
    columns
        .map(|column| (text(&column["name"]), text(&column["type"])))
        .collect()
}

/// The columns of each stream that the rule declares, with their types.
fn streams() -> BTreeMap<String, BTreeMap<String, String>> {
    let template = template();
    let rules = resources(&template, "Microsoft.Insights/dataCollectionRules");
    let declared = &rules[0]["properties"]["streamDeclarations"];
    let declared = declared.as_object().unwrap().iter();
    declared
        .map(|(stream, declared)| (stream.clone(), columns(declared)))
        .collect()
}

/// A token and until when it is taken.
struct Token {
    text: String,
    until: Instant,
    uses_left: usize,
}

/// The service with its rules, and the directory.
struct Azure {
    streams: BTreeMap<String, BTreeMap<String, String>>,
    /// How long tokens live, and for how many calls.
    life_s: u64,
    uses: usize,
    tokens: Vec<Token>,
    tokens_asked: usize,
    /// Larger calls are answered 413; beyond the service's own limit they are violations, too.
    call_bytes_max: usize,
    /// Has the role.
    allowed: bool,
    ids: HashSet<String>,
    calls: BTreeMap<String, usize>,
    /// Every so many calls to a rule, it asks to be left alone.
    rest_every: usize,
    rests: BTreeMap<String, SystemTime>,
    early: usize,
    told: BTreeMap<u16, usize>,
    rows: BTreeMap<String, Vec<Value>>,
}

impl Default for Azure {
    fn default() -> Azure {
        Azure {
            streams: streams(),
            life_s: 3599,
            uses: usize::MAX,
            tokens: Vec::new(),
            tokens_asked: 0,
            call_bytes_max: CALL_BYTES_MAX,
            allowed: true,
            ids: HashSet::new(),
            calls: BTreeMap::new(),
            rest_every: usize::MAX,
            rests: BTreeMap::new(),
            early: 0,
            told: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }
}

/// `%XX` and nothing else.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let hex = std::str::from_utf8(&bytes[at + 1..at + 3]).unwrap();
                out.push(u8::from_str_radix(hex, 16).unwrap());
                at += 3;
            }
            byte => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap()
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "real" => value.is_number(),
        "datetime" => value.as_str().is_some_and(|text| {
            let digits = |from, to| {
                text.get(from..to)
                    .is_some_and(|it: &str| it.bytes().all(|b| b.is_ascii_digit()))
            };
            digits(0, 4) && digits(5, 7) && digits(11, 13) && text.ends_with('Z')
        }),
        "dynamic" => true,
        _ => false,
    }
}

impl Azure {
    /// The directory's answer (RFC 6749, sections 4.4 and 5).
    fn token(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        self.tokens_asked += 1;
        let body = String::from_utf8(asked.body.clone()).unwrap();
        let form: BTreeMap<String, String> = body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (unescaped(name), unescaped(value)))
            .collect();
        let wanted = [
            ("grant_type", "client_credentials"),
            ("client_id", "client-1"),
            ("client_secret", SECRET),
            ("scope", "https://monitor.azure.com//.default"),
        ];
        let wanted: BTreeMap<String, String> = wanted
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let kind = asked.header("content-type");
        if kind != "application/x-www-form-urlencoded" || !asked.query.is_empty() {
            violations.push(format!("a request for a token: {asked:?}"));
        }
        if form != wanted {
            violations.push(format!("a request for a token: {form:?}"));
            let told = json!({"error": "invalid_client", "error_description": "AADSTS7000215: no"});
            return Told::of(401, told.to_string());
        }
        if self.tokens_asked == 2 {
            let mut told = Told::of(503, "{\"error\":\"temporarily_unavailable\"}");
            told.headers.push(("retry-after", "1".to_owned()));
            return told;
        }
        let text = format!("token-{}", self.tokens_asked);
        let told = json!({"token_type": "Bearer", "expires_in": self.life_s, "ext_expires_in": self.life_s,
            "access_token": text});
        self.tokens.push(Token {
            text,
            until: Instant::now() + Duration::from_secs(self.life_s),
            uses_left: self.uses,
        });
        Told::of(200, told.to_string())
    }

    fn is_known(&mut self, authorization: &str) -> bool {
        let shown = authorization.strip_prefix("Bearer ").unwrap_or_default();
        let now = Instant::now();
        let token = self.tokens.iter_mut().find(|token| token.text == shown);
        match token.filter(|token| token.until > now && token.uses_left > 0) {
            Some(token) => {
                token.uses_left -= 1;
                true
            }
            None => false,
        }
    }

    /// The service's answer; the rows of the call, if it is to be stored.
    fn ingest(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        let wanted = [
            asked.query == "api-version=2023-01-01",
            asked.header("content-type") == "application/json",
            asked.header("content-encoding") == "gzip",
            asked.header("user-agent").starts_with("longshore/"),
            is_uuid(asked.header("x-ms-client-request-id")),
            self.ids
                .insert(asked.header("x-ms-client-request-id").to_owned()),
        ];
        if wanted.contains(&false) {
            violations.push(format!("{wanted:?}: {:?} {:?}", asked.query, asked.headers));
        }
        let path: Vec<&str> = asked.path.split('/').collect();
        let ["", "dataCollectionRules", dcr, "streams", stream] = path.as_slice() else {
            violations.push(format!("path {}", asked.path));
            return Told::of(404, "{}");
        };
        if !self.is_known(asked.header("authorization")) {
            return Told::of(401, "{\"error\":{\"code\":\"InvalidToken\"}}");
        }
        if !self.allowed {
            let told = json!({"error": {"code": "OperationFailed", "message": "no access to ingest data"}});
            return Told::of(403, told.to_string());
        }
        let plain = asked.plain();
        if plain.len() > CALL_BYTES_MAX || asked.body.len() > CALL_BYTES_MAX {
            violations.push(format!(
                "a call of {} bytes, {} packed",
                plain.len(),
                asked.body.len()
            ));
        }
        if plain.len() > self.call_bytes_max {
            return Told::of(413, "{\"error\":{\"code\":\"ContentLengthLimitExceeded\"}}");
        }
        if let Some(told) = self.rest(dcr) {
            return told;
        }
        let Some(declared) = self.streams.get(*stream) else {
            violations.push(format!("stream {stream}"));
            return Told::of(404, "{}");
        };
        if !DCRS.contains(dcr) {
            violations.push(format!("rule {dcr}"));
        }
        let rows: Value = serde_json::from_slice(&plain).unwrap();
        let rows = rows.as_array().unwrap();
        if rows.is_empty() {
            violations.push("a call without rows".to_owned());
        }
        for row in rows {
            for (name, value) in row.as_object().unwrap() {
                let kind = declared.get(name).map_or("", String::as_str);
                let bytes = value
                    .as_str()
                    .map_or_else(|| value.to_string().len(), str::len);
                if !is_of_type(value, kind) || bytes > VALUE_BYTES_MAX {
                    violations.push(format!("{name} ({kind}) of {bytes} bytes: {value:.80}"));
                }
            }
        }
        let rows = rows.clone();
        self.rows
            .entry((*stream).to_owned())
            .or_default()
            .extend(rows);
        Told::of(204, "")
    }

    /// Counts a call to a rule; its wish to be left alone, in the two forms by turns.
    fn rest(&mut self, dcr: &str) -> Option<Told> {
        let now = SystemTime::now();
        self.early += usize::from(self.rests.get(dcr).is_some_and(|until| *until > now));
        let calls = self.calls.entry(dcr.to_owned()).or_default();
        *calls += 1;
        // Not all rules at once.
        let phase = match dcr == DCRS[0] {
            true => self.rest_every - 1,
            false => self.rest_every / 2,
        };
        if *calls % self.rest_every != phase {
            return None;
        }
        let until = now + Duration::from_secs(2);
        let date = httpdate::fmt_http_date(until);
        let (value, until) = match (*calls / self.rest_every) % 2 {
            0 => ("1".to_owned(), now + Duration::from_secs(1)),
            _ => (date.clone(), httpdate::parse_http_date(&date).unwrap()),
        };
        self.rests.insert(dcr.to_owned(), until);
        let mut told = Told::of(429, "{\"error\":{\"code\":\"TooManyRequests\"}}");
        told.headers.push(("retry-after", value));
        Some(told)
    }

    fn rows_of(&self, stream: &str) -> &[Value] {
        self.rows.get(stream).map_or(&[], Vec::as_slice)
    }
}

impl Store for Azure {
    fn answer(&mut self, asked: &Asked, violations: &mut Vec<String>) -> Told {
        let told = match asked.path.as_str() {
            "/tenant-1/oauth2/v2.0/token" => self.token(asked, violations),
            _ => self.ingest(asked, violations),
        };
        *self.told.entry(told.status).or_default() += 1;
        told
    }

    fn may_fail(&self, asked: &Asked) -> bool {
        asked.path.starts_with("/dataCollectionRules/")
    }
}

impl Keeper for Azure {
    fn count(&self) -> usize {
        self.rows_of("Custom-ContainerLogV2").len()
    }

    fn kept(&self) -> Vec<Kept> {
        let rows = self.rows_of("Custom-ContainerLogV2").iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.map(|row| Kept {
            uid: text(&row["RecordUid"]),
            origin: format!("{}/{}", text(&row["PodName"]), text(&row["ContainerName"])),
            message: text(&row["LogMessage"]),
        })
        .collect()
    }
}

fn sink(server: &StoreServer<Azure>) -> Value {
    json!({
        "type": "azure_logs",
        "endpoint": server.url(""),
        "dcr": DCRS,
        "record_uid": true,
        "azure_auth": {"client_secret": {
            "tenant_id": "tenant-1",
            "client_id": "client-1",
            "secret": SECRET,
            "authority": server.url(""),
        }},
    })
}

/// The same, sending soon and trying again soon.
fn hasty(server: &StoreServer<Azure>) -> Value {
    let mut sink = sink(server);
    for (key, value) in [
        ("flush_interval_ms", 20),
        ("backoff_min_ms", 10),
        ("backoff_max_ms", 40),
        ("probe_interval_ms", 1_000),
    ] {
        sink[key] = json!(value);
    }
    sink
}

#[test]
fn nothing_is_lost_while_tokens_expire_rules_rest_and_calls_are_too_large() {
    let azure = Azure {
        life_s: 4,
        uses: 60,
        call_bytes_max: 150_000,
        rest_every: 40,
        ..Azure::default()
    };
    let server = StoreServer::start(azure, Some(5));
    assert_each_once(&run(&server, sink(&server)));
    server.look(|azure| {
        assert!(azure.tokens_asked > 3, "{}", azure.tokens_asked);
        for status in [204, 401, 413, 429, 503] {
            assert!(
                azure.told.contains_key(&status),
                "{status}: {:?}",
                azure.told
            );
        }
        let calls: Vec<usize> = azure.calls.values().copied().collect();
        assert!(
            calls.len() == 2 && calls.iter().all(|calls| *calls > 20),
            "{calls:?}"
        );
    });
}

#[test]
fn a_rule_that_asks_to_be_left_alone_is_while_another_goes_on() {
    let azure = Azure {
        rest_every: 10,
        ..Azure::default()
    };
    let server = StoreServer::start(azure, None);
    let node = Node::new();
    let mut log = node.container("p", "web");
    log.write(2_000);
    let mut sink = hasty(&server);
    sink["payload_records_max"] = json!(20);
    sink["requests_in_flight"] = json!(1);
    let agent = Agent::run(&node.configure(json!({"main": sink}), json!({})));
    agent.wait_for_all("main", &Written::of([&log]));
    agent.stop();
    assert_eq!(server.violations(), Vec::<String>::new());
    server.look(|azure| {
        assert_eq!(azure.early, 0, "called before it wanted to be");
        assert!(azure.told[&429] >= 4, "{:?}", azure.told);
        assert_eq!(azure.count(), 2_000);
    });
}

#[test]
fn without_the_role_the_sink_waits_and_says_so_and_then_goes_on() {
    let azure = Azure {
        allowed: false,
        ..Azure::default()
    };
    let server = StoreServer::start(azure, None);
    let node = Node::new();
    let mut log = node.container("p", "web");
    log.write(100);
    let agent = Agent::run(&node.configure(json!({"main": hasty(&server)}), json!({})));
    agent.wait_for("the pause", |status| {
        let said = of_sink(status, "main").to_string();
        said.contains("paused") && said.contains("Monitoring Metrics Publisher")
    });
    let said = agent.status().to_string() + &agent.log();
    assert!(!said.contains("token-") && !said.contains(SECRET), "{said}");
    assert_eq!(Ledger::of(&agent.status(), "main").delivered_lines, 0);
    server.look(|azure| azure.allowed = true);
    agent.wait_for_all("main", &Written::of([&log]));
    agent.stop();
    assert_eq!(server.violations(), Vec::<String>::new());
}

/// All that a row can have is in it: a cluster, a uid, flags. The longest message there can be, and one that is longer.
#[test]
fn the_rule_declares_the_columns_that_rows_have_and_no_others() {
    let server = StoreServer::start(Azure::default(), None);
    let node = Node::new();
    let mut log = node.container("p", "web");
    log.write(3);
    let fits = format!("\"{}", "\u{E9}".repeat(32_767));
    assert_eq!(fits.len(), VALUE_BYTES_MAX - 1);
    log.say(&fits);
    log.say(&"\u{20AC}".repeat(30_000));
    let mut sink = hasty(&server);
    sink["signals"] = json!(["logs", "metrics"]);
    let top = json!({"cluster_name": "blue", "metrics": {"interval_ms": 1_000}});
    let agent = Agent::run(&node.configure(json!({"main": sink}), top));
    let sight = || format!("{}\n{:?}", agent.log(), server.violations());
    wait_for("rows of both", sight, || {
        let counts =
            |azure: &mut Azure| (azure.count(), azure.rows_of("Custom-InsightsMetrics").len());
        let (logs, metrics) = server.look(counts);
        (logs == 5 && metrics > 50).then_some(())
    });
    agent.stop();
    assert_eq!(server.violations(), Vec::<String>::new());
    server.look(|azure| {
        for (stream, declared) in &azure.streams {
            let declared: BTreeSet<&str> = declared.keys().map(String::as_str).collect();
            let rows = azure.rows_of(stream).iter();
            let written: BTreeSet<&str> = rows
                .flat_map(|row| row.as_object().unwrap().keys())
                .map(String::as_str)
                .collect();
            assert_eq!(written, declared, "{stream}");
        }
        let rows = azure.rows_of("Custom-ContainerLogV2");
        assert_eq!(rows[3]["LogMessage"], fits);
        assert_eq!(rows[3].get("LogFlags"), None);
        let cut = rows[4]["LogMessage"].as_str().unwrap();
        assert_eq!(cut, "\u{20AC}".repeat(VALUE_BYTES_MAX / 3));
        assert_eq!(rows[4]["LogFlags"], "cut");
    });
}

/// Tables, streams and flows of the template fit together, and every column may be.
#[test]
fn the_template_is_consistent() {
    let template = template();
    let rules = resources(&template, "Microsoft.Insights/dataCollectionRules");
    assert_eq!(rules[0]["kind"], "Direct");
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for table in resources(&template, "Microsoft.OperationalInsights/workspaces/tables") {
        let schema = &table["properties"]["schema"];
        let name = schema["name"].as_str().unwrap().to_owned();
        assert!(
            table["name"]
                .as_str()
                .unwrap()
                .contains(&format!("/{name}'")),
            "{name}"
        );
        assert!(name.ends_with("_CL"), "{name}");
        let columns = columns(schema).into_iter();
        // The two interfaces spell one type differently.
        let columns = columns.map(|(name, kind)| (name, kind.replace("dateTime", "datetime")));
        tables.insert(name, columns.collect());
    }
    let streams = streams();
    let flows = rules[0]["properties"]["dataFlows"].as_array().unwrap();
    assert_eq!((flows.len(), tables.len()), (streams.len(), streams.len()));
    for flow in flows {
        let stream = flow["streams"][0].as_str().unwrap();
        let table = flow["outputStream"]
            .as_str()
            .unwrap()
            .strip_prefix("Custom-")
            .unwrap();
        assert_eq!(flow["transformKql"], "source");
        assert_eq!(streams[stream], tables[table], "{stream}");
        assert_eq!(streams[stream]["TimeGenerated"], "datetime");
        for name in streams[stream].keys() {
            assert_eq!(wrong_column(name), None, "{name}");
        }
    }
}

/// `check --connect` says what is wrong with the role or the secret, and does not show the latter.
#[test]
fn check_says_what_is_missing() {
    let server = StoreServer::start(Azure::default(), None);
    let said = |sink: Value| {
        let node = Node::new();
        let file = node.configure(json!({"main": sink}), json!({}));
        let mut out = Vec::new();
        check(Some(&file), true, &mut out, &mut Vec::new());
        String::from_utf8(out).unwrap()
    };
    assert!(said(sink(&server)).contains("good: took an empty payload"));
    server.look(|azure| azure.allowed = false);
    // The second request for a token is answered 503.
    assert!(said(sink(&server)).contains("503 Service Unavailable: temporarily_unavailable"));
    let found = said(sink(&server));
    assert!(found.contains("Monitoring Metrics Publisher"), "{found}");
    let mut wrong = sink(&server);
    wrong["azure_auth"]["client_secret"]["secret"] = json!("guessed");
    let found = said(wrong);
    assert!(found.contains("invalid_client: AADSTS7000215"), "{found}");
    assert!(!found.contains("guessed"), "{found}");
}
