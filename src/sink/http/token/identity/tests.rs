//! What is asked, and what answers mean. Sockets are in `tests/it/token.rs`.

use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;
use crate::sink::http::connect::ProxySettings;

const NOW: SystemTime = UNIX_EPOCH;

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let identity = WorkloadIdentity::from_variables(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    Surroundings {
        clock: Arc::new(SystemClock::new()),
        proxy: ProxySettings::default(),
        identity,
    }
}

fn identity_in(
    variables: &[(&str, &str)],
    cloud: Cloud,
    identity: AzureIdentity,
) -> Result<Identity, Mistake> {
    let auth = AzureAuth {
        cloud,
        scope: None,
        identity,
    };
    let config = HttpSink::new("https://h/".to_owned());
    Identity::new(&surroundings(variables), "a", &config, &auth)
}

fn secret_identity(cloud: Cloud, secret: &str) -> Identity {
    let identity = AzureIdentity::ClientSecret {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        secret: Secret::Literal(secret.to_owned()),
        authority: None,
    };
    identity_in(&[], cloud, identity).unwrap()
}

fn workload(token_file: Option<PathBuf>) -> AzureIdentity {
    AzureIdentity::Workload {
        tenant_id: None,
        client_id: None,
        token_file,
        authority: None,
    }
}

fn body(identity: &Identity) -> String {
    let (method, outgoing, _) = identity.request().unwrap();
    assert_eq!(method, Method::POST);
    String::from_utf8(outgoing.body.to_vec()).unwrap()
}

#[test]
fn a_secret_is_sent_as_a_form_to_the_cloud_s_authority() {
    let identity = secret_identity(Cloud::Public, "a b&c=~\u{E9}");
    assert_eq!(
        identity.what,
        "https://login.microsoftonline.com/tenant/oauth2/v2.0/token"
    );
    assert_eq!(
        body(&identity),
        "grant_type=client_credentials&client_id=client&\
         scope=https%3A%2F%2Fmonitor.azure.com%2F%2F.default&client_secret=a%20b%26c%3D~%C3%A9"
    );
    let identity = secret_identity(Cloud::China, "s");
    assert!(identity.what.starts_with("https://login.chinacloudapi.cn/"));
    assert!(body(&identity).contains("monitor.azure.cn%2F%2F.default"));
    let identity = secret_identity(Cloud::Government, "s");
    assert!(
        identity
            .what
            .starts_with("https://login.microsoftonline.us/")
    );
    assert!(body(&identity).contains("monitor.azure.us%2F%2F.default"));
}

#[test]
fn a_machine_asks_for_a_resource() {
    assert_eq!(
        metadata_url(METADATA_ORIGIN, Cloud::Public.scope(), ""),
        "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01\
         &resource=https%3A%2F%2Fmonitor.azure.com"
    );
    assert!(
        metadata_url("http://h", "api://x/.default", "c-1")
            .ends_with("resource=api%3A%2F%2Fx&client_id=c-1")
    );
    let identity = AzureIdentity::Managed {
        client_id: None,
        endpoint: None,
    };
    let identity = identity_in(&[], Cloud::Public, identity).unwrap();
    let (method, outgoing, _) = identity.request().unwrap();
    assert_eq!(method, Method::GET);
    assert_eq!(outgoing.headers["metadata"], "true");
    assert!(outgoing.body.is_empty());
}

#[test]
fn what_is_not_given_is_taken_from_the_webhook_s_variables_and_the_file_is_read_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let variables = [
        ("AZURE_TENANT_ID", "t1"),
        ("AZURE_CLIENT_ID", "c1"),
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", "https://login.example/"),
    ];
    let identity = identity_in(&variables, Cloud::Public, workload(None)).unwrap();
    assert_eq!(identity.what, "https://login.example/t1/oauth2/v2.0/token");
    let failure = identity.request().unwrap_err();
    assert_eq!((failure.code, failure.pause), ("credentials", true));
    assert!(failure.text.contains(file.to_str().unwrap()), "{failure:?}");
    for token in ["one.jwt", "two.jwt"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let body = body(&identity);
        let assertion = format!(
            "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion={token}"
        );
        assert!(
            body.starts_with("grant_type=client_credentials&client_id=c1&scope="),
            "{body}"
        );
        assert!(body.ends_with(&assertion), "{body}");
    }
    let problem = identity_in(&variables[1..], Cloud::Public, workload(Some(file.clone())));
    let problem = problem.err().unwrap().of("a").to_string();
    assert!(
        problem.contains("azure_auth.workload_identity.tenant_id"),
        "{problem}"
    );
    assert!(problem.contains("AZURE_TENANT_ID"), "{problem}");
}

fn life(answer: &str, now: SystemTime) -> Result<u64, String> {
    granted(answer.as_bytes(), now).map(|granted| granted.life.as_secs())
}

#[test]
fn a_token_s_life_is_read_in_every_form_and_never_longer_than_it_is() {
    let table = [
        (
            r#"{"access_token":"t","token_type":"Bearer","expires_in":3599}"#,
            0,
            Ok(3599),
        ),
        (
            r#"{"access_token":"t","token_type":"bearer","expires_in":"100","expires_on":"1050"}"#,
            1000,
            Ok(50),
        ),
        (
            r#"{"access_token":"t","expires_in":"100","expires_on":"9999"}"#,
            1000,
            Ok(100),
        ),
        // By this clock the token expired long ago: the clock is wrong.
        (
            r#"{"access_token":"t","expires_in":"100","expires_on":"1"}"#,
            1000,
            Ok(100),
        ),
        (r#"{"access_token":"t","expires_on":"1050"}"#, 1000, Ok(50)),
        (
            r#"{"access_token":"t","expires_on":"1000"}"#,
            1000,
            Err("how long it lives"),
        ),
        (
            r#"{"access_token":"t","expires_in":99999999999999999999}"#,
            0,
            Err("how long it lives"),
        ),
        (
            r#"{"access_token":"t","expires_in":999999999}"#,
            0,
            Ok(86_400),
        ),
        (
            r#"{"access_token":"t","expires_in":0}"#,
            0,
            Err("how long it lives"),
        ),
        (r#"{"access_token":"t"}"#, 0, Err("how long it lives")),
        (
            r#"{"access_token":"","expires_in":9}"#,
            0,
            Err("has 0 bytes"),
        ),
        (
            r#"{"access_token":"a\nb","expires_in":9}"#,
            0,
            Err("characters"),
        ),
        (
            r#"{"access_token":"t","token_type":"mac","expires_in":9}"#,
            0,
            Err("not Bearer"),
        ),
        (r#"{"token":"secret"}"#, 0, Err("no token response")),
        ("<html>", 0, Err("no token response")),
    ];
    reads(&table);
    let long = format!(
        r#"{{"access_token":"{}","expires_in":9}}"#,
        "x".repeat(TOKEN_BYTES_MAX + 1)
    );
    assert!(life(&long, NOW).unwrap_err().contains("32769 bytes"));
}

/// Each answer, at that many seconds, gives a token that lives that long, or is refused with these words.
fn reads(table: &[(&str, u64, Result<u64, &str>)]) {
    for &(answer, now, wanted) in table {
        let found = life(answer, NOW + Duration::from_secs(now));
        match wanted {
            Ok(wanted) => assert_eq!(found, Ok(wanted), "{answer}"),
            Err(words) => {
                let problem = found.unwrap_err();
                assert!(problem.contains(words), "{answer}: {problem}");
                assert!(!problem.contains("secret"), "{problem}");
            }
        }
    }
}

fn refusal(identity: &Identity, status: u16, body: &str) -> Refusal {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "9".parse().unwrap());
    let called = Called {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.as_bytes().to_vec(),
        at: NOW,
    };
    let shown = hidden(called.body.clone(), "hunter2");
    identity.read(&called, &shown).err().unwrap()
}

#[test]
fn a_refusal_shows_the_error_and_no_secret() {
    let identity = secret_identity(Cloud::Public, "hunter2");
    let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret hunter2 provided.\r\nTrace ID: 1","error_codes":[7000215]}"#;
    let Refusal { failure, after } = refusal(&identity, 401, body);
    assert_eq!(
        failure,
        Failure::lasting(
            "token_refused",
            "cannot get a token from https://login.microsoftonline.com/tenant/oauth2/v2.0/token: \
             401 Unauthorized: invalid_client: AADSTS7000215: Invalid client secret (hidden) provided."
        )
    );
    assert_eq!(after, Some(Duration::from_secs(9)));
}

#[test]
fn what_passes_is_told_from_what_lasts() {
    let application = secret_identity(Cloud::Public, "s");
    let identity = AzureIdentity::Managed {
        client_id: None,
        endpoint: None,
    };
    let machine = identity_in(&[], Cloud::Public, identity).unwrap();
    let lasts = |identity: &Identity, status| refusal(identity, status, "").failure.pause;
    for status in [408, 429, 500, 503, 599] {
        assert!(
            !lasts(&application, status) && !lasts(&machine, status),
            "{status}"
        );
    }
    for status in [301, 400, 401, 403, 405] {
        assert!(
            lasts(&application, status) && lasts(&machine, status),
            "{status}"
        );
    }
    for status in [404, 410] {
        assert!(
            lasts(&application, status) && !lasts(&machine, status),
            "{status}"
        );
    }
    let busy = refusal(&application, 400, r#"{"error":"temporarily_unavailable"}"#);
    assert!(!busy.failure.pause);
    let wrong = refusal(&application, 200, "{}");
    assert!(!wrong.failure.pause);
}
