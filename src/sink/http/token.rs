//! Tokens that are got from somewhere: one is kept, renewed before it expires, and dropped when it is refused.
//!
//! Owns the token in force and when the next is asked for. Invariants: at most one request for a token is under way,
//! and whoever needs one waits for that; a token that has not expired stays in force while its renewal fails; a token
//! or what it was asked for with is in no `Debug` form, error or log line.
//!
//! | event | what follows |
//! |---|---|
//! | no token | the first attempt asks, the others wait for its answer |
//! | 75 to 90 % of the token's life are over (jittered) | one attempt asks, the others go on with the old one |
//! | the answer is no token | not asked again before a back-off of its own, or `Retry-After`; attempts fail at once with the reason, unless there is an old token |
//! | 401 with the token in force | the token is dropped; the attempt is tried again with another, unless the last one was refused, too |

mod identity;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::HeaderValue;

use self::identity::{Granted, Identity, Refusal};
use super::connect::ProxySettings;
use super::verdict::Failure;
use super::{Mistake, Surroundings};
use crate::clock::{Clock, Time};
use crate::config::{AzureAuth, HttpSink};

pub use self::identity::WorkloadIdentity;

/// The part of a token's life after which another is asked for: from the first to the second, drawn for each token, so
/// that many agents that started together do not ask together.
const RENEW_AT: (f64, f64) = (0.75, 0.90);

/// First wait after a failure that may pass, and after one that a person must mend.
const WAIT_MIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Longest wait after a failure, unless whoever gives tokens asks for a longer one.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Shorter tokens are not looked for in answers: they would match by chance.
const HIDDEN_BYTES_MIN: usize = 4;

/// A token as a header's value, and which one it is. The value is marked as sensitive, which keeps it out of `Debug`.
#[derive(Clone, Debug)]
pub struct Given {
    /// `Bearer ...`
    pub value: HeaderValue,
    /// Names it in [`Tokens::refused`].
    pub version: u64,
}

impl Given {
    /// The text without the token, should the server have echoed it.
    pub fn hide(&self, text: Vec<u8>) -> Vec<u8> {
        let value = self.value.to_str().unwrap_or_default();
        hidden(text, value.strip_prefix("Bearer ").unwrap_or(value))
    }
}

struct Held {
    given: Given,
    renew_at: Time,
    expires_at: Time,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    version: u64,
    /// Requests for a token that failed, since the last that did not.
    failures: u32,
    failed: Option<Failure>,
    /// Not asked before.
    retry_at: Time,
    /// Tokens in a row that were refused.
    refusals: u32,
}

/// What an attempt does about its token.
enum Next {
    Use(Given),
    Renew(Given),
    Ask,
    Fail(Failure),
}

/// A request for a token under way.
type Asking<'a> = Pin<Box<dyn Future<Output = Result<Granted, Refusal>> + Send + 'a>>;

/// The tokens of one user of HTTP.
pub struct Tokens {
    sink: String,
    identity: Identity,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held by whoever asks.
    asking: tokio::sync::Mutex<()>,
    random: Mutex<fastrand::Rng>,
}

impl Tokens {
    /// Checks the settings. Nothing is read or asked for yet. `config`: that of the requests which the tokens are for;
    /// its times hold for requests for tokens, too, and its trusted roots where those are asked for over TLS.
    pub fn new(
        surroundings: &Surroundings,
        sink: &str,
        config: &HttpSink,
        auth: &AzureAuth,
    ) -> Result<Tokens, Mistake> {
        let identity = Identity::new(surroundings, sink, config, auth)?;
        Ok(Tokens {
            sink: sink.to_owned(),
            identity,
            clock: Arc::clone(&surroundings.clock),
            state: Mutex::default(),
            asking: tokio::sync::Mutex::new(()),
            random: Mutex::new(fastrand::Rng::new()),
        })
    }

    /// A token for a request that is made now. May be dropped while it waits; the next one asks then.
    pub async fn get(&self) -> Result<Given, Failure> {
        let _asking = match self.next() {
            Next::Use(given) => return Ok(given),
            Next::Fail(failure) => return Err(failure),
            Next::Renew(given) => match self.asking.try_lock() {
                Ok(asking) => asking,
                Err(_) => return Ok(given),
            },
            Next::Ask => self.asking.lock().await,
        };
        // While waiting, somebody else may have got one, or may have been told why there is none.
        match self.next() {
            Next::Use(given) => return Ok(given),
            Next::Fail(failure) => return Err(failure),
            Next::Renew(_) | Next::Ask => {}
        }
        let asked_at = self.clock.now();
        let asked = self.ask().await;
        self.settle(asked, asked_at);
        match self.next() {
            Next::Use(given) | Next::Renew(given) => Ok(given),
            Next::Fail(failure) => Err(failure),
            Next::Ask => Err(Failure::passing("token", "the token expired on its way")),
        }
    }

    /// The server did not take the token of `version`: it is dropped. Says whether another may be taken, which is so
    /// unless it is the second in a row: then something else is wrong.
    pub fn refused(&self, version: u64) -> bool {
        let mut state = self.state();
        let is_current = state
            .held
            .as_ref()
            .is_some_and(|held| held.given.version == version);
        if !is_current {
            // Another attempt had it dropped before.
            return state.refusals < 2;
        }
        state.held = None;
        state.refusals += 1;
        state.refusals == 1
    }

    /// The server took a token.
    pub fn taken(&self) {
        self.state().refusals = 0;
    }

    /// A function of its own because requests for tokens are made as those are which they are for.
    fn ask(&self) -> Asking<'_> {
        Box::pin(self.identity.ask())
    }

    fn next(&self) -> Next {
        let now = self.clock.now();
        let state = self.state();
        match &state.held {
            Some(held) if now < held.expires_at => {
                let given = held.given.clone();
                match now >= held.renew_at && now >= state.retry_at {
                    true => Next::Renew(given),
                    false => Next::Use(given),
                }
            }
            _ => match &state.failed {
                Some(failure) if now < state.retry_at => Next::Fail(failure.clone()),
                _ => Next::Ask,
            },
        }
    }

    fn settle(&self, asked: Result<Granted, Refusal>, asked_at: Time) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        match asked {
            Ok(granted) => {
                state.version += 1;
                let version = state.version;
                let (from, to) = RENEW_AT;
                let part = from + (to - from) * random.f64();
                state.held = Some(Held {
                    given: Given {
                        value: granted.value,
                        version,
                    },
                    renew_at: asked_at + granted.life.mul_f64(part),
                    expires_at: asked_at + granted.life,
                });
                state.failures = 0;
                state.failed = None;
                state.retry_at = Time::ZERO;
            }
            Err(Refusal { failure, after }) => {
                let (passing, lasting) = WAIT_MIN;
                let min = if failure.pause { lasting } else { passing };
                let whole = min
                    .saturating_mul(1 << state.failures.min(10))
                    .min(WAIT_MAX);
                let wait = whole.mul_f64(0.5 + random.f64() / 2.0);
                state.retry_at = self.clock.now() + wait.max(after.unwrap_or_default());
                state.failures = state.failures.saturating_add(1);
                if state.held.is_some() && state.failures == 1 {
                    let (sink, reason) = (&self.sink, &failure.text);
                    tracing::warn!(%sink, %reason, "keeping the token got before");
                }
                state.failed = Some(failure);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text with a secret in it hidden.
fn hidden(text: Vec<u8>, secret: &str) -> Vec<u8> {
    if secret.len() < HIDDEN_BYTES_MIN {
        return text;
    }
    let shown = String::from_utf8_lossy(&text);
    match shown.contains(secret) {
        true => shown.replace(secret, "(hidden)").into_bytes(),
        false => text,
    }
}

/// The surroundings of whoever must not go through a proxy.
fn without_proxy(surroundings: &Surroundings) -> Surroundings {
    Surroundings {
        proxy: ProxySettings::default(),
        ..surroundings.clone()
    }
}
