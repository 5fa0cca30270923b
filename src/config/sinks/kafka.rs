//! Type `kafka`: messages to brokers of Kafka's protocol, Azure Event Hubs among them. Most of it may be secret: no
//! value is shown in a mistake that could be one.

mod names;

use super::http;
use crate::config::keys::{HOUR, Key, Known, MIB, MINUTE, Number, SECOND, common, key};
use crate::config::mistake::Report;
use crate::config::render::{Page, quoted};
use crate::config::secret::{SECRET, Secret, secret};
use crate::config::walk::{Section, is_name};
use crate::config::yaml::Value;
use crate::config::{Sink, SinkKind, Tls};

pub use self::names::{Address, Topic};

/// Messages to a Kafka topic.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSink {
    /// The brokers to begin with; these tell the others.
    pub bootstrap_servers: Vec<Address>,
    /// Where messages go.
    pub topic: Topic,
    /// Where those of samples go, if there are any.
    pub metrics_topic: Option<String>,
    /// TLS, and trust; `None`: in the clear.
    pub tls: Option<Tls>,
    /// How to authenticate.
    pub sasl: Sasl,
    /// Most records of one message, all of one container.
    pub records_per_message: u32,
    /// Most bytes of one batch and of one request.
    pub message_bytes_max: usize,
    /// Limit on connecting, TLS and SASL included.
    pub connect_timeout_ms: u64,
    /// Limit on one request.
    pub request_timeout_ms: u64,
    /// A connection that has been idle for longer is not used again.
    pub keep_alive_ms: u64,
    /// What is known of topics is asked for again when it is this old.
    pub metadata_age_max_ms: u64,
}

impl Default for KafkaSink {
    /// Without brokers and in the clear; bounds and times as Azure Event Hubs advise them.
    fn default() -> KafkaSink {
        KafkaSink {
            bootstrap_servers: Vec::new(),
            topic: Topic::default(),
            metrics_topic: None,
            tls: None,
            sasl: Sasl::None,
            records_per_message: 1,
            message_bytes_max: 1_000_000,
            connect_timeout_ms: 10_000,
            request_timeout_ms: 60_000,
            keep_alive_ms: 180_000,
            metadata_age_max_ms: 180_000,
        }
    }
}

/// How to authenticate to a broker.
#[derive(Clone, Debug, PartialEq)]
pub enum Sasl {
    /// Not at all (or by the client certificate of TLS).
    None,
    /// PLAIN: the password goes to the broker.
    Plain {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// SCRAM: broker and agent prove to each other that they know the password.
    Scram {
        /// Which.
        hash: ScramHash,
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// OAUTHBEARER: a token.
    Bearer {
        /// The token.
        token: Secret,
    },
}

/// The hash of SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// Most brokers to begin with.
const SERVERS_MAX: usize = 64;

/// The user name of Event Hubs that says that the password is a connection string.
const CONNECTION_STRING_USER: &str = "$ConnectionString";

/// Without numbers.
static KEYS: [Key; 6] = [
    key("bootstrap_servers", "a list of HOST:PORT"),
    key(
        "topic",
        "a name of a-z, A-Z, 0-9, '.', '_' and '-', perhaps with {namespace} in it once",
    ),
    key(
        "metrics_topic",
        "a name of a-z, A-Z, 0-9, '.', '_' and '-', or null",
    ),
    key("tls", "true, false, or a mapping"),
    key("sasl", "a mapping with mechanism and what that needs"),
    key("event_hubs", "a mapping with connection_string"),
];

/// Numbers of type `kafka`.
static NUMBERS: [Number<KafkaSink>; 6] = [
    Number::new(
        "records_per_message",
        (1, 10_000),
        |kafka| u64::from(kafka.records_per_message),
        |kafka, value| kafka.records_per_message = u32::try_from(value).unwrap_or(u32::MAX),
    ),
    Number::new(
        "message_bytes_max",
        (16 * 1024, 64 * MIB),
        |kafka| kafka.message_bytes_max as u64,
        |kafka, value| kafka.message_bytes_max = value as usize,
    ),
    Number::new(
        "connect_timeout_ms",
        (100, MINUTE),
        |kafka| kafka.connect_timeout_ms,
        |kafka, value| kafka.connect_timeout_ms = value,
    ),
    Number::new(
        "request_timeout_ms",
        (100, 10 * MINUTE),
        |kafka| kafka.request_timeout_ms,
        |kafka, value| kafka.request_timeout_ms = value,
    ),
    Number::new(
        "keep_alive_ms",
        (0, HOUR),
        |kafka| kafka.keep_alive_ms,
        |kafka, value| kafka.keep_alive_ms = value,
    ),
    Number::new(
        "metadata_age_max_ms",
        (SECOND, HOUR),
        |kafka| kafka.metadata_age_max_ms,
        |kafka, value| kafka.metadata_age_max_ms = value,
    ),
];

/// `sasl`.
static SASL: [Key; 4] = [
    key(
        "mechanism",
        "plain, scram_sha_256, scram_sha_512 or oauthbearer",
    ),
    key("user", "a text, with plain and scram"),
    key("password", SECRET),
    key("token", SECRET),
];

/// `event_hubs`.
static EVENT_HUBS: [Key; 1] = [key("connection_string", SECRET)];

/// The keys of the type alone.
pub fn keys() -> Known {
    Known::of(&KEYS).numbers(&NUMBERS)
}

/// All its keys: one payload is under way at a time, and that is not for configuration to say.
pub(super) fn all_keys() -> Known {
    common()
        .only(|name| name != "requests_in_flight")
        .and(keys())
}

/// The keys of the mappings under them: `sasl`, `event_hubs`.
pub fn inner_keys() -> [(&'static str, Known); 2] {
    [
        ("sinks.NAME.sasl", Known::of(&SASL)),
        ("sinks.NAME.event_hubs", Known::of(&EVENT_HUBS)),
    ]
}

/// A second payload under way could overtake what the first has to send again.
pub(super) fn preset(sink: &mut Sink) {
    sink.limits.requests_in_flight = 1;
}

/// Fills in `sink`.
pub(super) fn check(section: &Section<'_>, sink: &mut KafkaSink, report: &mut Report) {
    section.numbers(&NUMBERS, sink, report);
    servers(section, sink, report);
    match section.field("topic") {
        None => section.missing("topic", report),
        Some(field) => match field.text().and_then(Topic::parse) {
            Some(topic) => sink.topic = topic,
            None => field.refuse(report),
        },
    }
    if let Some(field) = section.field("metrics_topic")
        && !field.is_null()
    {
        let plain = |text: &&str| !text.contains('{') && Topic::parse(text).is_some();
        match field.text().filter(plain) {
            Some(topic) => sink.metrics_topic = Some(topic.to_owned()),
            None => field.refuse(report),
        }
    }
    let event_hubs = event_hubs(section, sink, report);
    tls(section, sink, event_hubs, report);
    if event_hubs {
        if let Some(entry) = section.entry("sasl") {
            let path = format!("{}.sasl", section.path);
            let text = "found beside event_hubs, which says it already; allowed is one of them";
            report.add(entry.place, &path, text);
        }
        let compression = section.field("compression");
        if compression.is_some_and(|field| field.text() == Some("zstd")) {
            let text = "found zstd, which Event Hubs do not take; allowed is none or gzip";
            section.add("compression", report, text);
        }
    } else {
        sasl(section, sink, report);
    }
}

/// What of every sink's keys needs one of this one.
pub(super) fn check_whole(section: &Section<'_>, sink: &Sink, report: &mut Report) {
    if let SinkKind::Kafka(own) = &sink.kind
        && sink.signals.metrics
        && own.metrics_topic.is_none()
    {
        let text = "has metrics, which need a topic: set metrics_topic";
        section.add("signals", report, text);
    }
}

fn servers(section: &Section<'_>, sink: &mut KafkaSink, report: &mut Report) {
    let Some(field) = section.field("bootstrap_servers") else {
        return section.missing("bootstrap_servers", report);
    };
    let Value::List(items) = &field.node.value else {
        return field.refuse(report);
    };
    if items.is_empty() || items.len() > SERVERS_MAX {
        let text = format!("found {}; allowed are 1 to {SERVERS_MAX}", items.len());
        return report.add(field.place, &field.path, text);
    }
    sink.bootstrap_servers.clear();
    for item in items {
        let text = match &item.value {
            Value::Scalar(scalar) => scalar.text.as_str(),
            Value::Refused => continue,
            _ => "",
        };
        match Address::parse(text) {
            Some(address) => sink.bootstrap_servers.push(address),
            None => {
                let found = crate::config::walk::found(item);
                let text = format!("found {found}; allowed is HOST:PORT, without a scheme");
                report.add(item.place, &field.path, text);
            }
        }
    }
}

/// Whether it is there.
fn event_hubs(section: &Section<'_>, sink: &mut KafkaSink, report: &mut Report) -> bool {
    let Some(inner) = section.section("event_hubs", Known::of(&EVENT_HUBS), report) else {
        return false;
    };
    match inner.field("connection_string") {
        None => inner.missing("connection_string", report),
        Some(field) => {
            if let Some(password) = secret(&field, report) {
                let user = CONNECTION_STRING_USER.to_owned();
                sink.sasl = Sasl::Plain { user, password };
            }
        }
    }
    true
}

fn tls(section: &Section<'_>, sink: &mut KafkaSink, event_hubs: bool, report: &mut Report) {
    let field = section.field("tls");
    let is_map = |value: &Value| matches!(value, Value::Map(_));
    match &field {
        None => sink.tls = event_hubs.then(Tls::default),
        Some(field) if is_map(&field.node.value) => {
            sink.tls = Some(http::tls_files(section, report));
        }
        Some(_) => {
            if let Some(on) = section.switch("tls", report) {
                sink.tls = on.then(Tls::default);
            }
        }
    }
    if event_hubs && sink.tls.is_none() && field.is_some() {
        let text = "Event Hubs take nothing without TLS; leave it out, or true";
        section.add("tls", report, text);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mechanism {
    Plain,
    Scram(ScramHash),
    Bearer,
}

const MECHANISMS: [(&str, Mechanism); 4] = [
    ("plain", Mechanism::Plain),
    ("scram_sha_256", Mechanism::Scram(ScramHash::Sha256)),
    ("scram_sha_512", Mechanism::Scram(ScramHash::Sha512)),
    ("oauthbearer", Mechanism::Bearer),
];

fn sasl(section: &Section<'_>, sink: &mut KafkaSink, report: &mut Report) {
    let Some(inner) = section.section("sasl", Known::of(&SASL), report) else {
        return;
    };
    if inner.entry("mechanism").is_none() {
        inner.missing("mechanism", report);
    }
    let Some(mechanism) = inner.choice("mechanism", &MECHANISMS, report) else {
        return;
    };
    let (wanted, others): (&[&str], &[&str]) = match mechanism {
        Mechanism::Bearer => (&["token"], &["user", "password"]),
        _ => (&["user", "password"], &["token"]),
    };
    for key in wanted {
        if inner.entry(key).is_none() {
            inner.missing(key, report);
        }
    }
    for key in others {
        if inner.entry(key).is_some() {
            let text = format!("has no meaning here; needed is {}", wanted.join(" and "));
            inner.add(key, report, text);
        }
    }
    let secret_of = |key: &str, report: &mut Report| {
        let field = inner.field(key)?;
        secret(&field, report)
    };
    if mechanism == Mechanism::Bearer {
        if let Some(token) = secret_of("token", report) {
            sink.sasl = Sasl::Bearer { token };
        }
        return;
    }
    let password = secret_of("password", report);
    let user = inner.field("user");
    let user = user.and_then(|field| match field.text().filter(|text| is_name(text)) {
        Some(user) => Some(user.to_owned()),
        None => field.wrong_hidden(report),
    });
    let (Some(user), Some(password)) = (user, password) else {
        return;
    };
    sink.sasl = match mechanism {
        Mechanism::Scram(hash) => Sasl::Scram {
            hash,
            user,
            password,
        },
        _ => Sasl::Plain { user, password },
    };
}

/// Writes it out.
pub(super) fn render(sink: &KafkaSink, page: &mut Page) {
    let servers = sink.bootstrap_servers.iter();
    let servers: Vec<String> = servers.map(|server| quoted(&server.to_string())).collect();
    page.raw("bootstrap_servers", format!("[{}]", servers.join(", ")));
    page.scalar("topic", &sink.topic.to_string());
    page.scalar_or_null("metrics_topic", sink.metrics_topic.as_deref());
    match &sink.tls {
        None => page.raw("tls", "false"),
        Some(tls) => http::render_tls(tls, page),
    }
    render_sasl(&sink.sasl, page);
    page.numbers(&NUMBERS, sink);
}

fn render_sasl(sasl: &Sasl, page: &mut Page) {
    let mechanism = match sasl {
        Sasl::None => return,
        Sasl::Plain { .. } => Mechanism::Plain,
        Sasl::Scram { hash, .. } => Mechanism::Scram(*hash),
        Sasl::Bearer { .. } => Mechanism::Bearer,
    };
    let word = MECHANISMS.iter().find(|(_, known)| *known == mechanism);
    page.open("sasl");
    page.raw("mechanism", word.map_or("", |(word, _)| word));
    match sasl {
        Sasl::None => {}
        Sasl::Plain { user, password } | Sasl::Scram { user, password, .. } => {
            page.scalar("user", user);
            page.secret("password", password);
        }
        Sasl::Bearer { token } => page.secret("token", token),
    }
    page.close();
}

#[cfg(test)]
mod tests;
