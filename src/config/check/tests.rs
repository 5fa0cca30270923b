//! Which values are refused, with which words; and which are taken.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::config::parse::{DEFAULT_YAML, parse};
use crate::config::{Auth, Compression, HttpSink, ReadFrom, RowFormat, Secret};

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("9601".to_owned()),
        "SLOTS" => Some("7".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn good(text: &str) -> Config {
    match parse(text, "f", &environment, "host") {
        Ok(config) => config,
        Err(mistakes) => panic!("{text}\n{mistakes:#?}"),
    }
}

fn bad(text: &str) -> Vec<String> {
    match parse(text, "f", &environment, "host") {
        Ok(config) => panic!("taken: {text}\n{config:#?}"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

/// The mistakes of one http sink with these further keys, which begin on line 5.
fn bad_http(keys: &str) -> Vec<String> {
    let indented = keys.replace('\n', "\n    ");
    bad(&format!(
        "sinks:\n  main:\n    type: http\n    url: https://h/p\n    {indented}\n"
    ))
}

fn http_of(keys: &str) -> HttpSink {
    let indented = keys.replace('\n', "\n    ");
    let text = format!("sinks:\n  main:\n    type: http\n    url: https://h/p\n    {indented}\n");
    match good(&text).sinks.remove(0).kind {
        SinkKind::Http(http) => *http,
        other => panic!("{other:?}"),
    }
}

fn sink_of(keys: &str) -> Sink {
    good(&format!("sinks: {{main: {{type: blackhole, {keys}}}}}"))
        .sinks
        .remove(0)
}

fn bad_sink(keys: &str) -> Vec<String> {
    bad(&format!("sinks: {{main: {{type: blackhole, {keys}}}}}"))
}

/// The one mistake contains these words.
#[track_caller]
fn says(mistakes: &[String], words: &[&str]) {
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    for word in words {
        assert!(
            mistakes[0].contains(word),
            "{word:?} is not in {:?}",
            mistakes[0]
        );
    }
}

#[test]
fn every_mistake_is_reported_in_one_run_in_the_order_of_the_text() {
    let text = "\
state_dir: var/lib
shutdown_grace: 5
logs:
  poll_active_ms: 50ms
  collect_self: yes
admin: {listen: localhost}
sinks:
  Main:
    type: htpp
  two:
    type: file
    flush_intervall_ms: 10
    url: http://x/
    compression: gzip
    compression_level: 12
";
    let types = crate::config::keys::common();
    let types = types.allowed("type").unwrap();
    let wrong_type = format!("f:9:11: sinks.Main.type: found \"htpp\"; allowed is {types}");
    assert_eq!(
        bad(text),
        [
            "f:1:12: state_dir: found \"var/lib\"; allowed is an absolute path",
            "f:2:1: shutdown_grace: unknown key here; did you mean shutdown_grace_ms?",
            "f:4:19: logs.poll_active_ms: found \"50ms\"; allowed is a whole number, 10 to 10000 ms",
            "f:5:17: logs.collect_self: found \"yes\"; allowed is true or false",
            "f:6:17: admin.listen: found \"localhost\"; allowed is an IP address with a port",
            "f:8:3: sinks.Main: not a name for a sink; allowed is a-z, 0-9, _ and -, at most 63, \
             not beginning with _ or -",
            wrong_type.as_str(),
            "f:12:5: sinks.two.flush_intervall_ms: unknown key here; did you mean flush_interval_ms?",
            "f:13:5: sinks.two.url: unknown key here; it belongs to sinks.NAME of type http",
            "f:15:24: sinks.two.compression_level: found \"12\"; allowed is 1 to 9 with gzip, \
             1 to 19 with zstd, absent or null with none",
        ]
    );
}

#[test]
fn a_config_without_sinks_is_refused() {
    says(&bad(""), &["f:1:1: sinks: missing"]);
    says(&bad("sinks: {}"), &["found 0 sinks; allowed are 1 to 64"]);
    says(&bad("sinks:\n"), &["found nothing; allowed is a mapping"]);
    says(&bad("sinks: [a]"), &["found a list; allowed is a mapping"]);
    says(
        &bad("just text"),
        &["found a single value; allowed is a mapping"],
    );
    says(&bad("sinks:\n  a:\n"), &["sinks.a: found nothing"]);
    says(
        &bad("sinks: {a: {}}"),
        &["sinks.a.type: missing; needed is http, file"],
    );
    let many: String = (0..65)
        .map(|n| format!("  s{n}: {{type: blackhole}}\n"))
        .collect();
    says(&bad(&format!("sinks:\n{many}")), &["found 65 sinks"]);
}

#[test]
fn sink_names_are_names_of_directories_and_labels() {
    for name in ["a", "0", "a-b_c", &"x".repeat(63)] {
        good(&format!("sinks: {{{name}: {{type: blackhole}}}}"));
    }
    for name in ["A", "-a", "_a", "a.b", "..", "a/b", "\"\"", &"x".repeat(64)] {
        says(
            &bad(&format!("sinks: {{{name}: {{type: blackhole}}}}")),
            &["not a name"],
        );
    }
}

#[test]
fn the_node_is_told_by_the_config_then_the_environment_then_the_host() {
    let sinks = "sinks: {a: {type: blackhole}}";
    let told = |text: &str, node: Option<&str>, host: &str| {
        let env = |name: &str| node.filter(|_| name == "NODE_NAME").map(str::to_owned);
        parse(text, "f", &env, host).map(|config| config.node)
    };
    let named = format!("node: 12\n{sinks}");
    assert_eq!(told(&named, Some("e"), "h"), Ok("12".to_owned()));
    assert_eq!(told(sinks, Some("e"), "h"), Ok("e".to_owned()));
    assert_eq!(told(sinks, Some(""), "h"), Ok("h".to_owned()));
    let mistakes = told(sinks, None, "").unwrap_err();
    assert!(mistakes[0].to_string().contains("node: missing"));
}

#[test]
fn numbers_come_with_quotes_or_from_variables_but_not_with_units_or_out_of_range() {
    assert_eq!(sink_of("payload_slots: '9'").limits.payload_slots, 9);
    assert_eq!(
        sink_of("payload_slots: \"${SLOTS}\"").limits.payload_slots,
        7
    );
    for value in [
        "0",
        "257",
        "-1",
        "1.5",
        "1e1",
        "4KiB",
        "''",
        "null",
        "[4]",
        "99999999999999999999",
    ] {
        says(
            &bad_sink(&format!("requests_in_flight: 1, payload_slots: {value}")),
            &[
                "sinks.main.payload_slots: found",
                "allowed is a whole number, 1 to 256",
            ],
        );
    }
}

#[test]
fn what_came_from_the_environment_is_not_shown() {
    let text =
        "sinks:\n  main:\n    type: ${SECRET}\n    workers: ${SECRET}\n    read_from: ${SECRET}\n";
    let mistakes = bad(text).join("\n");
    assert!(
        mistakes.contains("found the value of ${SECRET}"),
        "{mistakes}"
    );
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let cases = [
        (
            "payload_bytes_max: 9000000",
            "payload_bytes_max: found 9000000; allowed is at most payload_uncompressed_bytes_max, \
             which is 8388608",
        ),
        (
            "payload_uncompressed_bytes_max: 1000000",
            "payload_uncompressed_bytes_max: found 1000000; allowed is at least payload_bytes_max, \
             which is 1048576",
        ),
        (
            "record_bytes_max: 5000000",
            "record_bytes_max: found 5000000; allowed is at most join_bytes_max",
        ),
        (
            "requests_in_flight: 5",
            "allowed is at most payload_slots, which is 4",
        ),
        (
            "backoff_min_ms: 40000",
            "allowed is at most backoff_max_ms, which is 30000",
        ),
    ];
    for (keys, words) in cases {
        says(&bad_sink(keys), &[words]);
    }
    says(
        &bad("logs: {poll_idle_ms: 20}\nsinks: {a: {type: blackhole}}"),
        &["logs.poll_idle_ms: found 20; allowed is at least poll_active_ms, which is 50"],
    );
    says(
        &bad("sinks: {a: {type: file, total_bytes_max: 2000000}}"),
        &["total_bytes_max: found 2000000; allowed is at least roll_bytes, which is 67108864"],
    );
}

#[test]
fn each_type_has_its_own_defaults() {
    let text = "sinks: {a: {type: stdout}, b: {type: file}, c: {type: http, url: 'https://h'}}";
    let config = good(text);
    let of = |index: usize| {
        let sink: &Sink = &config.sinks[index];
        (
            sink.compression,
            sink.limits.requests_in_flight,
            sink.rows.format,
        )
    };
    assert_eq!(of(0), (Compression::None, 1, RowFormat::Ndjson));
    assert_eq!(of(1), (Compression::Gzip(1), 1, RowFormat::Ndjson));
    assert_eq!(of(2), (Compression::Gzip(1), 2, RowFormat::Ndjson));
}

#[test]
fn codecs_have_their_own_levels() {
    assert_eq!(
        sink_of("compression: zstd, compression_level: 19").compression,
        Compression::Zstd(19)
    );
    assert_eq!(
        sink_of("compression: zstd").compression,
        Compression::Zstd(1)
    );
    assert_eq!(
        sink_of("compression: gzip, compression_level: null").compression,
        Compression::Gzip(1)
    );
    says(
        &bad_sink("compression: gzip, compression_level: 10"),
        &["1 to 9 with gzip"],
    );
    says(
        &bad_sink("compression: none, compression_level: 1"),
        &["absent or null with none"],
    );
    says(
        &bad_sink("compression: lz4, compression_level: 3"),
        &["none, gzip or zstd"],
    );
}

#[test]
fn read_from_is_a_word_or_a_backlog() {
    assert_eq!(sink_of("read_from: end").read_from, ReadFrom::End);
    let backlog = |age_max_ms, bytes_max| ReadFrom::Backlog {
        age_max_ms,
        bytes_max,
    };
    let sink = sink_of("read_from: {age_max_ms: 5000, bytes_max: null}");
    assert_eq!(sink.read_from, backlog(Some(5000), None));
    let sink = sink_of("read_from: {bytes_max: 1, age_max_ms: 1000}");
    assert_eq!(sink.read_from, backlog(Some(1000), Some(1)));
    says(
        &bad_sink("read_from: middle"),
        &["found \"middle\"; allowed is beginning, end"],
    );
    says(
        &bad_sink("read_from: {}"),
        &["found a mapping; allowed is beginning, end"],
    );
    says(
        &bad_sink("read_from: {age_max_ms: 1}"),
        &["1000 to 31536000000 ms"],
    );
    says(
        &bad_sink("read_from: {age_max_ms: ~}"),
        &["found a mapping; allowed is beginning, end"],
    );
    says(
        &bad_sink("read_from: {age_ms: 1}"),
        &["did you mean age_max_ms?"],
    );
}

#[test]
fn columns_are_renamed_dropped_and_kept_apart() {
    let sink = sink_of(
        "columns: {LogMessage: msg, LogLevel: null, LogFlags: '', Computer: false, PodName: PodName}",
    );
    let columns = &sink.rows.columns;
    assert_eq!(columns.name("LogMessage"), Some("msg"));
    for dropped in ["LogLevel", "LogFlags", "Computer"] {
        assert_eq!(columns.name(dropped), None);
    }
    assert_eq!(columns.name("PodName"), Some("PodName"));
    let swapped = sink_of("columns: {PodName: Computer, Computer: PodName}");
    assert_eq!(swapped.rows.columns.name("PodName"), Some("Computer"));

    says(
        &bad_sink("columns: {LogMesage: m}"),
        &["no such column; did you mean LogMessage?"],
    );
    says(
        &bad_sink("columns: {LogMessage: true}"),
        &["allowed is a new name"],
    );
    says(&bad_sink("columns: {LogMessage: [a]}"), &["found a list"]);
    says(
        &bad_sink("columns: {LogMessage: PodName}"),
        &["would both be named \"PodName\""],
    );
    says(
        &bad_sink("columns: {LogMessage: m, PodName: m}"),
        &["would both be named \"m\""],
    );
}

#[test]
fn fields_are_json_and_no_second_columns() {
    let sink = sink_of(
        "fields: {a: 1, b: -2, c: 1.5, d: '1', e: true, f: null, g: {h: [x, 0x10]}, i: 007x, j: \"${PORT}\", k: 1e3}",
    );
    let expected = json!({
        "a": 1, "b": -2, "c": 1.5, "d": "1", "e": true, "f": null, "g": {"h": ["x", 16]}, "i": "007x",
        "j": "9601", "k": 1000.0
    });
    for (name, value) in &sink.rows.fields {
        assert_eq!(Some(value), expected.get(name), "{name}");
    }
    assert_eq!(sink.rows.fields.len(), 10);
    says(
        &bad_sink("fields: {PodName: x}"),
        &["there is a column of this name (PodName)"],
    );
    says(&bad_sink("fields: {ClusterName: x}"), &["set cluster_name"]);
    says(
        &bad_sink("columns: {PodName: p}, fields: {p: x}"),
        &["of this name (PodName)"],
    );
    let freed = sink_of("columns: {PodName: p}, fields: {PodName: x}");
    assert_eq!(freed.rows.fields, [("PodName".to_owned(), json!("x"))]);
    says(&bad_sink("fields: {'': x}"), &["not a name for a column"]);
    says(
        &bad_sink("fields: {a: .inf}"),
        &["a number that JSON does not have"],
    );
    let mistakes = bad_sink("fields: {a: [.nan, 1e999]}");
    assert!(
        mistakes[0].contains("fields.a[0]") && mistakes[1].contains("fields.a[1]"),
        "{mistakes:?}"
    );
}

#[test]
fn urls_are_http_with_a_host_and_never_shown() {
    let url = |url: &str| format!("sinks:\n  main:\n    type: http\n    url: '{url}'\n");
    for right in [
        "http://h",
        "https://h:1/p?q=1",
        "http://[::1]:80/",
        "http://[::1]/",
        "HTTP://h/",
    ] {
        good(&url(right));
    }
    for (wrong, words) in [
        ("https://user:pass@h/", "the URL has a user; use basic"),
        ("ftp://pass/", "neither http:// nor https://"),
        ("h/pass", "not a URL"),
        ("/pass", "no host"),
        ("https://h/#pass", "a fragment"),
        ("https://h:0/pass", "port"),
        ("https://h:99999/pass", "port"),
        ("https://h p/pass", "not a URL"),
        ("", "not a URL"),
    ] {
        let mistakes = bad(&url(wrong));
        says(&mistakes, &["f:4:", "sinks.main.url", words]);
        assert!(
            !mistakes[0].contains("pass@") && !mistakes[0].contains("/pass"),
            "{mistakes:?}"
        );
    }
    says(&bad("sinks: {a: {type: http}}"), &["sinks.a.url: missing"]);
}

#[test]
fn headers_are_valid_and_leave_the_body_alone() {
    let http = http_of("headers: {X-A: b, X-B: {file: /t}, x-c: \"${SECRET}\"}");
    assert_eq!(
        http.headers,
        [
            ("X-A".to_owned(), Secret::Literal("b".to_owned())),
            ("X-B".to_owned(), Secret::File(PathBuf::from("/t"))),
            ("x-c".to_owned(), Secret::Literal("hunter2".to_owned())),
        ]
    );
    says(
        &bad_http("headers: {'a b': x}"),
        &["not a name that a header may have"],
    );
    says(
        &bad_http("headers: {Content-Length: 1}"),
        &["set by the agent itself"],
    );
    says(&bad_http("headers: {X-A: 1, x-a: 2}"), &["given twice"]);
    for value in [
        "\"pass\\nword\"",
        "[pass]",
        "{file: pass}",
        "{path: /pass}",
        "null",
        "\"${EMPTY}\"",
    ] {
        let mistakes = bad_http(&format!("headers: {{X-A: {value}}}"));
        says(
            &mistakes,
            &["sinks.main.headers.X-A: allowed is a text", "not shown"],
        );
        assert!(!mistakes[0].contains("pass"), "{mistakes:?}");
    }
}

#[test]
fn there_is_one_way_to_authenticate() {
    let literal = |text: &str| Secret::Literal(text.to_owned());
    assert_eq!(http_of("bearer_token: t").auth, Auth::Bearer(literal("t")));
    let basic = Auth::Basic {
        user: "u".to_owned(),
        password: literal("hunter2"),
    };
    assert_eq!(
        http_of("basic: {user: u, password: \"${SECRET}\"}").auth,
        basic
    );
    says(
        &bad_http("bearer_token: t\nbasic: {user: u, password: p}"),
        &["beside bearer_token"],
    );
    says(
        &bad_http("bearer_token: t\nheaders: {authorization: x}"),
        &["Authorization beside"],
    );
    says(
        &bad_http("basic: {user: u}"),
        &["sinks.main.basic.password: missing"],
    );
    let mistakes = bad_http("basic: {user: 'u:pass', password: p}");
    says(
        &mistakes,
        &["sinks.main.basic.user", "a text without colon"],
    );
    assert!(!mistakes[0].contains("pass"));
    let mistakes = bad_http("basic: u:pass");
    says(&mistakes, &["found a single value; allowed is a mapping"]);
    assert!(!mistakes[0].contains("pass"));
}

#[test]
fn tls_is_complete_and_of_use() {
    let http = http_of("tls: {ca_file: /ca, certificate_file: /c, key_file: /k}");
    assert_eq!(http.tls.ca_file, Some(PathBuf::from("/ca")));
    says(
        &bad_http("tls: {key_file: /k}"),
        &["tls.certificate_file: missing"],
    );
    says(
        &bad_http("tls: {certificate_file: /c, key_file: null}"),
        &["tls.key_file: missing"],
    );
    says(
        &bad_http("tls: {ca_file: ca.pem}"),
        &["found \"ca.pem\"; allowed is an absolute path or null"],
    );
    says(
        &bad("sinks: {a: {type: http, url: 'http://h/', tls: {ca_file: /ca}}}"),
        &["sinks.a.tls: has no effect with an http:// URL"],
    );
}

#[test]
fn two_sinks_never_write_to_one_place_and_none_to_what_is_collected() {
    says(
        &bad("sinks: {a: {type: file}, b: {type: file, directory: /var/lib/longshore//logs/.}}"),
        &["sinks.b: writes to the same directory as sinks.a"],
    );
    says(
        &bad("sinks: {a: {type: stdout}, b: {type: stdout}}"),
        &["as sinks.a does"],
    );
    good("sinks: {a: {type: file}, b: {type: file, directory: /b}}");
    says(
        &bad("sinks: {a: {type: file, directory: /var/log/pods/x}}"),
        &["sinks.a.directory: lies under logs.pod_logs"],
    );
    says(
        &bad("sinks: {a: {type: file, directory: /var/lib/longshore/}}"),
        &["sinks.a.directory: is the state directory itself"],
    );
    says(
        &bad("state_dir: /var/log/pods/s\nsinks: {a: {type: blackhole}}"),
        &["state_dir: lies under logs.pod_logs"],
    );
}

#[test]
fn the_workers_of_all_sinks_together_are_limited() {
    assert_eq!(super::WORKERS_MAX, crate::catalog::feed::Feed::COUNT_MAX);
    let workers = |a: usize, b: usize| {
        format!(
            "sinks: {{a: {{type: blackhole, workers: {a}}}, b: {{type: blackhole, workers: {b}}}}}"
        )
    };
    good(&workers(32, 32));
    says(
        &bad(&workers(32, 33)),
        &["sinks: the sinks have 65 workers together; allowed are 64"],
    );
}

#[test]
fn what_an_earlier_stage_refused_is_not_reported_twice() {
    says(
        &bad("sinks: {a: {type: blackhole, workers: \"${NONE}\"}}"),
        &["NONE is not set"],
    );
    says(
        &bad("sinks: {a: {type: http, url: \"${NONE}\"}}"),
        &["NONE is not set"],
    );
    says(&bad_http("bearer_token: ${NONE}"), &["NONE is not set"]);
    says(
        &bad_http("headers: {A: {file: \"${NONE}\"}}"),
        &["NONE is not set"],
    );
    says(
        &bad_sink("fields: {a: [\"${NONE}\"]}"),
        &["NONE is not set"],
    );
    says(
        &bad_sink("columns: {LogLevel: \"${NONE}\"}"),
        &["NONE is not set"],
    );
}

#[test]
fn the_embedded_default_writes_rows_as_plain_files_under_the_state_directory() {
    let config = good(DEFAULT_YAML);
    assert!(config.admin.listen.ip().is_loopback());
    let [sink] = config.sinks.as_slice() else {
        panic!("one sink: {config:?}")
    };
    assert_eq!(sink.rows.format, RowFormat::Ndjson);
    assert_eq!(sink.compression, Compression::None);
    match &sink.kind {
        SinkKind::File(file) => assert_eq!(file.directory, config.state_dir.join("logs")),
        other => panic!("{other:?}"),
    }
}
