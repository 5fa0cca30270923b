//! The request headers of one sink: fixed ones, configured ones, and the authorization, whose values may be secrets
//! in files that are replaced while we run.
//!
//! Invariant: a secret is in no `Debug` form, error or log line; only in the headers that are sent.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
};

use super::stamp::{Stamp, read_small};
use super::verdict::Failure;
use super::{Mistake, Wire};
use crate::clock::Time;
use crate::config::{Auth, HttpSink, Secret};

/// Files with secrets are looked at again after this long, if a request is made.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Longer secrets are refused: they would not fit into a request head.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Shorter secrets are not looked for in answers: they would match by chance.
const HIDDEN_BYTES_MIN: usize = 4;

/// How a secret becomes a header's value.
enum Form {
    Plain,
    /// Behind a word that says what it is.
    Scheme(&'static str),
    Basic {
        user: String,
    },
}

impl Form {
    /// `None` if the result cannot be the value of a header.
    fn value(&self, secret: &str) -> Option<HeaderValue> {
        let text = match self {
            Form::Plain => secret.to_string(),
            Form::Scheme(scheme) => format!("{scheme} {secret}"),
            Form::Basic { user } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
            }
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

struct SecretHeader {
    name: HeaderName,
    form: Form,
    secret: Secret,
    stamp: Option<Stamp>,
    held: Option<(String, HeaderValue)>,
}

/// All headers of one sink's requests.
pub struct Credentials {
    fixed: HeaderMap,
    secrets: Vec<SecretHeader>,
    current: HeaderMap,
    version: u64,
    checked: Option<Time>,
    doubted: bool,
}

impl Credentials {
    /// Checks names and literal values. Files are not read yet.
    pub fn new(config: &HttpSink, wire: Wire) -> Result<Credentials, Mistake> {
        let mut fixed = HeaderMap::new();
        fixed.insert(CONTENT_TYPE, HeaderValue::from_static(wire.content_type));
        if let Some(encoding) = wire.content_encoding {
            fixed.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        fixed.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("longshore/", env!("CARGO_PKG_VERSION"))),
        );
        let mut secrets = Vec::new();
        for (name, secret) in &config.headers {
            let name = header_name(name, &config.auth)?;
            fixed.remove(&name);
            let setting = format!("headers.{name}");
            secrets.push(SecretHeader::new(&setting, name, Form::Plain, secret)?);
        }
        match &config.auth {
            // Tokens that are got from somewhere are not the credentials' to keep.
            Auth::None | Auth::Azure(_) => {}
            Auth::Bearer(secret) => {
                let form = Form::Scheme("Bearer");
                secrets.push(SecretHeader::new(
                    "bearer_token",
                    AUTHORIZATION,
                    form,
                    secret,
                )?);
            }
            Auth::Scheme { key, scheme, token } => {
                let form = Form::Scheme(scheme);
                secrets.push(SecretHeader::new(key, AUTHORIZATION, form, token)?);
            }
            Auth::Basic { user, password } => {
                if user.contains(':') {
                    let problem = "must not contain a colon (RFC 7617)";
                    return Err(Mistake::new("basic.user", problem));
                }
                let form = Form::Basic { user: user.clone() };
                let setting = "basic.password";
                secrets.push(SecretHeader::new(setting, AUTHORIZATION, form, password)?);
            }
        }
        Ok(Credentials {
            fixed,
            secrets,
            current: HeaderMap::new(),
            version: 0,
            checked: None,
            doubted: false,
        })
    }

    /// The headers for a request at `now`, with the number of their version. Files that changed are read first,
    /// looked at once per [`CHECK_INTERVAL`]; after [`Credentials::doubt`] they are read in any case. A file that
    /// cannot be read any more leaves its last secret in force, since it may be in the midst of being replaced.
    pub fn headers(&mut self, now: Time) -> Result<(HeaderMap, u64), Failure> {
        let due = self
            .checked
            .is_none_or(|checked| now.since(checked) >= CHECK_INTERVAL);
        if due || self.doubted {
            self.refresh(now)?;
        }
        Ok((self.current.clone(), self.version))
    }

    /// The server did not take the credentials of `version`. Says whether there are others by now; if not, the next
    /// request looks again.
    pub fn doubt(&mut self, version: u64, now: Time) -> bool {
        self.doubted = true;
        let renewed = self.refresh(now).is_ok() && self.version != version;
        self.doubted = !renewed;
        renewed
    }

    fn refresh(&mut self, now: Time) -> Result<(), Failure> {
        let mut changed = self.checked.is_none();
        for secret in &mut self.secrets {
            changed |= secret.refresh(self.doubted)?;
        }
        self.checked = Some(now);
        self.doubted = false;
        if changed {
            self.version += 1;
            self.current = self.fixed.clone();
            for secret in &self.secrets {
                if let Some((_, value)) = &secret.held {
                    self.current.append(secret.name.clone(), value.clone());
                }
            }
        }
        Ok(())
    }

    /// The answer without our own secrets, should the server have echoed them.
    pub fn hide(&self, head: &[u8]) -> Vec<u8> {
        let mut text = head.to_vec();
        for secret in &self.secrets {
            let Some((plain, value)) = &secret.held else {
                continue;
            };
            let encoded = match secret.form {
                Form::Basic { .. } => value.to_str().ok().and_then(|v| v.strip_prefix("Basic ")),
                Form::Plain | Form::Scheme(_) => None,
            };
            for shown in [Some(plain.as_str()), encoded].into_iter().flatten() {
                if shown.len() >= HIDDEN_BYTES_MIN {
                    text = without(&text, shown.as_bytes());
                }
            }
        }
        text
    }
}

/// `text` with another word in each place of `secret`, which is not empty.
fn without(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut left = text;
    let mut shown = Vec::with_capacity(text.len());
    while let Some(at) = memchr::memmem::find(left, secret) {
        let (before, from) = left.split_at(at);
        shown.extend_from_slice(before);
        shown.extend_from_slice(b"(hidden)");
        left = from.get(secret.len()..).unwrap_or_default();
    }
    shown.extend_from_slice(left);
    shown
}

/// A configured header's name, if a sink may set it.
fn header_name(name: &str, auth: &Auth) -> Result<HeaderName, Mistake> {
    let setting = format!("headers.{name}");
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(Mistake::new(setting, "is not a valid header name"));
    };
    if [
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        TRANSFER_ENCODING,
        CONNECTION,
    ]
    .contains(&name)
    {
        let problem = "follows from the payload and the connection; leave it out";
        return Err(Mistake::new(setting, problem));
    }
    if name == AUTHORIZATION && *auth != Auth::None {
        let problem =
            "bearer_token, basic or azure_auth sets this header already; leave one of them out";
        return Err(Mistake::new(setting, problem));
    }
    Ok(name)
}

impl SecretHeader {
    fn new(
        setting: &str,
        name: HeaderName,
        form: Form,
        secret: &Secret,
    ) -> Result<SecretHeader, Mistake> {
        let held = match secret {
            Secret::File(_) => None,
            Secret::Literal(text) => match form.value(text) {
                Some(value) => Some((text.clone(), value)),
                None => {
                    let problem = "has characters that no header value may have";
                    return Err(Mistake::new(setting, problem));
                }
            },
        };
        Ok(SecretHeader {
            name,
            form,
            secret: secret.clone(),
            stamp: None,
            held,
        })
    }

    /// Reads the file again if it seems changed (or in any case); says whether the secret is another now.
    fn refresh(&mut self, force: bool) -> Result<bool, Failure> {
        let Secret::File(path) = &self.secret else {
            return Ok(false);
        };
        if self.held.is_some() && !force && self.stamp == Stamp::of(path) {
            return Ok(false);
        }
        match read_secret(path, &self.form) {
            Ok((stamp, held)) => {
                self.stamp = Some(stamp);
                let changed = self.held.as_ref() != Some(&held);
                self.held = Some(held);
                Ok(changed)
            }
            Err(_) if self.held.is_some() => Ok(false),
            Err(problem) => Err(Failure::lasting(
                "credentials",
                format!(
                    "cannot read the value of header {} from {}: {problem}",
                    self.name,
                    path.display()
                ),
            )),
        }
    }
}

fn read_secret(path: &Path, form: &Form) -> Result<(Stamp, (String, HeaderValue)), String> {
    let (stamp, content) = read_small(path, SECRET_BYTES_MAX).map_err(|error| error.to_string())?;
    let text = String::from_utf8(content).map_err(|_| "it is not UTF-8".to_string())?;
    let text = text.trim_end_matches(['\n', '\r']).to_string();
    if text.is_empty() {
        return Err("it is empty".to_string());
    }
    match form.value(&text) {
        Some(value) => Ok((stamp, (text, value))),
        None => Err("it has characters that no header value may have".to_string()),
    }
}

#[cfg(test)]
mod tests;
