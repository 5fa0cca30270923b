//! One connection to one broker: TCP, perhaps TLS, perhaps SASL, then one request after the other.
//!
//! Invariant: everything ends within its time limit, and a connection on which anything went wrong is not used again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::messages::{Api, Versions, read_authenticated, read_handshake, request};
use super::sasl::{Scram, bearer, plain};
use super::verdict::{AUTHENTICATION_FAILED, Trouble};
use super::wire::{Malformed, put_len, put_string};
use crate::clock::{Clock, Time};
use crate::config::{Address, ScramHash};

/// Larger answers are refused: those about a topic of a thousand partitions are about 50 KB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A broker that throttles is obeyed up to this.
const THROTTLE_MAX: Duration = Duration::from_secs(30);

/// What the client says to a refusal of OAUTHBEARER.
const BEARER_REFUSED: &[u8] = b"\x01";

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Who we are, with the secret as it is at the moment.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody.
    None,
    /// PLAIN.
    Plain {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// SCRAM.
    Scram {
        /// Which.
        hash: ScramHash,
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// OAUTHBEARER.
    Bearer {
        /// The token.
        token: String,
    },
}

impl Identity {
    fn mechanism(&self) -> Option<&'static str> {
        match self {
            Identity::None => None,
            Identity::Plain { .. } => Some("PLAIN"),
            Identity::Scram { hash, .. } => Some(match hash {
                ScramHash::Sha256 => "SCRAM-SHA-256",
                ScramHash::Sha512 => "SCRAM-SHA-512",
            }),
            Identity::Bearer { .. } => Some("OAUTHBEARER"),
        }
    }

    /// A text of the broker without our secret, should it have echoed it.
    fn hide(&self, text: &str) -> String {
        match self {
            Identity::None => text.to_owned(),
            Identity::Plain { password, .. } | Identity::Scram { password, .. } => {
                text.replace(password, "(hidden)")
            }
            Identity::Bearer { token } => text.replace(token, "(hidden)"),
        }
    }
}

/// How to connect.
#[derive(Clone)]
pub struct Manner {
    /// TLS, if any.
    pub tls: Option<Arc<ClientConfig>>,
    /// SASL, if any.
    pub identity: Identity,
    /// Limit on connecting, TLS and SASL included.
    pub connect_timeout: Duration,
    /// Limit on one request.
    pub request_timeout: Duration,
    /// Moments.
    pub clock: Arc<dyn Clock>,
}

/// A connection on which requests can be made.
pub struct Connection {
    stream: Box<dyn Stream>,
    what: String,
    versions: Versions,
    correlation: i32,
    request_timeout: Duration,
    clock: Arc<dyn Clock>,
    used_at: Time,
    /// From then on the broker wants SASL anew.
    expires_at: Time,
    /// The broker wants no request before.
    muted_until: Time,
}

impl Connection {
    /// Connects, and says who we are.
    pub async fn open(address: &Address, manner: &Manner) -> Result<Connection, Trouble> {
        let limit = manner.connect_timeout;
        match timeout(limit, Box::pin(Connection::open_unlimited(address, manner))).await {
            Ok(opened) => opened,
            Err(_) => {
                let text = format!("no connection to {address} within {} ms", limit.as_millis());
                Err(Trouble::passing("connect_timeout", text))
            }
        }
    }

    async fn open_unlimited(address: &Address, manner: &Manner) -> Result<Connection, Trouble> {
        let place = (address.host.as_str(), address.port);
        let found = tokio::net::lookup_host(place).await;
        let found: Vec<_> = found
            .map_err(|error| {
                Trouble::passing("dns", format!("cannot find {}: {error}", address.host))
            })?
            .collect();
        let tcp = TcpStream::connect(found.as_slice()).await;
        let tcp = tcp.map_err(|error| {
            Trouble::passing("connect", format!("cannot connect to {address}: {error}"))
        })?;
        // A request is written whole; without this its last part waits for the answer to the first.
        tcp.set_nodelay(true)
            .map_err(|error| Trouble::passing("connect", format!("on {address}: {error}")))?;
        let stream: Box<dyn Stream> = match &manner.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(address.host.clone()).map_err(|_| {
                    let text = format!("no certificate can be for the name {}", address.host);
                    Trouble::lasting("tls", text)
                })?;
                let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, tcp);
                let opened = Box::pin(connecting).await;
                Box::new(opened.map_err(|error| tls_trouble(address, &error))?)
            }
        };
        let mut connection = Connection {
            stream,
            what: address.to_string(),
            versions: Versions::default(),
            correlation: 0,
            request_timeout: manner.request_timeout,
            clock: Arc::clone(&manner.clock),
            used_at: manner.clock.now(),
            expires_at: Time::NEVER,
            muted_until: Time::ZERO,
        };
        let (_, answer) = connection.call(Api::Versions, |_| Vec::new()).await?;
        let (code, versions) = Versions::read(&answer).map_err(|bad| connection.malformed(bad))?;
        if code != 0 {
            let what = format!("asking {address} for its versions");
            return Err(Trouble::of(code, &what));
        }
        connection.versions = versions;
        Box::pin(connection.authenticate(&manner.identity)).await?;
        Ok(connection)
    }

    async fn authenticate(&mut self, identity: &Identity) -> Result<(), Trouble> {
        let Some(mechanism) = identity.mechanism() else {
            return Ok(());
        };
        let name = |_| {
            let mut body = Vec::new();
            put_string(mechanism, &mut body);
            body
        };
        let (_, answer) = self.call(Api::SaslHandshake, name).await?;
        let (code, known) = read_handshake(&answer).map_err(|bad| self.malformed(bad))?;
        if code != 0 {
            let known = known.join(", ").chars().take(100).collect::<String>();
            let text = format!("{} takes no SASL {mechanism}, only: {known}", self.what);
            return Err(Trouble::lasting("kafka_unsupported_sasl_mechanism", text));
        }
        match identity {
            Identity::None => {}
            Identity::Plain { user, password } => {
                self.step(identity, plain(user, password)).await?;
            }
            Identity::Bearer { token } => {
                let challenge = self.step(identity, bearer(token)).await?;
                if !challenge.is_empty() {
                    // A refusal is told as a challenge, and made one by our answer (RFC 7628, section 3.2.3).
                    self.step(identity, BEARER_REFUSED.to_vec()).await?;
                    let text = format!("{} refused the token", self.what);
                    return Err(Trouble::lasting(AUTHENTICATION_FAILED, text));
                }
            }
            Identity::Scram {
                hash,
                user,
                password,
            } => {
                let refused = |what: &str, error: &dyn std::fmt::Display| {
                    Trouble::lasting("kafka_scram", format!("at {what}: {error}"))
                };
                let scram = Scram::start(*hash, user, password)
                    .map_err(|error| refused(&self.what, &error))?;
                let challenge = self.step(identity, scram.first()).await?;
                // Hashing a password takes its time by design: not on the thread of all connections.
                let hashing = tokio::task::spawn_blocking(move || scram.answer(&challenge));
                let hashed = hashing.await.map_err(|error| {
                    Trouble::passing("kafka_scram", format!("hashing was stopped: {error}"))
                })?;
                let (answer, expected) = hashed.map_err(|error| refused(&self.what, &error))?;
                let last = self.step(identity, answer).await?;
                let checked = expected.check(&last);
                checked.map_err(|error| refused(&self.what, &error))?;
            }
        }
        Ok(())
    }

    /// One step of SASL; gives what the other side says.
    async fn step(&mut self, identity: &Identity, message: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let body = |_| {
            let mut body = Vec::new();
            put_len(message.len(), &mut body);
            body.extend_from_slice(&message);
            body
        };
        let (version, answer) = self.call(Api::SaslAuthenticate, body).await?;
        let said = read_authenticated(version, &answer).map_err(|bad| self.malformed(bad))?;
        if said.code != 0 {
            let mut trouble = Trouble::of(said.code, &format!("authenticating to {}", self.what));
            if let Some(text) = said.text {
                let text = format!("{}: {}", trouble.reason.text, identity.hide(text));
                trouble.reason = crate::sink::Reason::new(trouble.reason.code, text);
            }
            return Err(trouble);
        }
        if said.lifetime_ms > 0 {
            // A little before the broker closes it.
            let lifetime = Duration::from_millis(said.lifetime_ms / 10 * 9);
            self.expires_at = self.clock.now() + lifetime;
        }
        Ok(said.challenge.to_vec())
    }

    /// Whether it may be used, having been idle for at most `keep_alive`.
    pub fn is_fresh(&self, keep_alive: Duration) -> bool {
        let now = self.clock.now();
        now < self.expires_at && now.since(self.used_at) < keep_alive
    }

    /// The broker wants no request for so long.
    pub fn mute(&mut self, throttle_ms: u64) {
        let wait = Duration::from_millis(throttle_ms).min(THROTTLE_MAX);
        self.muted_until = self.clock.now() + wait;
    }

    /// Makes a request, whose body `body` writes in the version that both sides speak; gives that version and the
    /// answer's body. After an error the connection is of no use.
    pub async fn call(
        &mut self,
        api: Api,
        body: impl FnOnce(i16) -> Vec<u8>,
    ) -> Result<(i16, Vec<u8>), Trouble> {
        let Some(version) = self.versions.of(api) else {
            let text = format!("{} speaks no version of {api:?} that we speak", self.what);
            return Err(Trouble::lasting("kafka_unsupported_version", text));
        };
        let wait = self.muted_until.since(self.clock.now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        self.correlation = self.correlation.wrapping_add(1);
        let message = request(api, version, self.correlation, &body(version));
        let exchanged = timeout(self.request_timeout, self.exchange(&message)).await;
        self.used_at = self.clock.now();
        let trouble = |code, text: String| {
            Trouble::passing(code, format!("{api:?} request to {}: {text}", self.what))
        };
        match exchanged {
            Ok(Ok(answer)) => Ok((version, answer)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(trouble("protocol", error.to_string()))
            }
            Ok(Err(error)) => Err(trouble("reset", error.to_string())),
            Err(_) => {
                let ms = self.request_timeout.as_millis();
                Err(trouble("timeout", format!("no answer within {ms} ms")))
            }
        }
    }

    async fn exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(message).await?;
        self.stream.flush().await?;
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).await?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let len = i32::from_be_bytes([l0, l1, l2, l3]);
        let Some(len) = usize::try_from(len).ok().and_then(|len| len.checked_sub(4)) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer's length cannot be; does the port speak TLS?",
            ));
        };
        if len > ANSWER_BYTES_MAX || i32::from_be_bytes([c0, c1, c2, c3]) != self.correlation {
            let text = "the answer is too long, or to another request; does the port speak TLS?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut answer = Vec::new();
        // Room is made as bytes come, not as many as are promised.
        let stream = &mut self.stream;
        stream.take(len as u64).read_to_end(&mut answer).await?;
        match answer.len() == len {
            true => Ok(answer),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The trouble of an answer that cannot be read.
    pub fn malformed(&self, malformed: Malformed) -> Trouble {
        Trouble::passing("protocol", format!("from {}: {malformed}", self.what))
    }
}

fn tls_trouble(address: &Address, error: &io::Error) -> Trouble {
    let text = format!("TLS with {address}: {error}");
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Trouble::lasting("tls_certificate", text),
        Some(_) => Trouble::lasting("tls", text),
        None => Trouble::passing("connect", text),
    }
}
