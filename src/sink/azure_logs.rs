//! The Logs Ingestion API of Azure Monitor: one call for each payload, spread over data collection rules (DCRs).
//!
//! Owns which rule a call goes to. Invariants: a rule that asked to be left alone gets no call until then; an attempt
//! is at most as many calls as there are rules; one that may have been stored is never repeated within it.
//!
//! | answer | verdict |
//! |---|---|
//! | 204 | `Accepted` |
//! | any other 2xx | `Pause`: that is not this service, which answers 204 |
//! | 400 `RecordsTimeRangeIsMoreThan30Minutes` | `Split`: a table of the Auxiliary plan takes no longer span in one call |
//! | 400, 422 | `Bisect` |
//! | 401 | the token is dropped, and tried again with another (see `http/token.rs`); `Pause` if that is refused, too |
//! | 403 | another rule, if there is one; else `Pause`: the role on the rule is missing, or was given less than 30 minutes ago |
//! | 404 | another rule, if there is one; else `Pause`: no such rule or stream |
//! | 413, and 4xx `ReadyBody_ClientConnectionAbort` | `Split` |
//! | 429 | another rule, if there is one; else `Retry`, not before the first of them may be asked again |
//! | 408, 5xx, no answer | `Retry`, not before `Retry-After` |
//! | everything else | `Pause` |
//!
//! The service drops no repeats: a call that was stored and whose answer was lost is stored twice. Rows can carry
//! `RecordUid`, by which queries tell.

mod spread;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;

use self::spread::{Rest, Spread};
use crate::clock::Clock;
use crate::config::AzureLogsSink;
use crate::sink::http::client::{Exchange, Outgoing};
use crate::sink::http::verdict::{Answer, judge, retry_after};
use crate::sink::http::{Attempting, Protocol};
use crate::sink::{Attempt, Reason, Verdict};

/// The version of the API that is spoken.
pub const API_VERSION: &str = "2023-01-01";

/// Names a call to whoever looks for it in the service's own logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// Speaks to one stream of one or several rules.
pub struct LogsIngestion {
    dcrs: Vec<Dcr>,
    spread: Mutex<Spread>,
    clock: Arc<dyn Clock>,
    random: Mutex<fastrand::Rng>,
}

struct Dcr {
    id: String,
    target: PathAndQuery,
}

impl LogsIngestion {
    /// To that stream of the rules of `config`, whose ids have been checked; one that no URL can hold is left out.
    pub fn new(config: &AzureLogsSink, stream: &str, clock: Arc<dyn Clock>) -> LogsIngestion {
        let dcrs = config.dcrs.iter().filter_map(|id| {
            let path =
                format!("/dataCollectionRules/{id}/streams/{stream}?api-version={API_VERSION}");
            let target = path.parse().ok()?;
            let id = id.clone();
            Some(Dcr { id, target })
        });
        let dcrs: Vec<Dcr> = dcrs.collect();
        LogsIngestion {
            spread: Mutex::new(Spread::new(dcrs.len())),
            dcrs,
            clock,
            random: Mutex::new(fastrand::Rng::new()),
        }
    }

    fn spread(&self) -> MutexGuard<'_, Spread> {
        self.spread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempted(&self, exchange: &Exchange, attempt: Attempt) -> Verdict {
        let mut last = None;
        for _ in 0..self.dcrs.len() {
            let turn = match Turn::take(self) {
                Ok(turn) => turn,
                Err(wait) => return wait.told(last),
            };
            let verdict = self.call(exchange, &turn, &attempt).await;
            let now = self.clock.now();
            match &verdict {
                Verdict::Retry { after, reason } if reason.code == "http_429" => {
                    self.spread().rest(turn.at, Rest::Asked, *after, now);
                }
                Verdict::Pause(reason) if matches!(reason.code, "http_403" | "http_404") => {
                    if self.spread().rest(turn.at, Rest::Refused, None, now) && self.dcrs.len() > 1
                    {
                        let (dcr, reason) = (&turn.id, &reason.text);
                        tracing::warn!(%dcr, %reason, "left alone: a data collection rule refuses");
                    }
                }
                Verdict::Accepted => {
                    self.spread().good(turn.at);
                    return verdict;
                }
                _ => return verdict,
            }
            last = Some(verdict);
        }
        match self.spread().wait(self.clock.now()) {
            Some(wait) => Wait(wait).told(last),
            // All refuse.
            None => last.unwrap_or_else(|| Verdict::Pause(no_dcr())),
        }
    }

    async fn call(&self, exchange: &Exchange, turn: &Turn<'_>, attempt: &Attempt) -> Verdict {
        let id = self.request_id();
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, value);
        }
        let outgoing = Outgoing {
            target: Some(turn.target.clone()),
            headers,
            ..Outgoing::of(attempt.body.clone())
        };
        let verdict = exchange.post(outgoing, &verdict_of).await;
        named(verdict, turn.id, &id)
    }

    /// A random UUID (RFC 9562 section 5.4).
    fn request_id(&self) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let bits = random.u128(..) & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let part = |from, to| hex.get(from..to).unwrap_or_default();
        [
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32),
        ]
        .join("-")
    }
}

impl Protocol for LogsIngestion {
    fn attempt<'a>(&'a self, exchange: &'a Exchange, attempt: Attempt) -> Attempting<'a> {
        Box::pin(self.attempted(exchange, attempt))
    }
}

/// A call to one rule, counted as under way until dropped.
struct Turn<'a> {
    of: &'a LogsIngestion,
    at: usize,
    id: &'a str,
    target: &'a PathAndQuery,
}

impl<'a> Turn<'a> {
    fn take(of: &'a LogsIngestion) -> Result<Turn<'a>, Wait> {
        let at = of.spread().take(of.clock.now()).map_err(Wait)?;
        match of.dcrs.get(at) {
            Some(Dcr { id, target }) => Ok(Turn { of, at, id, target }),
            None => Err(Wait(spread::REST_ASKED)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.of.spread().put_back(self.at);
    }
}

/// No rule may be asked for so long.
struct Wait(std::time::Duration);

impl Wait {
    /// As a verdict; `last`: that of the rule which was asked last.
    fn told(self, last: Option<Verdict>) -> Verdict {
        let reason = match last {
            Some(Verdict::Retry { reason, .. } | Verdict::Pause(reason)) => reason,
            _ => Reason::new(
                "http_429",
                "every data collection rule asked to be left alone for a while",
            ),
        };
        Verdict::Retry {
            after: Some(self.0),
            reason,
        }
    }
}

fn no_dcr() -> Reason {
    Reason::new("no_dcr", "there is no data collection rule to send to")
}

/// The verdict on an answer.
fn verdict_of(answer: &Answer<'_>) -> Verdict {
    let verdict = judge(answer);
    let says = |code: &str| memchr::memmem::find(answer.head, code.as_bytes()).is_some();
    match verdict {
        Verdict::Accepted if answer.status != StatusCode::NO_CONTENT => {
            let text = format!(
                "{}: {}, but the service answers 204: is this its endpoint?",
                answer.what, answer.status
            );
            Verdict::Pause(Reason::new("http_other", text))
        }
        Verdict::Bisect(reason) if says("RecordsTimeRangeIsMoreThan30Minutes") => {
            Verdict::Split(reason)
        }
        Verdict::Bisect(reason) | Verdict::Pause(reason)
            if answer.status.is_client_error() && says("ReadyBody_ClientConnectionAbort") =>
        {
            Verdict::Split(reason)
        }
        Verdict::Retry { reason, .. } => Verdict::Retry {
            after: retry_after(answer.headers, answer.now),
            reason,
        },
        Verdict::Pause(mut reason) => {
            let hint = match answer.status.as_u16() {
                403 => {
                    "; is the role Monitoring Metrics Publisher given on the rule, at least 30 minutes ago?"
                }
                404 => "; does the rule exist at this endpoint, and has it this stream?",
                _ => "",
            };
            reason = Reason::new(reason.code, reason.text + hint);
            Verdict::Pause(reason)
        }
        verdict => verdict,
    }
}

/// The verdict, its reason saying which rule and which call it is of.
fn named(verdict: Verdict, dcr: &str, id: &str) -> Verdict {
    let name = |reason: Reason| {
        let text = format!("{dcr}: {} (call {id})", reason.text);
        Reason::new(reason.code, text)
    };
    match verdict {
        Verdict::Retry { after, reason } => Verdict::Retry {
            after,
            reason: name(reason),
        },
        Verdict::Split(reason) => Verdict::Split(name(reason)),
        Verdict::Bisect(reason) => Verdict::Bisect(name(reason)),
        Verdict::Pause(reason) => Verdict::Pause(name(reason)),
        verdict @ (Verdict::Accepted | Verdict::AcceptedExcept { .. } | Verdict::Items(_)) => {
            verdict
        }
    }
}

#[cfg(test)]
mod tests;
