//! Tokens that are got from somewhere: asked for once, renewed in time, dropped when refused, and never shown.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use longshore::config::{Auth, AzureAuth, AzureIdentity, Cloud, HttpSink, Secret};
use longshore::sink::Verdict;
use serde_json::json;

use super::{Client, NDJSON, sink};
use crate::store::{Asked, Store, StoreServer, Told};

/// Gives tokens `token-1`, `token-2`..., unless something else is to be said first.
#[derive(Default)]
struct Directory {
    life_s: u64,
    /// What is said in place of a token, one by one.
    instead: VecDeque<Told>,
    asked: Vec<Asked>,
    given: usize,
}

impl Store for Directory {
    fn answer(&mut self, asked: &Asked, _violations: &mut Vec<String>) -> Told {
        self.asked.push(asked.clone());
        if let Some(told) = self.instead.pop_front() {
            return told;
        }
        self.given += 1;
        let life = self.life_s.to_string();
        // As the metadata service writes it.
        let told = json!({"access_token": format!("token-{}", self.given), "expires_in": life, "token_type": "Bearer"});
        Told::of(200, told.to_string())
    }
}

/// Takes rows from whoever shows a token that is not refused.
#[derive(Default)]
struct Receiver {
    refused: BTreeSet<String>,
    shown: Vec<String>,
    /// Answered to the next.
    status: Option<u16>,
}

impl Store for Receiver {
    fn answer(&mut self, asked: &Asked, _violations: &mut Vec<String>) -> Told {
        let shown = asked.header("authorization").to_owned();
        self.shown.push(shown.clone());
        if self.refused.contains(&shown) {
            return Told::of(401, format!("do not know {shown}"));
        }
        match self.status.take() {
            Some(status) => Told::of(status, format!("{shown}, eh?")),
            None => Told::of(204, ""),
        }
    }
}

/// A sink whose tokens come from a directory of the test's own.
struct Setting {
    directory: StoreServer<Directory>,
    receiver: StoreServer<Receiver>,
}

impl Setting {
    fn new(life_s: u64) -> Setting {
        let directory = Directory {
            life_s,
            ..Directory::default()
        };
        Setting {
            directory: StoreServer::start(directory, None),
            receiver: StoreServer::start(Receiver::default(), None),
        }
    }

    fn config(&self, identity: AzureIdentity) -> HttpSink {
        HttpSink {
            auth: Auth::Azure(AzureAuth {
                cloud: Cloud::Public,
                scope: None,
                identity,
            }),
            ..sink(&self.receiver.url("/rows"))
        }
    }

    fn application(&self) -> HttpSink {
        self.config(AzureIdentity::ClientSecret {
            tenant_id: "tenant".to_owned(),
            client_id: "client".to_owned(),
            secret: Secret::Literal("hunter2".to_owned()),
            authority: Some(self.directory.url("")),
        })
    }

    fn client(&self, in_flight: usize) -> Client {
        Client::start(&self.application(), NDJSON, in_flight)
    }

    fn asked(&self) -> usize {
        self.directory.look(|directory| directory.asked.len())
    }

    fn shown(&self) -> Vec<String> {
        self.receiver.look(|receiver| receiver.shown.clone())
    }

    fn instead(&self, status: u16, body: &str) {
        let told = Told::of(status, body);
        self.directory.look(|it| it.instead.push_back(told));
    }

    fn refuse(&self, token: &str) {
        let token = format!("Bearer {token}");
        self.receiver.look(|it| it.refused.insert(token));
    }
}

fn name_and_text(verdict: Verdict) -> (&'static str, &'static str, String) {
    match verdict {
        Verdict::Retry { reason, .. } => ("retry", reason.code, reason.text),
        Verdict::Pause(reason) => ("pause", reason.code, reason.text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_attempts_that_wait_are_served_by_one_request_for_a_token() {
    let setting = Setting::new(3_600);
    let mut client = setting.client(8);
    for _ in 0..8 {
        client.submit("row\n").unwrap();
    }
    for _ in 0..8 {
        assert_eq!(client.verdict().1, Verdict::Accepted);
    }
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.asked(), 1);
    assert_eq!(setting.shown(), vec!["Bearer token-1"; 9]);
}

#[test]
fn a_token_is_renewed_before_it_expires_and_the_old_one_serves_while_that_fails() {
    let setting = Setting::new(1_000);
    let mut client = setting.client(1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    client.clock.advance(740_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(
        setting.asked(),
        1,
        "renewed before three quarters of its life"
    );
    client.clock.advance(180_000);
    setting.instead(500, "");
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.asked(), 2);
    // Not asked again at once.
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.asked(), 2);
    client.clock.advance(1_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.asked(), 3);
    let mut shown = vec!["Bearer token-1"; 4];
    shown.push("Bearer token-2");
    assert_eq!(setting.shown(), shown);
}

#[test]
fn without_a_token_attempts_fail_at_once_until_it_is_time_to_ask_again() {
    let setting = Setting::new(1_000);
    let mut client = setting.client(1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    client.clock.advance(1_000_000);
    let mut told = Told::of(429, "{\"error\":\"too_many\"}");
    told.headers.push(("retry-after", "7".to_owned()));
    setting.directory.look(|it| it.instead.push_back(told));
    for _ in 0..3 {
        let (name, code, text) = name_and_text(client.send("row\n"));
        assert_eq!((name, code), ("retry", "token"));
        assert!(
            text.contains("/tenant/oauth2/v2.0/token: 429 Too Many Requests: too_many"),
            "{text}"
        );
    }
    assert_eq!((setting.asked(), setting.shown().len()), (2, 1));
    client.clock.advance(6_000);
    assert_eq!(name_and_text(client.send("row\n")).0, "retry");
    client.clock.advance(1_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.asked(), 3);
}

#[test]
fn a_refused_token_is_dropped_and_a_second_one_in_a_row_pauses() {
    let setting = Setting::new(3_600);
    let mut client = setting.client(1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    setting.refuse("token-1");
    let (name, code, text) = name_and_text(client.send("row\n"));
    assert_eq!((name, code), ("retry", "http_401"));
    assert!(text.contains("do not know Bearer (hidden)"), "{text}");
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    setting.refuse("token-2");
    setting.refuse("token-3");
    assert_eq!(name_and_text(client.send("row\n")).0, "retry");
    assert_eq!(name_and_text(client.send("row\n")).0, "pause");
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.shown().last().unwrap(), "Bearer token-4");
    // What is refused for another reason than who it is from keeps its token.
    setting
        .receiver
        .look(|receiver| receiver.status = Some(403));
    let (name, _, text) = name_and_text(client.send("row\n"));
    assert_eq!(name, "pause");
    assert!(text.contains("Bearer (hidden), eh?"), "{text}");
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.asked(), 4);
}

#[test]
fn what_a_person_must_mend_is_said_without_the_secret() {
    let setting = Setting::new(3_600);
    let mut client = setting.client(1);
    let told = json!({"error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid client secret hunter2.\r\nTrace ID: x"});
    setting.instead(401, &told.to_string());
    let (name, code, text) = name_and_text(client.send("row\n"));
    assert_eq!((name, code), ("pause", "token_refused"));
    let wanted = "401 Unauthorized: invalid_client: AADSTS7000215: Invalid client secret (hidden).";
    assert!(text.ends_with(wanted), "{text}");
    assert!(setting.shown().is_empty());
}

#[test]
fn answers_of_any_kind_are_no_token() {
    let long = "x".repeat(70_000);
    for body in ["", "{}", "<html>", "{\"access_token\":1}", &long] {
        let setting = Setting::new(3_600);
        setting.instead(200, body);
        let (name, _, text) = name_and_text(setting.client(1).send("row\n"));
        assert_eq!(name, "retry", "{text}");
        assert!(setting.shown().is_empty());
    }
}

#[test]
fn a_machine_s_identity_is_asked_for_without_a_proxy() {
    let setting = Setting::new(3_600);
    let config = setting.config(AzureIdentity::Managed {
        client_id: Some("which-one".to_owned()),
        endpoint: Some(setting.directory.url("")),
    });
    // A proxy that is not there: rows cannot be sent, and the token is got all the same.
    let proxy = [("HTTP_PROXY", "http://127.0.0.1:1".to_owned())];
    let mut client = Client::start_by_proxy(&config, NDJSON, 1, &proxy);
    assert_eq!(name_and_text(client.send("row\n")).0, "retry");
    let asked = setting
        .directory
        .look(|directory| directory.asked.remove(0));
    assert_eq!(asked.method, "GET");
    assert_eq!(asked.path, "/metadata/identity/oauth2/token");
    assert_eq!(
        asked.query,
        "api-version=2018-02-01&resource=https%3A%2F%2Fmonitor.azure.com&client_id=which-one"
    );
    assert_eq!(asked.header("metadata"), "true");
    assert_eq!(asked.header("x-forwarded-for"), "");
    let mut client = Client::start(&config, NDJSON, 1);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
    assert_eq!(setting.shown(), ["Bearer token-2"]);
}

#[test]
fn a_service_account_s_token_is_read_again_for_each_token() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let setting = Setting::new(100);
    let config = setting.config(AzureIdentity::Workload {
        tenant_id: Some("tenant".to_owned()),
        client_id: Some("client".to_owned()),
        token_file: Some(file.clone()),
        authority: Some(setting.directory.url("")),
    });
    let mut client = Client::start(&config, NDJSON, 1);
    let (name, code, _) = name_and_text(client.send("row\n"));
    assert_eq!((name, code), ("pause", "credentials"));
    write_and_send(&mut client, &file, "one");
    write_and_send(&mut client, &file, "two");
    let bodies = setting.directory.look(|it| it.asked.clone());
    let assertions: Vec<String> = bodies
        .iter()
        .map(|asked| String::from_utf8(asked.body.clone()).unwrap())
        .map(|body| body.rsplit('=').next().unwrap().to_owned())
        .collect();
    assert_eq!(assertions, ["one", "two"]);
    assert_eq!(setting.shown(), ["Bearer token-1", "Bearer token-2"]);
}

fn write_and_send(client: &mut Client, file: &Path, token: &str) {
    std::fs::write(file, token).unwrap();
    client.clock.advance(100_000);
    assert_eq!(client.send("row\n"), Verdict::Accepted);
}

/// Two attempts wait; the one that asks is told nothing, and both are told that.
#[test]
fn a_directory_that_says_nothing_is_a_failure_of_all_who_wait() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let setting = Setting::new(3_600);
    let mut config = setting.config(AzureIdentity::ClientSecret {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        secret: Secret::Literal("hunter2".to_owned()),
        authority: Some(format!("http://{}", silent.local_addr().unwrap())),
    });
    config.request_timeout_ms = 100;
    let mut client = Client::start(&config, NDJSON, 2);
    client.submit("row\n").unwrap();
    client.submit("row\n").unwrap();
    for _ in 0..2 {
        let (name, code, text) = name_and_text(client.verdict().1);
        assert_eq!((name, code), ("retry", "timeout"));
        assert!(text.contains("cannot get a token from"), "{text}");
    }
    assert!(setting.shown().is_empty());
}
