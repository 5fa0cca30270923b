//! How each identity asks for a token, and what it is told.
//!
//! * An application with a secret, or with the token of a service account in its place: the client credentials grant
//!   (RFC 6749 section 4.4; RFC 7523 section 2.2 for the token as an assertion) at `/TENANT/oauth2/v2.0/token`.
//! * The machine's own identity: the instance metadata service, a link-local address that is reached without a proxy.
//!
//! | answer | meaning |
//! |---|---|
//! | 200 with a token that has not expired | granted |
//! | 408, 429, 5xx, `temporarily_unavailable`, no answer, 200 without a token; of the metadata service also 404 and 410 | may pass; not before `Retry-After` |
//! | everything else | a person must mend it: the answer's error and the first line of its description (with its AADSTS number) are shown |

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use serde::Deserialize;
use serde_json::Value;

use super::hidden;
use crate::config::{AzureAuth, AzureIdentity, Cloud, HttpSink, Secret, Tls};
use crate::sink::http::client::{Called, Exchange, Outgoing};
use crate::sink::http::stamp::read_small;
use crate::sink::http::verdict::{Failure, retry_after, shown_status, shown_url, without_control};
use crate::sink::http::{Mistake, Surroundings, Wire};

/// Where the instance metadata service of every machine of Azure is.
const METADATA_ORIGIN: &str = "http://169.254.169.254";

/// Larger answers are refused; a token has a few KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Longer tokens are refused: they would not fit into a request head.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// Larger files are refused.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Nobody gives longer lives than this to what a token stands for (24 h for a managed identity).
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How much of a description is shown.
const DESCRIPTION_CHARS_MAX: usize = 200;

/// A request for a token may take no longer, whatever the requests it is for may take.
const REQUEST_TIMEOUT_MAX_MS: u64 = 30_000;

/// What the workload identity webhook of a cluster sets in the environment of a container (Azure AD Workload
/// Identity, "mutating admission webhook").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadIdentity {
    tenant_id: Option<String>,
    client_id: Option<String>,
    token_file: Option<String>,
    authority: Option<String>,
}

impl WorkloadIdentity {
    /// Reads `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_FEDERATED_TOKEN_FILE` and `AZURE_AUTHORITY_HOST`; empty means
    /// unset.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> WorkloadIdentity {
        let read = |name| variable(name).filter(|value| !value.is_empty());
        WorkloadIdentity {
            tenant_id: read("AZURE_TENANT_ID"),
            client_id: read("AZURE_CLIENT_ID"),
            token_file: read("AZURE_FEDERATED_TOKEN_FILE"),
            authority: read("AZURE_AUTHORITY_HOST"),
        }
    }
}

/// What is shown to whoever gives tokens.
enum Proof {
    /// A secret.
    Secret(Secret),
    /// A service account's token, read anew for each request: the kubelet replaces it.
    Assertion(PathBuf),
    /// That the request comes from the machine.
    Machine,
}

/// Who asks for tokens, and where.
pub(super) struct Identity {
    exchange: Exchange,
    /// Method and URL without its query, for people.
    what: String,
    client_id: String,
    scope: String,
    proof: Proof,
}

/// A token.
pub(super) struct Granted {
    /// `Bearer ...`
    pub(super) value: HeaderValue,
    /// From the moment it was asked for.
    pub(super) life: Duration,
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    /// Not to be asked before.
    pub(super) after: Option<Duration>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal {
            failure,
            after: None,
        }
    }
}

impl Identity {
    pub(super) fn new(
        surroundings: &Surroundings,
        sink: &str,
        config: &HttpSink,
        auth: &AzureAuth,
    ) -> Result<Identity, Mistake> {
        let scope = auth.scope.clone();
        let scope = scope.unwrap_or_else(|| auth.cloud.scope().to_owned());
        match &auth.identity {
            AzureIdentity::ClientSecret {
                tenant_id,
                client_id,
                secret,
                authority,
            } => {
                let url = token_url(authority.as_deref(), auth.cloud, tenant_id);
                let proof = Proof::Secret(secret.clone());
                Identity::of(surroundings, sink, config, url, client_id, scope, proof)
            }
            AzureIdentity::Managed {
                client_id,
                endpoint,
            } => {
                let origin = endpoint.as_deref().unwrap_or(METADATA_ORIGIN);
                let client_id = client_id.clone().unwrap_or_default();
                let url = metadata_url(origin, &scope, &client_id);
                let direct = super::without_proxy(surroundings);
                let proof = Proof::Machine;
                Identity::of(&direct, sink, config, url, &client_id, scope, proof)
            }
            AzureIdentity::Workload {
                tenant_id,
                client_id,
                token_file,
                authority,
            } => {
                let known = &surroundings.identity;
                let tenant_id = given_or(tenant_id, &known.tenant_id, "tenant_id")?;
                let client_id = given_or(client_id, &known.client_id, "client_id")?;
                let file = token_file.as_ref().map(|file| file.display().to_string());
                let file = given_or(&file, &known.token_file, "token_file")?;
                let authority = authority.as_ref().or(known.authority.as_ref());
                let url = token_url(authority.map(String::as_str), auth.cloud, &tenant_id);
                let proof = Proof::Assertion(PathBuf::from(file));
                Identity::of(surroundings, sink, config, url, &client_id, scope, proof)
            }
        }
    }

    fn of(
        surroundings: &Surroundings,
        sink: &str,
        config: &HttpSink,
        url: String,
        client_id: &str,
        scope: String,
        proof: Proof,
    ) -> Result<Identity, Mistake> {
        let uri: Uri = url.parse().map_err(|error| {
            Mistake::new("azure_auth", format!("leads to no URL ({error}): {url}"))
        })?;
        let is_https = uri.scheme_str() == Some("https");
        let tls = Tls {
            ca_file: config.tls.ca_file.clone().filter(|_| is_https),
            ..Tls::default()
        };
        let http = HttpSink {
            tls,
            connect_timeout_ms: config.connect_timeout_ms,
            request_timeout_ms: config.request_timeout_ms.min(REQUEST_TIMEOUT_MAX_MS),
            ..HttpSink::new(url)
        };
        let wire = Wire {
            content_type: "application/x-www-form-urlencoded",
            content_encoding: None,
        };
        Ok(Identity {
            exchange: Exchange::new(surroundings, sink, &http, wire, 1)?,
            what: shown_url(&uri),
            client_id: client_id.to_owned(),
            scope,
            proof,
        })
    }

    /// Makes one request.
    pub(super) async fn ask(&self) -> Result<Granted, Refusal> {
        let (method, outgoing, secret) = self.request()?;
        let called = self.exchange.call(method, outgoing, ANSWER_BYTES_MAX).await;
        let called = called.map_err(|failure| Failure {
            text: format!("cannot get a token from {}: {}", self.what, failure.text),
            ..failure
        })?;
        let body = hidden(called.body.clone(), &secret);
        self.read(&called, &body)
    }

    /// The request, and the secret that is in it.
    fn request(&self) -> Result<(Method, Outgoing, String), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id.as_str()),
            ("scope", self.scope.as_str()),
        ];
        let secret = match &self.proof {
            Proof::Machine => {
                let name = HeaderName::from_static("metadata");
                headers.insert(name, HeaderValue::from_static("true"));
                let outgoing = Outgoing {
                    headers,
                    ..Outgoing::default()
                };
                return Ok((Method::GET, outgoing, String::new()));
            }
            Proof::Secret(Secret::Literal(secret)) => secret.clone(),
            Proof::Secret(Secret::File(path)) | Proof::Assertion(path) => read_secret(path)?,
        };
        match &self.proof {
            Proof::Assertion(_) => {
                let jwt = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.push(("client_assertion_type", jwt));
                form.push(("client_assertion", &secret));
            }
            Proof::Secret(_) | Proof::Machine => form.push(("client_secret", &secret)),
        }
        let outgoing = Outgoing {
            headers,
            ..Outgoing::of(Bytes::from(encoded(&form)))
        };
        Ok((Method::POST, outgoing, secret))
    }

    /// What an answer means; `body` is what may be shown of it.
    fn read(&self, called: &Called, body: &[u8]) -> Result<Granted, Refusal> {
        if called.status == StatusCode::OK {
            let granted = granted(&called.body, called.at);
            return granted.map_err(|problem| {
                let text = format!("cannot use the token from {}: {problem}", self.what);
                Refusal::from(Failure::passing("token", text))
            });
        }
        let told: Told = serde_json::from_slice(body).unwrap_or_default();
        let mut text = format!(
            "cannot get a token from {}: {}",
            self.what,
            shown_status(called.status)
        );
        let description = told.error_description.lines().next().unwrap_or_default();
        let description: String = description.chars().take(DESCRIPTION_CHARS_MAX).collect();
        for part in [told.error.as_str(), &description] {
            if !part.is_empty() {
                text.push_str(": ");
                text.push_str(&without_control(part));
            }
        }
        let of_metadata = matches!(self.proof, Proof::Machine);
        let passes = match called.status.as_u16() {
            408 | 429 | 500..=599 => true,
            404 | 410 => of_metadata,
            _ => told.error == "temporarily_unavailable",
        };
        Err(Refusal {
            after: retry_after(&called.headers, called.at),
            failure: match passes {
                true => Failure::passing("token", text),
                false => Failure::lasting("token_refused", text),
            },
        })
    }
}

/// What a setting says, or else the environment.
fn given_or(
    given: &Option<String>,
    known: &Option<String>,
    setting: &'static str,
) -> Result<String, Mistake> {
    let variable = match setting {
        "tenant_id" => "AZURE_TENANT_ID",
        "client_id" => "AZURE_CLIENT_ID",
        _ => "AZURE_FEDERATED_TOKEN_FILE",
    };
    given.clone().or_else(|| known.clone()).ok_or_else(|| {
        let problem = format!(
            "not given, and the environment variable {variable} is not set: is the pod labelled \
             azure.workload.identity/use, and its service account annotated?"
        );
        Mistake::new(format!("azure_auth.workload_identity.{setting}"), problem)
    })
}

fn token_url(authority: Option<&str>, cloud: Cloud, tenant_id: &str) -> String {
    let authority = authority.unwrap_or(cloud.authority()).trim_end_matches('/');
    format!("{authority}/{}/oauth2/v2.0/token", percent(tenant_id))
}

/// The metadata service knows resources, not scopes: `https://monitor.azure.com//.default` is of the resource
/// `https://monitor.azure.com`.
fn metadata_url(origin: &str, scope: &str, client_id: &str) -> String {
    let resource = scope.strip_suffix("/.default").unwrap_or(scope);
    let resource = percent(resource.trim_end_matches('/'));
    let mut url = format!(
        "{origin}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}"
    );
    if !client_id.is_empty() {
        url.push_str("&client_id=");
        url.push_str(&percent(client_id));
    }
    url
}

fn read_secret(path: &std::path::Path) -> Result<String, Failure> {
    let fail = |problem: &dyn std::fmt::Display| {
        let path = path.display();
        let text = format!("cannot read what to get a token with from {path}: {problem}");
        Failure::lasting("credentials", text)
    };
    let (_, content) = read_small(path, FILE_BYTES_MAX).map_err(|error| fail(&error))?;
    let text = String::from_utf8(content).map_err(|_| fail(&"it is not UTF-8"))?;
    let text = text.trim_end_matches(['\n', '\r']);
    match text.is_empty() {
        true => Err(fail(&"it is empty")),
        false => Ok(text.to_owned()),
    }
}

/// `application/x-www-form-urlencoded`.
fn encoded(form: &[(&str, &str)]) -> String {
    let pairs = form.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={}", percent(value)))
        .collect();
    pairs.join("&")
}

/// Everything but the unreserved characters (RFC 3986 section 2.3) as `%XX`.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A token response (RFC 6749 section 5.1). The metadata service writes its numbers as text.
#[derive(Deserialize)]
struct Grant {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Value>,
    expires_on: Option<Value>,
}

/// An error response (RFC 6749 section 5.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    error: String,
    error_description: String,
}

fn seconds(value: &Option<Value>) -> Option<u64> {
    match value.as_ref()? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// How much longer a token lives, from now. The metadata service hands out tokens that it has had for a while: it may
/// count `expires_in` from when they were made, or leave it out. A wall clock that is wrong must not end them all, so a
/// token that has expired by it is taken by the other.
fn life_of(grant: &Grant, now: SystemTime) -> Option<Duration> {
    let is_some_time = |life: &Duration| !life.is_zero();
    let by_itself = seconds(&grant.expires_in).map(Duration::from_secs);
    let by_clock = seconds(&grant.expires_on).and_then(|expires_on| {
        let expires_on = Duration::from_secs(expires_on.min(u64::from(u32::MAX)));
        (UNIX_EPOCH + expires_on).duration_since(now).ok()
    });
    let life = match (
        by_itself.filter(is_some_time),
        by_clock.filter(is_some_time),
    ) {
        (Some(one), Some(other)) => one.min(other),
        (one, other) => one.or(other)?,
    };
    Some(life.min(LIFE_MAX))
}

fn granted(body: &[u8], now: SystemTime) -> Result<Granted, String> {
    let grant: Grant = serde_json::from_slice(body)
        // The text would hold what was found, perhaps the token.
        .map_err(|error| format!("the answer is no token response ({:?})", error.classify()))?;
    let kind = grant.token_type.as_deref().unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("its type is not Bearer".to_owned());
    }
    if grant.access_token.is_empty() || grant.access_token.len() > TOKEN_BYTES_MAX {
        let bytes = grant.access_token.len();
        return Err(format!(
            "it has {bytes} bytes; taken are 1 to {TOKEN_BYTES_MAX}"
        ));
    }
    let value = HeaderValue::from_str(&format!("Bearer {}", grant.access_token));
    let mut value = value.map_err(|_| "it has characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    let life = life_of(&grant, now).ok_or("it does not say how long it lives")?;
    Ok(Granted { value, life })
}

#[cfg(test)]
mod tests;
