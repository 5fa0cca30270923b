use crate::config::parse::parse;
use crate::config::render::render;
use crate::config::{Config, Sasl, ScramHash, Secret, SinkKind};

fn load(keys: &str) -> Result<Config, String> {
    let text = format!("sinks: {{a: {{type: kafka, {keys}}}}}\n");
    let loaded = parse(&text, "f", &|_| None, "n1");
    loaded.map_err(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(|it| it.to_string()).collect();
        all.join("\n")
    })
}

const LEAST: &str = "bootstrap_servers: ['k:9092'], topic: t";

#[test]
fn what_is_rendered_is_the_same_config() {
    for keys in [
        "",
        "tls: true",
        "tls: {ca_file: /ca}, sasl: {mechanism: scram_sha_512, user: u, password: {file: /p}}",
        "sasl: {mechanism: oauthbearer, token: {file: /t}}, compression: zstd, workers: 2",
        "event_hubs: {connection_string: {file: /c}}, records_per_message: 9, format: json_array",
    ] {
        let config = load(&format!("{LEAST}, {keys}")).unwrap();
        let text = render(&config);
        let again = parse(&text, "f", &|_| None, "n1").unwrap();
        assert_eq!(again, config, "{text}");
    }
}

#[test]
fn event_hubs_are_plain_with_tls_and_nothing_secret_is_shown() {
    let config = load(&format!(
        "{LEAST}, event_hubs: {{connection_string: 'Endpoint=sb://x/;K=hunter2'}}"
    ))
    .unwrap();
    assert!(!render(&config).contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    let SinkKind::Kafka(kafka) = &config.sinks[0].kind else {
        panic!("{config:?}");
    };
    let Sasl::Plain { user, password } = &kafka.sasl else {
        panic!("{kafka:?}");
    };
    assert_eq!(user, "$ConnectionString");
    assert_eq!(
        *password,
        Secret::Literal("Endpoint=sb://x/;K=hunter2".to_owned())
    );
    assert!(kafka.tls.is_some());
    assert_eq!(config.sinks[0].limits.requests_in_flight, 1);
}

#[test]
fn the_words_of_the_mechanisms() {
    for (word, hash) in [
        ("scram_sha_256", ScramHash::Sha256),
        ("scram_sha_512", ScramHash::Sha512),
    ] {
        let keys = format!("{LEAST}, sasl: {{mechanism: {word}, user: u, password: p}}");
        let config = load(&keys).unwrap();
        let SinkKind::Kafka(kafka) = &config.sinks[0].kind else {
            panic!("{config:?}");
        };
        assert!(matches!(&kafka.sasl, Sasl::Scram { hash: found, .. } if *found == hash));
    }
}

#[test]
fn mistakes_are_named() {
    let with = |keys: &str| format!("{LEAST}, {keys}");
    for (keys, wanted) in [
        ("topic: t".to_owned(), "bootstrap_servers: missing"),
        ("bootstrap_servers: ['k:1']".to_owned(), "topic: missing"),
        (
            "bootstrap_servers: [], topic: t".to_owned(),
            "allowed are 1 to 64",
        ),
        (
            "bootstrap_servers: 'k:1', topic: t".to_owned(),
            "a list of HOST:PORT",
        ),
        (
            "bootstrap_servers: ['https://k:1'], topic: t".to_owned(),
            "HOST:PORT, without a scheme",
        ),
        (
            "bootstrap_servers: ['k:1'], topic: 'a b'".to_owned(),
            "a name of a-z",
        ),
        (
            "bootstrap_servers: ['k:1'], topic: '{pod}'".to_owned(),
            "{namespace}",
        ),
        (with("signals: [metrics]"), "set metrics_topic"),
        (with("requests_in_flight: 2"), "unknown key here"),
        (with("tls: 1"), "true, false, or a mapping"),
        (with("tls: {key_file: /k}"), "certificate_file: missing"),
        (with("sasl: {}"), "mechanism: missing"),
        (with("sasl: {mechanism: gssapi}"), "allowed is plain"),
        (
            with("sasl: {mechanism: plain, user: u}"),
            "password: missing",
        ),
        (
            with("sasl: {mechanism: plain, user: u, password: p, token: t}"),
            "token: has no meaning here",
        ),
        (
            with("sasl: {mechanism: oauthbearer, token: t, user: u}"),
            "user: has no meaning here",
        ),
        (with("event_hubs: {}"), "connection_string: missing"),
        (
            with("event_hubs: {connection_string: c}, sasl: {mechanism: plain}"),
            "found beside event_hubs",
        ),
        (
            with("event_hubs: {connection_string: c}, tls: false"),
            "take nothing without TLS",
        ),
        (
            with("event_hubs: {connection_string: c}, compression: zstd"),
            "Event Hubs do not take",
        ),
        (with("message_bytes_max: 1"), "16384"),
    ] {
        let mistakes = load(&keys).unwrap_err();
        assert!(mistakes.contains(wanted), "{keys}: {mistakes}");
    }
}
