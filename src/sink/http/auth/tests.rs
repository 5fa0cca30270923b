use std::path::Path;

use super::*;
use crate::config::Tls;

const WIRE: Wire = Wire {
    content_type: "application/x-ndjson",
    content_encoding: Some("gzip"),
};

fn config(headers: Vec<(&str, Secret)>, auth: Auth) -> HttpSink {
    HttpSink {
        preset: None,
        metrics_url: None,
        url: "http://sink/".to_string(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
        auth,
        tls: Tls::default(),
        connect_timeout_ms: 1_000,
        request_timeout_ms: 1_000,
        keep_alive_ms: 1_000,
    }
}

fn literal(text: &str) -> Secret {
    Secret::Literal(text.to_string())
}

fn bearer_file(path: &Path) -> HttpSink {
    config(vec![], Auth::Bearer(Secret::File(path.to_path_buf())))
}

fn authorization(credentials: &mut Credentials, now_ms: u64) -> String {
    let (headers, _) = credentials.headers(Time::from_ms(now_ms)).unwrap();
    headers[AUTHORIZATION].to_str().unwrap().to_string()
}

#[test]
fn the_headers_of_a_request() {
    let basic = Auth::Basic {
        user: "Aladdin".to_string(),
        password: literal("open sesame"),
    };
    let headers = vec![
        ("X-Scope", literal("a")),
        ("x-scope", literal("b")),
        ("User-Agent", literal("mine")),
    ];
    let mut credentials = Credentials::new(&config(headers, basic), WIRE).unwrap();
    let (headers, _) = credentials.headers(Time::ZERO).unwrap();
    // The example of RFC 7617 section 2.
    assert_eq!(headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(headers[AUTHORIZATION].is_sensitive());
    assert_eq!(headers[CONTENT_TYPE], WIRE.content_type);
    assert_eq!(headers[CONTENT_ENCODING], "gzip");
    assert_eq!(
        headers.get_all("x-scope").iter().collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(
        headers.get_all(USER_AGENT).iter().collect::<Vec<_>>(),
        ["mine"]
    );
}

#[test]
fn what_a_sink_may_not_set_is_a_mistake_that_shows_no_secret() {
    let bearer = |text: &str| Auth::Bearer(literal(text));
    for (headers, auth, setting) in [
        (
            vec![("no spaces", literal("x"))],
            Auth::None,
            "headers.no spaces",
        ),
        (
            vec![("Content-Length", literal("5"))],
            Auth::None,
            "headers.Content-Length",
        ),
        (
            vec![("content-encoding", literal("br"))],
            Auth::None,
            "headers.content-encoding",
        ),
        (
            vec![("authorization", literal("x"))],
            bearer("y"),
            "headers.authorization",
        ),
        (
            vec![("x-key", literal("s3cret\n"))],
            Auth::None,
            "headers.x-key",
        ),
        (vec![], bearer("s3cret\r\nX-Other: 1"), "bearer_token"),
        (
            vec![],
            Auth::Basic {
                user: "a:b".to_string(),
                password: literal("s3cret"),
            },
            "basic.user",
        ),
    ] {
        let mistake = Credentials::new(&config(headers, auth), WIRE)
            .err()
            .unwrap();
        assert_eq!(mistake.setting, setting);
        assert!(!mistake.problem.contains("s3cret"), "{}", mistake.problem);
    }
}

#[test]
fn a_changed_file_is_read_at_most_once_per_interval() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let mut credentials = Credentials::new(&bearer_file(&path), WIRE).unwrap();
    assert_eq!(authorization(&mut credentials, 5), "Bearer first");
    std::fs::write(&path, "the second\r\n").unwrap();
    assert_eq!(authorization(&mut credentials, 1_004), "Bearer first");
    assert_eq!(authorization(&mut credentials, 1_005), "Bearer the second");
}

#[test]
fn a_link_that_is_swapped_counts_as_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["one", "two"] {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("token"), name).unwrap();
    }
    std::os::unix::fs::symlink("one", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/token", at("token")).unwrap();
    let mut credentials = Credentials::new(&bearer_file(&at("token")), WIRE).unwrap();
    assert_eq!(authorization(&mut credentials, 0), "Bearer one");
    std::os::unix::fs::symlink("two", at("..next")).unwrap();
    std::fs::rename(at("..next"), at("..data")).unwrap();
    assert_eq!(authorization(&mut credentials, 1_000), "Bearer two");
}

#[test]
fn doubted_credentials_are_read_until_they_are_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "first").unwrap();
    let mut credentials = Credentials::new(&bearer_file(&path), WIRE).unwrap();
    let (_, first) = credentials.headers(Time::ZERO).unwrap();
    assert!(!credentials.doubt(first, Time::ZERO), "the same file");
    std::fs::write(&path, "first\n").unwrap();
    assert!(
        !credentials.doubt(first, Time::ZERO),
        "another file, the same secret"
    );
    std::fs::write(&path, "other").unwrap();
    assert_eq!(authorization(&mut credentials, 0), "Bearer other");
    std::fs::write(&path, "third").unwrap();
    assert_eq!(
        authorization(&mut credentials, 0),
        "Bearer other",
        "no doubt is left"
    );
    assert!(
        credentials.doubt(first, Time::ZERO),
        "an answer to an old request"
    );
    std::fs::remove_file(&path).unwrap();
    let (_, third) = credentials.headers(Time::from_ms(2_000)).unwrap();
    assert!(!credentials.doubt(third, Time::ZERO), "nothing to read");
}

#[test]
fn a_change_that_no_stamp_shows_is_found_when_the_secret_is_doubted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "one").unwrap();
    let mut credentials = Credentials::new(&bearer_file(&path), WIRE).unwrap();
    let (_, first) = credentials.headers(Time::ZERO).unwrap();
    std::fs::write(&path, "two").unwrap();
    // As if both had been written within one tick of the file system's clock.
    credentials.secrets[0].stamp = Stamp::of(&path);
    assert_eq!(authorization(&mut credentials, 5_000), "Bearer one");
    assert!(credentials.doubt(first, Time::from_ms(5_000)));
    assert_eq!(authorization(&mut credentials, 5_000), "Bearer two");
}

#[test]
fn a_file_that_vanishes_leaves_its_last_secret_and_one_that_never_was_pauses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let mut credentials = Credentials::new(&bearer_file(&path), WIRE).unwrap();
    for content in [None, Some(""), Some("\n"), Some("two\nlines")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let failure = credentials.headers(Time::ZERO).unwrap_err();
        assert_eq!((failure.code, failure.pause), ("credentials", true));
        assert!(
            failure.text.contains(&path.display().to_string()),
            "{}",
            failure.text
        );
        assert!(!failure.text.contains("lines"), "{}", failure.text);
    }
    std::fs::write(&path, "good").unwrap();
    assert_eq!(authorization(&mut credentials, 0), "Bearer good");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(authorization(&mut credentials, 9_000), "Bearer good");
}

#[test]
fn a_secret_is_no_pipe_no_directory_and_not_large() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let large = directory.path().join("large");
    std::fs::write(&large, vec![b'x'; SECRET_BYTES_MAX as usize + 1]).unwrap();
    for path in [pipe.as_path(), directory.path(), &large] {
        let mut credentials = Credentials::new(&bearer_file(path), WIRE).unwrap();
        assert!(
            credentials.headers(Time::ZERO).is_err(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn an_answer_that_echoes_a_secret_does_not_show_it() {
    let basic = Auth::Basic {
        user: "Aladdin".to_string(),
        password: literal("open sesame"),
    };
    let headers = vec![("x-key", literal("k3y-value")), ("x-tiny", literal("no"))];
    let credentials = Credentials::new(&config(headers, basic), WIRE).unwrap();
    let told = b"no: open sesame, QWxhZGRpbjpvcGVuIHNlc2FtZQ==, k3y-value";
    let told = String::from_utf8(credentials.hide(told)).unwrap();
    assert_eq!(told, "no: (hidden), (hidden), (hidden)");
}
