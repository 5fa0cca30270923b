//! What is rendered, and that it parses again.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::config::parse::{DEFAULT_YAML, parse};
use crate::config::{Auth, AzureIdentity, SinkKind};

fn parsed(text: &str) -> Config {
    match parse(text, "f", &|_| None, "node") {
        Ok(config) => config,
        Err(mistakes) => panic!("{text}\n{mistakes:#?}"),
    }
}

/// As [`render`] leaves it: secrets that were given as text are the word that hides them.
fn with_hidden_secrets(config: &Config) -> Config {
    let mut config = config.clone();
    let hide = |secret: &mut Secret| {
        if let Secret::Literal(text) = secret {
            HIDDEN.clone_into(text);
        }
    };
    for sink in &mut config.sinks {
        let SinkKind::Http(http) = &mut sink.kind else {
            continue;
        };
        http.headers.iter_mut().for_each(|(_, secret)| hide(secret));
        match &mut http.auth {
            Auth::None => {}
            Auth::Bearer(token) | Auth::Scheme { token, .. } => hide(token),
            Auth::Basic { password, .. } => hide(password),
            Auth::Azure(azure) => {
                if let AzureIdentity::ClientSecret { secret, .. } = &mut azure.identity {
                    hide(secret);
                }
            }
        }
    }
    config
}

#[test]
fn secrets_are_hidden_and_the_rest_is_shown() {
    let text = "\
sinks:
  a:
    type: http
    url: https://h/p
    headers: {X-Key: hunter2, X-File: {file: /run/key}}
    basic: {user: ann, password: hunter2}
";
    let rendered = render(&parsed(text));
    assert!(!rendered.contains("hunter2"), "{rendered}");
    for shown in [
        "url: \"https://h/p\"",
        "file: /run/key",
        "user: ann",
        "(hidden)",
        "node: node",
    ] {
        assert!(rendered.contains(shown), "{shown} is not in\n{rendered}");
    }
}

#[test]
fn words_that_yaml_would_read_otherwise_are_quoted() {
    for text in [
        "", "true", "Null", "no", "1", "1e3", "~", "a: b", "a #b", "*a", "-", "\u{85}x", "${A}",
    ] {
        assert!(quoted(text).starts_with('"'), "{text:?}");
    }
    assert_eq!(quoted("/var/log/pods"), "/var/log/pods");
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>()
            .prop_filter("JSON has no others", |f| f.is_finite())
            .prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        "[-0-9.eE+xo${}:# ~ntf]{0,8}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::Array),
            proptest::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn limits() -> impl Strategy<Value = super::super::Limits> {
    vec(any::<u64>(), LIMITS.len()).prop_map(|values| {
        let mut limits = super::super::Limits::default();
        for (number, value) in LIMITS.iter().zip(values) {
            (number.set)(
                &mut limits,
                number.min + value % (number.max - number.min + 1),
            );
        }
        // What the checker asks of them.
        let uncompressed = &mut limits.payload_uncompressed_bytes_max;
        *uncompressed = (*uncompressed)
            .max(limits.payload_bytes_max)
            .max(limits.record_bytes_max);
        limits.join_bytes_max = limits.join_bytes_max.max(limits.record_bytes_max);
        limits.payload_slots = limits.payload_slots.max(limits.requests_in_flight);
        limits.backoff_max_ms = limits.backoff_max_ms.max(limits.backoff_min_ms);
        limits
    })
}

prop_compose! {
    fn metrics()(
        enabled in any::<bool>(),
        profile in prop_oneof![Just(Profile::Minimal), Just(Profile::Standard), Just(Profile::Full)],
        keep in vec("[a-z_:|${}.*\"' \\\\#]{0,12}", 0..4),
        exclude in "[a-z/]{1,4}|[|:{$\\\\d ]{1,5}",
        root in "/[a-z$ {}:#]{0,8}",
        url in proptest::option::of(Just("http://10.0.0.1:10092/metrics".to_owned())),
    ) -> Metrics {
        let mut metrics = Metrics::new(&|_| None);
        metrics.enabled = enabled;
        metrics.profile = profile;
        metrics.keep = keep.iter().filter_map(|text| Pattern::whole(text).ok()).collect();
        metrics.keep.retain(|pattern| !pattern.as_str().is_empty());
        if let Ok(pattern) = Pattern::part(&exclude) {
            metrics.disks_exclude = pattern;
        }
        metrics.root = root.into();
        metrics.ip.cni_networks = url.as_ref().map(|_| "/state".into());
        metrics.ip.compat_azure = url.is_some();
        metrics.ip.aws_url = url;
        metrics
    }
}

prop_compose! {
    fn config()(
        node in "\\PC{1,20}",
        cluster in proptest::option::of("\\PC{1,20}"),
        json in any::<bool>(),
        limits in limits(),
        fields in proptest::collection::btree_map("\\PC{1,10}", json_value(), 0..5),
        renamed in "[a-z$ {}:#]{1,8}",
        choice in 0..4_usize,
        metrics in metrics(),
    ) -> Config {
        let mut config = parsed("\
sinks:
  a: {type: stdout}
  b: {type: file, compression: zstd}
  c:
    type: http
    url: https://h:1/p?a=${x:-y}#
    headers: {X-A: secret, X-B: {file: '/a b/${c:-c}'}}
    bearer_token: secret
  d: {type: blackhole}
".replace('#', "").as_str());
        config.node = node;
        config.metrics = metrics;
        config.cluster_name = cluster;
        config.own_log.json = json;
        let sink = &mut config.sinks[choice];
        sink.limits = limits;
        sink.rows.fields = fields.into_iter().filter(|(name, _)| *name != renamed).collect();
        sink.rows.columns.set("LogMessage", Some(renamed));
        sink.rows.columns.set("LogFlags", None);
        sink.read_from = ReadFrom::Backlog { age_max_ms: Some(1_000), bytes_max: None };
        config
    }
}

proptest! {
    /// Invariant: what is rendered parses to an equal configuration, but for secrets given as text.
    #[test]
    fn what_is_rendered_parses_to_an_equal_config(config in config()) {
        let rendered = render(&config);
        let again = parse(&rendered, "f", &|_| None, "other");
        prop_assert_eq!(again, Ok(with_hidden_secrets(&config)), "{}", rendered);
    }

    /// Invariant: whatever the text, parsing ends with a config or with mistakes, each one printable line.
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}|[-a-z:\\[\\]{},&*!|>'\"%@`#?~ \\n\\t$<.]{0,200}") {
        let outcome = parse(&text, "f", &|_| None, "node");
        if let Err(mistakes) = outcome {
            prop_assert!(!mistakes.is_empty());
            for mistake in mistakes {
                prop_assert!(!mistake.to_string().contains(char::is_control));
            }
        }
    }

    /// Invariant: as above, for texts that are nearly right; and no config comes without a sink.
    #[test]
    fn no_damage_makes_the_parser_panic(at in any::<prop::sample::Index>(), with in "\\PC{0,3}|[:\\n {}\\[\\]&*!$-]{1,3}", cut in 0..8_usize) {
        let whole = render(&parsed(DEFAULT_YAML));
        let at = at.index(whole.len());
        let damaged = format!("{}{with}{}", whole.get(..at).unwrap(), whole.get(at + cut..).unwrap_or_default());
        match parse(&damaged, "f", &|_| None, "node") {
            Ok(config) => prop_assert!(!config.sinks.is_empty()),
            Err(mistakes) => prop_assert!(!mistakes.is_empty()),
        }
    }
}
