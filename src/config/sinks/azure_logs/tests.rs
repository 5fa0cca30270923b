//! What is taken and refused, and with which words.

use super::*;
use crate::config::Config;
use crate::config::parse::parse;
use crate::config::render::render;

fn load(text: &str) -> Result<Config, String> {
    let loaded = parse(text, "f", &|_| None, "n1");
    loaded.map_err(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(|it| it.to_string()).collect();
        all.join("\n")
    })
}

const ONE: &str = "dcr-0123456789abcdef0123456789abcdef";
const OTHER: &str = "dcr-ffffffffffffffffffffffffffffffff";

/// A sink with these keys beside those that are needed.
fn with(keys: &str) -> String {
    format!(
        "sinks: {{a: {{type: azure_logs, endpoint: 'https://h.example/', dcr: {ONE}, \
         azure_auth: {{managed_identity: {{}}}}, {keys}}}}}\n"
    )
}

#[test]
fn what_is_rendered_is_the_same_config() {
    let text = format!(
        "sinks:\n  a: {{type: azure_logs, endpoint: 'https://h.example/', dcr: [{ONE}, {OTHER}], stream: Custom-L, \
         metrics_stream: Microsoft-M, azure_auth: {{cloud: china, scope: 'api://x/.default', \
         client_secret: {{tenant_id: t, client_id: c, secret: {{file: /s}}, authority: 'http://h:1/'}}}}, \
         columns: {{LogLevel: null}}, fields: {{x: 1}}, signals: [logs, metrics]}}\n  \
         b: {{type: http, url: 'https://h/', azure_auth: {{workload_identity: {{token_file: /t, client_id: c}}}}}}\n  \
         c: {{type: remote_write, url: 'https://h/', azure_auth: {{managed_identity: {{client_id: c}}}}}}\n"
    );
    let config = load(&text).unwrap();
    let rendered = render(&config);
    assert_eq!(load(&rendered).as_ref(), Ok(&config), "{rendered}");
    let crate::config::SinkKind::AzureLogs(sink) = &config.sinks[0].kind else {
        panic!("{config:?}");
    };
    assert_eq!(sink.http.url, "https://h.example");
    assert_eq!(sink.dcrs, [ONE, OTHER]);
    assert_eq!(config.sinks[0].rows.format, RowFormat::JsonArray);
}

#[test]
fn the_defaults_keep_the_service_s_limits() {
    let config = load(&with("")).unwrap();
    let sink = &config.sinks[0];
    assert!(sink.limits.payload_uncompressed_bytes_max <= 1_000_000);
    assert!(sink.limits.payload_bytes_max <= 1_000_000);
    assert!(sink.limits.record_bytes_max <= 64 * 1024);
    assert!(sink.limits.flush_interval_ms >= 5_000);
    for name in Columns::NAMES.into_iter().chain(Columns::OF_METRICS) {
        assert_eq!(wrong_column(name), None, "{name}");
    }
}

/// Each text is refused, with these words among the others.
#[track_caller]
fn refuses<const N: usize>(table: [(String, &str); N]) {
    for (text, wanted) in table {
        let mistakes = load(&text).unwrap_err();
        assert!(mistakes.contains(wanted), "{text}: {mistakes}");
    }
}

#[test]
fn every_wrong_key_is_explained() {
    let nothing = || "sinks: {a: {type: azure_logs}}".to_owned();
    let twice = format!("[{ONE}, {ONE}]");
    refuses([
        (nothing(), "sinks.a.endpoint: missing"),
        (nothing(), "sinks.a.dcr: missing"),
        (nothing(), "sinks.a.azure_auth: missing"),
        (
            with("").replace("h.example/", "h/p"),
            "a.endpoint: allowed is https://HOST",
        ),
        (
            with("").replace("https://h.example/", "h"),
            "a.endpoint: the URL is neither",
        ),
        (
            with("").replace(ONE, "my-rule"),
            "a.dcr: found \"my-rule\"; allowed is an immutable id",
        ),
        (
            with("").replace(ONE, "[]"),
            "a.dcr: found 0; allowed are 1 to 32",
        ),
        (with("").replace(ONE, &twice), "a.dcr[1]: there already"),
        (
            with("stream: ContainerLogV2"),
            "found \"ContainerLogV2\"; allowed is Custom-NAME",
        ),
        (with("stream: 'Custom-a/b'"), "a.stream: found"),
        (with("format: ndjson"), "a.format: unknown key"),
        (with("url: 'https://h/'"), "a.url: unknown key"),
        (with("bearer_token: t"), "a.bearer_token: unknown key"),
    ]);
}

#[test]
fn what_the_service_does_not_take_is_refused() {
    let long = "x".repeat(46);
    let large = "y".repeat(40_000);
    refuses([
        (with("compression: zstd"), "allowed is gzip or none"),
        (
            with("record_bytes_max: 65537"),
            "at most 65536: the service cuts",
        ),
        (with("payload_bytes_max: 1000001"), "no larger call"),
        (
            with("payload_uncompressed_bytes_max: 1048576"),
            "larger before compression",
        ),
        (
            with("columns: {LogMessage: Title}"),
            "named \"Title\": the name is reserved",
        ),
        (
            with("columns: {LogMessage: '@m'}"),
            "beginning with a letter",
        ),
        (
            with("fields: {tenantid: x}"),
            "named \"tenantid\": the name is reserved",
        ),
        (
            with(&format!("fields: {{{long}: 1}}")),
            "at most 45 characters",
        ),
        (
            with(&format!("fields: {{a: {large}, b: {large}}}")),
            "80004 bytes together",
        ),
    ]);
}

#[test]
fn every_wrong_identity_is_explained() {
    let auth = |auth: &str| {
        format!(
            "sinks: {{a: {{type: azure_logs, endpoint: 'https://h', dcr: {ONE}, azure_auth: {auth}}}}}"
        )
    };
    let http = |keys: &str| {
        format!(
            "sinks: {{a: {{type: http, url: 'http://h', {keys}, azure_auth: {{managed_identity: {{}}}}}}}}"
        )
    };
    refuses([
        (auth("{}"), "found none; needed is one of client_secret"),
        (
            auth("{managed_identity: {}, workload_identity: {}}"),
            "found managed_identity and workload_identity",
        ),
        (
            auth("{client_secret: {}}"),
            "client_secret.tenant_id: missing",
        ),
        (auth("{client_secret: {}}"), "client_secret.secret: missing"),
        (
            auth("{client_secret: {tenant_id: 'a/b', client_id: c, secret: s}}"),
            "tenant_id: found \"a/b\"; allowed is an id",
        ),
        (
            auth("{managed_identity: {client_id: ''}}"),
            "client_id: found \"\"",
        ),
        (
            auth("{managed_identity: {endpoint: 'http://h/x'}}"),
            "endpoint: allowed is http",
        ),
        (
            auth("{managed_identity: {secret: x}}"),
            "secret: unknown key here",
        ),
        (
            auth("{workload_identity: {token_file: t}}"),
            "an absolute path",
        ),
        (
            auth("{cloud: moon, managed_identity: {}}"),
            "public, china or government",
        ),
        (
            auth("{scope: 'https://h', managed_identity: {}}"),
            "ends in /.default",
        ),
        (
            http("basic: {user: u, password: p}"),
            "azure_auth: found beside bearer_token or basic",
        ),
        (
            http("headers: {Authorization: x}"),
            "found Authorization beside",
        ),
    ]);
}

#[test]
fn a_secret_is_not_printed() {
    let text = "sinks: {a: {type: http, url: 'https://h/', azure_auth: {client_secret: {tenant_id: t, \
                client_id: c, secret: hunter2}}}}";
    let config = load(text).unwrap();
    assert!(!render(&config).contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}
