//! The identity and the trust of one sink, from files that others replace while we run.
//!
//! Invariant: what could once be read stays in force until something else can be read, since a file may be in the
//! midst of being replaced. Secrets are in no error and no `Debug` form.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::connection::Identity;
use super::verdict::Trouble;
use crate::clock::Time;
use crate::config::{KafkaSink, Sasl, Secret, Tls};
use crate::sink::http::stamp::{Stamp, read_small};
use crate::sink::http::tls::{self, Stamps};

/// Files are looked at again after this long, if something is to be sent.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Larger files with secrets are refused.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// What it takes to connect.
#[derive(Clone)]
pub struct Held {
    /// TLS, if any.
    pub tls: Option<Arc<ClientConfig>>,
    /// SASL, if any.
    pub identity: Identity,
}

/// Reads the files, and again when they change.
pub struct Credentials {
    tls: Option<Tls>,
    sasl: Sasl,
    tls_stamps: Stamps,
    secret_stamp: Option<Stamp>,
    held: Option<Held>,
    /// When they were last looked at; `None`: they have to be.
    checked: Option<Time>,
}

impl Credentials {
    /// Those that a sink is configured with. Nothing is read yet.
    pub fn new(config: &KafkaSink) -> Credentials {
        Credentials {
            tls: config.tls.clone(),
            sasl: config.sasl.clone(),
            tls_stamps: Stamps::default(),
            secret_stamp: None,
            held: None,
            checked: None,
        }
    }

    /// What is in force now, and whether it is another than at the last call.
    pub fn look(&mut self, now: Time) -> Result<(Held, bool), Trouble> {
        if let Some(held) = &self.held
            && let Some(checked) = self.checked
            && now.since(checked) < CHECK_INTERVAL
        {
            return Ok((held.clone(), false));
        }
        let tls = self.read_tls();
        let identity = self.read_identity();
        self.checked = Some(now);
        match (self.held.take(), tls, identity) {
            (Some(held), tls, identity) => {
                let (tls, identity) = (tls.unwrap_or(None), identity.unwrap_or(None));
                let changed =
                    tls.is_some() || identity.as_ref().is_some_and(|i| *i != held.identity);
                let held = Held {
                    tls: tls.or(held.tls),
                    identity: identity.unwrap_or(held.identity),
                };
                self.held = Some(held.clone());
                Ok((held, changed))
            }
            (None, Ok(tls), Ok(identity)) => {
                let identity = identity.unwrap_or(Identity::None);
                let held = Held { tls, identity };
                self.held = Some(held.clone());
                Ok((held, true))
            }
            (None, Err(trouble), _) | (None, _, Err(trouble)) => {
                self.tls_stamps = Stamps::default();
                self.secret_stamp = None;
                Err(trouble)
            }
        }
    }

    /// The broker did not take them: they are read at the next look whatever their stamps say.
    pub fn doubt(&mut self) {
        self.checked = None;
        self.secret_stamp = None;
    }

    /// `None`: as before, or no TLS.
    fn read_tls(&mut self) -> Result<Option<Arc<ClientConfig>>, Trouble> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let stamps = tls::stamps(tls);
        if self.held.is_some() && stamps == self.tls_stamps {
            return Ok(None);
        }
        let loaded = tls::load(tls).map_err(|error| Trouble::lasting("tls", error))?;
        self.tls_stamps = stamps;
        Ok(Some(Arc::new(loaded)))
    }

    /// `None`: as before.
    fn read_identity(&mut self) -> Result<Option<Identity>, Trouble> {
        let secret = match &self.sasl {
            Sasl::None => return Ok(None),
            Sasl::Plain { password, .. } | Sasl::Scram { password, .. } => password,
            Sasl::Bearer { token } => token,
        };
        let text = match secret {
            Secret::Literal(text) if self.held.is_none() => text.clone(),
            Secret::Literal(_) => return Ok(None),
            Secret::File(path) => {
                if self.held.is_some()
                    && self.secret_stamp.is_some()
                    && self.secret_stamp == Stamp::of(path)
                {
                    return Ok(None);
                }
                let failed = |problem: &dyn std::fmt::Display| {
                    let path = path.display();
                    let text = format!("cannot read the secret of sasl from {path}: {problem}");
                    Trouble::lasting("credentials", text)
                };
                let (stamp, content) =
                    read_small(path, SECRET_BYTES_MAX).map_err(|error| failed(&error))?;
                let text = String::from_utf8(content).map_err(|_| failed(&"it is not UTF-8"))?;
                let text = text.trim_end_matches(['\n', '\r']).to_owned();
                if text.is_empty() {
                    return Err(failed(&"it is empty"));
                }
                self.secret_stamp = Some(stamp);
                text
            }
        };
        Ok(Some(match &self.sasl {
            Sasl::None => Identity::None,
            Sasl::Plain { user, .. } => Identity::Plain {
                user: user.clone(),
                password: text,
            },
            Sasl::Scram { hash, user, .. } => Identity::Scram {
                hash: *hash,
                user: user.clone(),
                password: text,
            },
            Sasl::Bearer { .. } => Identity::Bearer { token: text },
        }))
    }
}
