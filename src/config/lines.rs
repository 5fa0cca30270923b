//! Which records are wanted, and what is hidden in them; the same section under `logs` and under each sink.
//!
//! Invariant: a [`MessagePattern`] is known to compile, and all of one section together stay below
//! [`PATTERNS_BYTES_MAX`].

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use crate::record::Level;

/// Largest automata of one section, in bytes.
pub const PATTERNS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most entries of `include` and of `exclude`.
pub const PATTERNS_MAX: usize = 64;
/// Most entries of `redact_patterns`.
pub const OWN_REDACTIONS_MAX: usize = 32;
/// What one search may remember of an automaton, per worker and compiled set of patterns.
pub const CACHE_BYTES_MAX: usize = 256 * 1024;
/// By its masks a message may become so many times as long, and a few more bytes; one that would is hidden whole.
pub const MASKED_FACTOR_MAX: usize = 4;
/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;

/// The section.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// Less urgent records are not wanted.
    pub min_level: Option<Level>,
    /// Whether records that state no level pass `min_level`.
    pub keep_unknown: bool,
    /// If not empty: only messages that one of these matches.
    pub include: Vec<MessagePattern>,
    /// No messages that one of these matches.
    pub exclude: Vec<MessagePattern>,
    /// The share of records that is wanted, 0 to 1.
    pub sample: f64,
    /// Records that are at least so urgent are wanted all.
    pub sample_keep_level: Option<Level>,
    /// What is hidden.
    pub redact: Vec<Detector>,
    /// What else is hidden.
    pub redact_patterns: Vec<OwnRedaction>,
    /// How much may be sent.
    pub rate: RateLimits,
    /// The same message again within this time is counted and not sent; 0: it is sent.
    pub repeats_window_ms: u64,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            min_level: None,
            keep_unknown: true,
            include: Vec::new(),
            exclude: Vec::new(),
            sample: 1.0,
            sample_keep_level: Some(Level::Error),
            redact: Vec::new(),
            redact_patterns: Vec::new(),
            rate: RateLimits::default(),
            repeats_window_ms: 0,
        }
    }
}

impl Lines {
    /// All patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &MessagePattern> {
        let own = self.redact_patterns.iter().map(|own| &own.pattern);
        self.include.iter().chain(&self.exclude).chain(own)
    }

    /// What the automata take at most: each by itself, and those of `include` and of `exclude` together.
    pub fn automata_bytes(&self) -> u64 {
        let each: usize = self.patterns().map(MessagePattern::memory_bytes).sum();
        2 * each as u64
    }

    /// What one worker's searches remember at most. A search that has to say where a match begins goes both ways.
    pub fn caches_bytes(&self) -> u64 {
        let sets = [&self.include, &self.exclude];
        let sets = sets.into_iter().filter(|set| !set.is_empty()).count();
        ((sets + 2 * self.redact_patterns.len()) * CACHE_BYTES_MAX) as u64
    }
}

/// Bytes of log file and lines per second; 0: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Bytes per second.
    pub bytes: u64,
    /// Lines per second.
    pub lines: u64,
}

impl Rate {
    /// Whether nothing is limited.
    pub const fn is_unlimited(self) -> bool {
        self.bytes == 0 && self.lines == 0
    }

    /// The lower of two, each in bytes and in lines.
    #[must_use]
    pub fn lower(self, other: Rate) -> Rate {
        let lower = |a: u64, b: u64| match (a, b) {
            (0, other) | (other, 0) => other,
            (a, b) => a.min(b),
        };
        Rate {
            bytes: lower(self.bytes, other.bytes),
            lines: lower(self.lines, other.lines),
        }
    }
}

/// How much one sink is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Of each pod.
    pub pod: Rate,
    /// Of each namespace, on this node.
    pub namespace: Rate,
    /// So many milliseconds' worth may come at once.
    pub burst_ms: u64,
    /// More unread bytes of one container than this are thinned out, the least urgent records first.
    pub backlog_bytes_max: u64,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        RateLimits {
            pod: Rate::default(),
            namespace: Rate::default(),
            burst_ms: 5_000,
            backlog_bytes_max: 8 * 1024 * 1024,
        }
    }
}

/// What is found and hidden in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detector {
    /// `user:password@` in a URL (RFC 3986, section 3.2.1).
    UrlCredentials,
    /// The values of `password=`, `secret=`, `token=`, `api_key=` and their likes.
    SecretValues,
    /// What follows `Bearer` (RFC 6750) or `Basic` (RFC 7617).
    BearerTokens,
    /// JSON Web Tokens (RFC 7519).
    Jwt,
    /// Access key ids of AWS.
    AwsKeys,
    /// PEM blocks of private keys (RFC 7468).
    PrivateKeys,
    /// Numbers of payment cards (ISO/IEC 7812).
    Cards,
    /// E-mail addresses.
    Emails,
}

impl Detector {
    /// All of them, in index order.
    pub const ALL: [Detector; 8] = [
        Detector::UrlCredentials,
        Detector::SecretValues,
        Detector::BearerTokens,
        Detector::Jwt,
        Detector::AwsKeys,
        Detector::PrivateKeys,
        Detector::Cards,
        Detector::Emails,
    ];

    /// What [`Detector::named`] takes.
    pub const NAMES: &str = "url_credentials, secret_values, bearer_tokens, jwt, aws_keys, private_keys, cards and emails";

    /// The one of that name.
    pub fn named(name: &str) -> Option<Detector> {
        Detector::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Detector::UrlCredentials => "url_credentials",
            Detector::SecretValues => "secret_values",
            Detector::BearerTokens => "bearer_tokens",
            Detector::Jwt => "jwt",
            Detector::AwsKeys => "aws_keys",
            Detector::PrivateKeys => "private_keys",
            Detector::Cards => "cards",
            Detector::Emails => "emails",
        }
    }
}

/// A regular expression whose matches are hidden; if it has groups, what its first group matched.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRedaction {
    /// Its name, which stands in the mask.
    pub name: String,
    /// The expression.
    pub pattern: MessagePattern,
}

/// A regular expression on messages: the syntax of the `regex` crate over bytes, with ASCII classes.
#[derive(Clone)]
pub struct MessagePattern {
    text: String,
    compiled: Regex,
}

impl MessagePattern {
    /// Compiles it. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<MessagePattern, String> {
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(format!("allowed are 1 to {PATTERN_BYTES_MAX} bytes"));
        }
        let compiled = compile(&[text])?;
        Ok(MessagePattern {
            text: text.to_owned(),
            compiled,
        })
    }

    /// As it stands in the config.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The automaton.
    pub fn regex(&self) -> &Regex {
        &self.compiled
    }

    /// Memory that the automaton takes, as far as it is known, beside what searches remember.
    pub fn memory_bytes(&self) -> usize {
        self.compiled.memory_usage()
    }
}

/// How patterns are read: bytes that are not UTF-8 can be matched, and classes are those of ASCII.
pub fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// Several patterns as one automaton of bounded size.
pub fn compile(patterns: &[&str]) -> Result<Regex, String> {
    let config = Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(PATTERNS_BYTES_MAX))
        .hybrid_cache_capacity(CACHE_BYTES_MAX);
    let mut builder = Regex::builder();
    let built = builder
        .configure(config)
        .syntax(syntax())
        .build_many(patterns);
    built.map_err(|error| match error.syntax_error() {
        Some(error) => last_line(&error.to_string()),
        None => last_line(&error.to_string()),
    })
}

/// What is wrong, without the drawing of where.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

impl PartialEq for MessagePattern {
    fn eq(&self, other: &MessagePattern) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Debug for MessagePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}/", self.text)
    }
}
