use super::*;

fn settings(variables: &[(&str, &str)]) -> ProxySettings {
    ProxySettings::from_variables(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.to_string())
    })
}

fn way(variables: &[(&str, &str)], target: &str) -> Result<Way, Mistake> {
    settings(variables).way_to(&target.parse().unwrap())
}

#[test]
fn the_scheme_of_the_url_picks_the_variable() {
    let both = [("HTTP_PROXY", "http://p1:3128"), ("https_proxy", "p2:3129")];
    let proxy = |uri: &'static str| Uri::from_static(uri);
    assert_eq!(way(&[], "http://sink/"), Ok(Way::Direct));
    assert_eq!(
        way(&both, "http://sink/"),
        Ok(Way::Forward {
            proxy: proxy("http://p1:3128/"),
            auth: None
        })
    );
    assert_eq!(
        way(&both, "https://sink/"),
        Ok(Way::Tunnel {
            proxy: proxy("http://p2:3129/"),
            auth: None
        })
    );
    assert_eq!(way(&both[..1], "https://sink/"), Ok(Way::Direct));
}

#[test]
fn an_empty_variable_is_unset_and_upper_case_is_asked_first() {
    let proxied = |variables: &[(&str, &str)]| match way(variables, "http://sink/").unwrap() {
        Way::Forward { proxy, .. } => proxy.host().unwrap().to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(
        proxied(&[("HTTP_PROXY", ""), ("http_proxy", "low:1")]),
        "low"
    );
    assert_eq!(
        proxied(&[("http_proxy", "low:1"), ("HTTP_PROXY", "up:1")]),
        "up"
    );
    assert_eq!(proxied(&[("HTTP_PROXY", "")]), "Direct");
}

#[test]
fn no_proxy_names_what_is_reached_directly() {
    let no = "localhost, .svc.cluster.local,10.0.0.0/8";
    let variables = [("HTTP_PROXY", "http://p:3128"), ("NO_PROXY", no)];
    for (target, direct) in [
        ("http://sink/", false),
        ("http://localhost:80/", true),
        ("http://rows.logs.svc.cluster.local/", true),
        ("http://10.1.2.3:9000/", true),
        ("http://11.1.2.3:9000/", false),
    ] {
        let way = way(&variables, target).unwrap();
        assert_eq!(way == Way::Direct, direct, "{target}");
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_not_gone_around() {
    for value in [
        "socks5://p:1080",
        "https://p:3128",
        "http://",
        "::not a url::",
    ] {
        let mistake = way(&[("HTTPS_PROXY", value)], "https://sink/").unwrap_err();
        assert_eq!(mistake.setting, "HTTPS_PROXY", "{value}");
        let excepted = [("HTTPS_PROXY", value), ("NO_PROXY", "other")];
        assert!(way(&excepted, "https://sink/").is_err(), "{value}");
    }
    let hidden = [("HTTPS_PROXY", "https://me:s3cret@p")];
    let mistake = way(&hidden, "https://sink/").unwrap_err();
    assert!(!mistake.problem.contains("s3cret"));
}

#[test]
fn credentials_of_the_proxy_are_taken_out_of_its_url() {
    let variables = [("https_proxy", "http://Aladdin:open%20sesame@p:3128")];
    let Way::Tunnel { proxy, auth } = way(&variables, "https://sink/").unwrap() else {
        panic!("not a tunnel");
    };
    assert_eq!(proxy, "http://p:3128/");
    // The example of RFC 7617 section 2.
    assert_eq!(auth.unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

#[test]
fn causes_are_found_inside_io_errors_and_each_is_said_once() {
    let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    let inner = io::Error::new(io::ErrorKind::InvalidData, certificate);
    let error = ConnectError::Failed(Box::new(io::Error::other(inner)));
    let failure = failure_of(&error);
    assert_eq!((failure.code, failure.pause), ("tls_certificate", true));
    assert_eq!(
        failure.text.matches("xpired").count(),
        1,
        "{}",
        failure.text
    );

    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let failure = failure_of(&ConnectError::Failed(Box::new(refused)));
    assert_eq!((failure.code, failure.pause), ("connect", false));
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(failure_of(&reset).code, "reset");
    let late = ConnectError::TimedOut(Duration::from_secs(1));
    assert_eq!(failure_of(&late).code, "connect_timeout");
}
