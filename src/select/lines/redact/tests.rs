use proptest::prelude::*;

use super::*;
use crate::config::lines::MessagePattern;
use crate::select::lines::sieve::Sieve;

fn redactor(own: &[OwnRedaction]) -> (Redactor, Sieve) {
    let redactor = Redactor::new(&Detector::ALL, own, 1);
    let sieve = Sieve::new(&redactor.needs(own));
    (redactor, sieve)
}

/// The message as it is sent: the way of the pipeline, sieve included.
fn redacted_by(own: &[OwnRedaction], message: &[u8], is_cut: bool) -> Vec<u8> {
    let (redactor, sieve) = redactor(own);
    let mut room = Room::default();
    let marks = match is_cut {
        true => redactor.marks(),
        false => sieve.marks(message, &mut Vec::new()),
    };
    match marks != 0 && redactor.redact(message, marks, is_cut, &mut room) {
        true => room.masked,
        false => message.to_vec(),
    }
}

fn redacted(message: &str) -> String {
    String::from_utf8(redacted_by(&[], message.as_bytes(), false)).unwrap()
}

fn own(name: &str, pattern: &str) -> OwnRedaction {
    OwnRedaction {
        name: name.to_owned(),
        pattern: MessagePattern::new(pattern).unwrap(),
    }
}

/// What each detector makes of a message; `*` stands for its mask.
#[test]
fn detectors_hide_what_is_secret_and_nothing_else() {
    for (detector, message, wanted) in [
        (
            "url_credentials",
            "GET https://u:p@h/x?y=a",
            "GET https://*@h/x?y=a",
        ),
        (
            "url_credentials",
            "amqp://user:a@b:c@host:5672",
            "amqp://*@host:5672",
        ),
        (
            "url_credentials",
            r#"{"u":"https:\/\/u:p@h\/x"}"#,
            r#"{"u":"https:\/\/*@h\/x"}"#,
        ),
        (
            "url_credentials",
            "https://h:80/x and https://u@h/",
            "https://h:80/x and https://u@h/",
        ),
        (
            "secret_values",
            "user=bob password=hunter2 x=1",
            "user=bob password=* x=1",
        ),
        (
            "secret_values",
            "DB_PASSWORD: 'a b' next",
            "DB_PASSWORD: '*' next",
        ),
        (
            "secret_values",
            r#"api_key="a\"b c" next"#,
            r#"api_key="*" next"#,
        ),
        (
            "secret_values",
            r#"{"clientSecret": "a\"b", "n": 1}"#,
            r#"{"clientSecret": "*", "n": 1}"#,
        ),
        (
            "secret_values",
            r#"{"m":"{\"token\":\"a\\\"b\"}"}"#,
            r#"{"m":"{\"token\":\"*\"}"}"#,
        ),
        (
            "secret_values",
            r#"{"m":"token=abc\nnext \"q\""}"#,
            r#"{"m":"token=*\nnext \"q\""}"#,
        ),
        (
            "secret_values",
            r#"{"token":12345,"ok":true}"#,
            r#"{"token":null,"ok":true}"#,
        ),
        (
            "secret_values",
            r#"{"token":true,"passwords":null}"#,
            r#"{"token":true,"passwords":null}"#,
        ),
        ("secret_values", "secret := x", "secret := *"),
        ("secret_values", "secret => x", "secret => *"),
        (
            "secret_values",
            "the token is here, a secret too",
            "the token is here, a secret too",
        ),
        (
            "bearer_tokens",
            "Authorization: Bearer abcdefgh.ijk",
            "Authorization: Bearer *",
        ),
        (
            "bearer_tokens",
            "authorization: basic dXNlcjpwYXNz",
            "authorization: basic *",
        ),
        ("bearer_tokens", "bearer of news", "bearer of news"),
        ("jwt", "x eyJhbGciOiJI.eyJzdWIi.c2ln y", "x * y"),
        ("jwt", "eyJ is not one", "eyJ is not one"),
        ("aws_keys", "id AKIAIOSFODNN7EXAMPLE.", "id *."),
        ("aws_keys", "AKIA and ASIA", "AKIA and ASIA"),
        (
            "private_keys",
            "x -----BEGIN RSA PRIVATE KEY-----\nab\n-----END RSA PRIVATE KEY----- y",
            "x * y",
        ),
        ("private_keys", "-----BEGIN PRIVATE KEY-----\nMII", "*"),
        (
            "private_keys",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----",
        ),
        ("cards", "card 4111111111111111 ok", "card * ok"),
        (
            "cards",
            "on 2024-01-01 4111 1111 1111 1111.",
            "on 2024-01-01 *.",
        ),
        ("cards", "3782-822463-10005", "*"),
        ("cards", r#"{"n":4111111111111111}"#, r#"{"n":null}"#),
        (
            "cards",
            "4111111111111112 1700000000000 41111111111111111111",
            "",
        ),
        ("emails", "to <jo.doe+x@mail.example.org>, ok", "to <*>, ok"),
        ("emails", "user@host and @user and a@b.1", ""),
    ] {
        let detector = Detector::ALL
            .into_iter()
            .find(|it| it.as_str() == detector)
            .unwrap();
        let redactor = Redactor::new(&[detector], &[], 1);
        let sieve = Sieve::new(&redactor.needs(&[]));
        let mut room = Room::default();
        let marks = sieve.marks(message.as_bytes(), &mut Vec::new());
        let hit = redactor.redact(message.as_bytes(), marks, false, &mut room);
        let found = match hit {
            true => String::from_utf8(room.masked).unwrap(),
            false => message.to_owned(),
        };
        let mask = format!("[REDACTED:{}]", detector.as_str());
        let wanted = if wanted.is_empty() { message } else { wanted };
        assert_eq!(found, wanted.replace('*', &mask), "{message}");
    }
}

#[test]
fn own_expressions_hide_their_group_or_all() {
    let own = [
        own("staff", r"EMP-(\d+)"),
        own("whole", "code [a-z]+"),
        own("either", "(?:left (\\d)|right (\\d))"),
    ];
    let found = redacted_by(&own, b"EMP-123 code xyz EMP-4 left 1 right 2", false);
    assert_eq!(
        String::from_utf8(found).unwrap(),
        "EMP-[REDACTED:staff] [REDACTED:whole] EMP-[REDACTED:staff] \
         left [REDACTED:either] right [REDACTED:either]"
    );
}

#[test]
fn a_secret_at_the_end_of_a_cut_message_is_hidden_as_far_as_it_goes() {
    for message in [
        "x AKIAIOSF",
        "x eyJhbGci",
        "x https://u:pass",
        "card 41111111111",
        "Bearer abc",
        "mail jo.doe@exa",
    ] {
        let found = redacted_by(&[], message.as_bytes(), true);
        let found = String::from_utf8(found).unwrap();
        let last = message.rsplit([' ', '/']).next().unwrap();
        assert!(!found.contains(last), "{message}: {found}");
    }
}

#[test]
fn the_mask_does_not_tell_how_long_the_secret_was() {
    let short = redacted("password=a next");
    assert_eq!(
        redacted(&format!("password={} next", "a".repeat(200))),
        short
    );
}

#[test]
fn a_message_of_nothing_but_short_secrets_is_hidden_whole() {
    let own = [own("pair", "x")];
    let message = "xy".repeat(2_000);
    assert_eq!(
        redacted_by(&own, message.as_bytes(), false),
        b"[REDACTED:pair]"
    );
    let message = format!("{{\"a\":\"{message}\"}}");
    assert_eq!(
        redacted_by(&own, message.as_bytes(), false),
        b"\"[REDACTED:pair]\""
    );
}

/// A secret in a form in which it is written, and the bytes of it that must not be seen.
fn planted() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let value = || {
        proptest::collection::vec(0x80_u8..=0xff, 8..40).prop_map(|mut bytes| {
            for (at, byte) in bytes.iter_mut().enumerate() {
                if at % 2 == 0 {
                    *byte = b'A' + *byte % 26;
                }
            }
            bytes
        })
    };
    let form = |before: &'static str, behind: &'static str| {
        move |secret: Vec<u8>| {
            (
                [before.as_bytes(), &secret, behind.as_bytes()].concat(),
                secret,
            )
        }
    };
    let text = |pattern: &'static str| pattern.prop_map(String::into_bytes);
    prop_oneof![
        value().prop_map(form("password=", " ")),
        value().prop_map(form("\"api_key\":\"", "\",")),
        value().prop_map(form("TOKEN: ", "\t")),
        value().prop_map(form("{\\\"secret\\\":\\\"", "\\\"}")),
        text("[A-Z]{4,12}:[A-Z#]{8,20}")
            .prop_map(|it| it.into_iter().filter(|byte| *byte != b'#').collect())
            .prop_map(form("https://", "@host/")),
        text("[A-Za-z0-9+/]{16,40}={0,2}").prop_map(form("Bearer ", " ")),
        text("eyJ[A-Za-z0-9_-]{12,30}\\.[A-Za-z0-9_-]{12,30}\\.[A-Za-z0-9_-]{12,30}")
            .prop_map(form("", " ")),
        text("AKIA[A-Z0-9]{16}").prop_map(form("", " ")),
        text("[A-Za-z0-9+/\n]{20,60}").prop_map(form(
            "-----BEGIN EC PRIVATE KEY-----",
            "-----END EC PRIVATE KEY-----"
        )),
        Just(b"5555 5555 5555 4444".to_vec()).prop_map(form("<", ">")),
        text("[a-z]{8,12}@[a-z]{8,12}\\.[a-z]{2,4}").prop_map(form("<", ">")),
    ]
}

fn around() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z .,=:{}\"\\\\@/-]{0,40}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Every run of so many bytes of a secret counts as a leak.
const LEAK_BYTES: usize = 6;

proptest! {
    /// Invariant: wherever a secret stands, in text of any bytes, no part of it is left.
    #[test]
    fn nothing_of_a_planted_secret_is_left(
        before in around(),
        (written, secret) in planted(),
        behind in around(),
    ) {
        // A blank: what goes on in other words is another secret, or none.
        let message = [before.as_slice(), b" ", &written, b" ", &behind].concat();
        let found = redacted_by(&[], &message, false);
        for part in secret.windows(LEAK_BYTES) {
            let elsewhere = [before.as_slice(), &behind].iter()
                .any(|around| memchr::memmem::find(around, part).is_some());
            prop_assert!(
                elsewhere || memchr::memmem::find(&found, part).is_none(),
                "{:?} is left in {:?}", part.escape_ascii().to_string(), found.escape_ascii().to_string()
            );
        }
    }

    /// Invariant: what is JSON stays JSON, with the same shape but for what is masked, whatever own expressions match.
    #[test]
    fn json_stays_json(
        keys in proptest::collection::vec("[a-z]{1,4}|token|password", 1..5),
        texts in proptest::collection::vec("\\PC{0,20}|(password=|eyJ)[a-z\"\\\\\n. ]{0,20}|[0-9]{13,16}", 1..5),
        pattern in "[a-z0-9\"]{1,2}(.*|.)|\\PC{1,3}|\\[0-9\\]+|[:,{}\"]+",
    ) {
        let mut object = serde_json::Map::new();
        for (at, (key, text)) in keys.iter().zip(&texts).enumerate() {
            let value = match (at % 3, text.parse::<u64>()) {
                (_, Ok(number)) => serde_json::json!([number, -1.5e3]),
                (0, _) => serde_json::json!({"inner": text, "n": 4_111_111_111_111_111_u64}),
                _ => serde_json::json!(text),
            };
            object.insert(key.clone(), value);
        }
        let message = serde_json::Value::Object(object).to_string();
        let mut own_patterns = Vec::new();
        if let Ok(pattern) = MessagePattern::new(&pattern) {
            own_patterns.push(OwnRedaction { name: "own".to_owned(), pattern });
        }
        let found = redacted_by(&own_patterns, message.as_bytes(), false);
        let read: Result<serde_json::Value, _> = serde_json::from_slice(&found);
        prop_assert!(read.is_ok(), "{} became {}", message, String::from_utf8_lossy(&found));
    }

    /// Invariant: any bytes are read, by all detectors, cut or not.
    #[test]
    fn any_bytes_are_read(
        message in "(://|@|:|=|password|token|\"|\\\\|eyJ|AKIA|-----BEGIN |PRIVATE KEY-----|[0-9]{4}[ -]?|Bearer |[a-z\\x{80}-\\x{ff} ]){0,30}",
        is_cut: bool,
    ) {
        redacted_by(&[], message.as_bytes(), is_cut);
    }
}
