//! A broker of Kafka's protocol that does as a test tells it: strict in what it takes, in the versions from before the
//! flexible ones, with SASL and TLS.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// What the broker asks of those who connect.
#[derive(Clone, Debug, PartialEq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// PLAIN with this user and password.
    Plain(String, String),
    /// SCRAM with SHA-256, or 512, and this password.
    Scram(bool, String),
    /// This token.
    Token(String),
}

/// What happens to a Produce request.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Each partition is answered with the code that is here for it, or 0.
    Answer(HashMap<i32, i16>),
    /// As with no codes, and the broker wants no further request for so many milliseconds.
    Throttle(i32),
    /// No answer, ever.
    Hang,
    /// The connection is closed.
    Cut,
}

/// What a broker does and has seen.
#[derive(Debug)]
pub struct Rules {
    /// What it asks of those who connect.
    pub asks: Asks,
    /// How many partitions each topic has.
    pub topics: HashMap<String, i32>,
    /// What happens to the next Produce requests; nothing more: all is stored.
    pub deeds: Vec<Deed>,
    /// The number of messages of each batch that was stored, by topic and partition.
    pub stored: Vec<(String, i32, i32)>,
    /// Connections so far.
    pub connections: u64,
}

/// A broker on a port of its own.
pub struct Broker {
    /// Where.
    pub port: u16,
    /// What it does.
    pub rules: Arc<Mutex<Rules>>,
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

impl Broker {
    /// Starts one that knows these topics. It calls itself by this host name.
    pub fn start(host: &str, tls: Option<rustls::ServerConfig>, topics: &[(&str, i32)]) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let topics = topics
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        let rules = Arc::new(Mutex::new(Rules {
            asks: Asks::Nothing,
            topics: topics.collect(),
            deeds: Vec::new(),
            stored: Vec::new(),
            connections: 0,
        }));
        let (shared, host, tls) = (Arc::clone(&rules), host.to_owned(), tls.map(Arc::new));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (rules, host, tls) = (Arc::clone(&shared), host.clone(), tls.clone());
                std::thread::spawn(move || {
                    rules.lock().unwrap().connections += 1;
                    let mut stream: Box<dyn Both> = match tls {
                        None => Box::new(stream),
                        Some(tls) => Box::new(rustls::StreamOwned::<_, TcpStream>::new(
                            rustls::ServerConnection::new(tls).unwrap(),
                            stream,
                        )),
                    };
                    let mut session = Session {
                        rules,
                        host,
                        port,
                        known: false,
                        mechanism: String::new(),
                        scram: None,
                    };
                    while session.exchange(stream.as_mut()).is_some() {}
                });
            }
        });
        Broker { port, rules }
    }
}

struct Session {
    rules: Arc<Mutex<Rules>>,
    host: String,
    port: u16,
    known: bool,
    mechanism: String,
    /// What the client said first, and what was answered.
    scram: Option<(String, String)>,
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }
    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }
    fn string(&mut self) -> String {
        let len = usize::try_from(self.i16()).unwrap();
        String::from_utf8(self.take(len).to_vec()).unwrap()
    }
    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::try_from(self.i32()).unwrap();
        self.take(len)
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat()
}

fn bytes(of: &[u8]) -> Vec<u8> {
    [&(of.len() as i32).to_be_bytes(), of].concat()
}

impl Session {
    /// One request; `None`: the connection is over.
    fn exchange(&mut self, stream: &mut dyn Both) -> Option<()> {
        let mut len = [0; 4];
        stream.read_exact(&mut len).ok()?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(len)).unwrap()];
        stream.read_exact(&mut request).ok()?;
        let mut body = Body(&request);
        let (api, version, correlation) = (body.i16(), body.i16(), body.i32());
        assert_eq!(body.string(), "longshore");
        let asks = self.rules.lock().unwrap().asks.clone();
        let answer = match api {
            18 => {
                assert_eq!(version, 0);
                let apis: [(i16, i16, i16); 5] =
                    [(0, 3, 9), (3, 1, 12), (17, 0, 1), (18, 0, 3), (36, 0, 1)];
                let mut out = [0_i16.to_be_bytes().to_vec(), 5_i32.to_be_bytes().to_vec()].concat();
                for (key, least, most) in apis {
                    out.extend([key, least, most].iter().flat_map(|it| it.to_be_bytes()));
                }
                out
            }
            17 => self.handshake(&body.string(), &asks),
            36 => self.authenticate(version, body.bytes(), &asks),
            // Who has not said who it is gets nothing else.
            _ if asks != Asks::Nothing && !self.known => return None,
            3 => self.metadata(version, &mut body),
            0 => self.produce(version, &mut body)?,
            other => panic!("request of kind {other}"),
        };
        assert!(
            body.0.is_empty() || api == 36 || api == 18,
            "{} bytes too many",
            body.0.len()
        );
        let message = [&correlation.to_be_bytes(), answer.as_slice()].concat();
        stream.write_all(&bytes(&message)).ok()?;
        stream.flush().ok()
    }

    fn handshake(&mut self, mechanism: &str, asks: &Asks) -> Vec<u8> {
        let ours = match asks {
            Asks::Nothing => "",
            Asks::Plain(..) => "PLAIN",
            Asks::Scram(true, _) => "SCRAM-SHA-256",
            Asks::Scram(false, _) => "SCRAM-SHA-512",
            Asks::Token(_) => "OAUTHBEARER",
        };
        self.mechanism = mechanism.to_owned();
        let code: i16 = if mechanism == ours { 0 } else { 33 };
        [
            code.to_be_bytes().to_vec(),
            1_i32.to_be_bytes().to_vec(),
            string(ours),
        ]
        .concat()
    }

    fn authenticate(&mut self, version: i16, said: &[u8], asks: &Asks) -> Vec<u8> {
        let text = std::str::from_utf8(said).unwrap();
        let lifetime = if version >= 1 {
            0_i64.to_be_bytes().to_vec()
        } else {
            Vec::new()
        };
        // A token is refused by a challenge, to which the client has to say that it has understood.
        if matches!(asks, Asks::Token(token) if !text.contains(&format!(" {token}\x01")) && text != "\x01")
        {
            let head = [0_i16.to_be_bytes(), (-1_i16).to_be_bytes()].concat();
            let refusal = bytes(br#"{"status":"invalid_token"}"#);
            return [head, refusal, lifetime].concat();
        }
        let answer = match asks {
            Asks::Nothing => None,
            Asks::Plain(user, password) => {
                (text == format!("\0{user}\0{password}")).then(String::new)
            }
            Asks::Token(token) => {
                (text == format!("n,,\x01auth=Bearer {token}\x01\x01")).then(String::new)
            }
            Asks::Scram(short, password) => self.scram(text, *short, password),
        };
        match answer {
            Some(answer) => {
                self.known = self.scram.is_none() || answer.starts_with("v=");
                let head = [0_i16.to_be_bytes(), (-1_i16).to_be_bytes()].concat();
                [head, bytes(answer.as_bytes()), lifetime].concat()
            }
            None => {
                let echo = string(&format!("cannot take {text}"));
                [58_i16.to_be_bytes().to_vec(), echo, bytes(b""), lifetime].concat()
            }
        }
    }

    /// The server's side of RFC 5802.
    fn scram(&mut self, said: &str, short: bool, password: &str) -> Option<String> {
        let Some((bare, first)) = self.scram.clone() else {
            let bare = said.strip_prefix("n,,")?.to_owned();
            let nonce = bare.split_once(",r=")?.1;
            let first = format!("r={nonce}server,s={},i=4096", STANDARD.encode(b"salt"));
            self.scram = Some((bare, first.clone()));
            return Some(first);
        };
        let (without_proof, proof) = said.split_once(",p=")?;
        let auth = format!("{bare},{first},{without_proof}");
        let (derive, hmac, digest) = match short {
            true => (
                pbkdf2::PBKDF2_HMAC_SHA256,
                hmac::HMAC_SHA256,
                &digest::SHA256,
            ),
            false => (
                pbkdf2::PBKDF2_HMAC_SHA512,
                hmac::HMAC_SHA512,
                &digest::SHA512,
            ),
        };
        let mut salted = vec![0; digest.output_len()];
        pbkdf2::derive(
            derive,
            4096.try_into().unwrap(),
            b"salt",
            password.as_bytes(),
            &mut salted,
        );
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac, key), text);
        let stored = digest::digest(digest, sign(&salted, b"Client Key").as_ref());
        let signature = sign(stored.as_ref(), auth.as_bytes());
        let proof = STANDARD.decode(proof).unwrap();
        let key: Vec<u8> = proof
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        if digest::digest(digest, &key).as_ref() != stored.as_ref() {
            return None;
        }
        let server = sign(sign(&salted, b"Server Key").as_ref(), auth.as_bytes());
        Some(format!("v={}", STANDARD.encode(server)))
    }

    fn metadata(&self, version: i16, body: &mut Body<'_>) -> Vec<u8> {
        assert_eq!(version, 4);
        let count = body.i32();
        let names: Vec<String> = (0..count).map(|_| body.string()).collect();
        assert_eq!(body.take(1), [1]);
        let mut out = [
            0_i32.to_be_bytes(),
            1_i32.to_be_bytes(),
            1_i32.to_be_bytes(),
        ]
        .concat();
        out.extend(string(&self.host));
        out.extend(i32::from(self.port).to_be_bytes());
        out.extend([0xFF, 0xFF, 0xFF, 0xFF]); // rack and cluster id
        out.extend(1_i32.to_be_bytes());
        out.extend(count.to_be_bytes());
        for name in names {
            let partitions = self.rules.lock().unwrap().topics.get(&name).copied();
            out.extend(if partitions.is_some() { 0_i16 } else { 3 }.to_be_bytes());
            out.extend(string(&name));
            out.push(0);
            out.extend(partitions.unwrap_or(0).to_be_bytes());
            for partition in 0..partitions.unwrap_or(0) {
                out.extend(0_i16.to_be_bytes());
                for number in [partition, 1, 0, 0] {
                    out.extend(number.to_be_bytes());
                }
            }
        }
        out
    }

    fn produce(&self, version: i16, body: &mut Body<'_>) -> Option<Vec<u8>> {
        assert_eq!((version, body.i16(), body.i16()), (7, -1, -1));
        body.i32();
        let mut rules = self.rules.lock().unwrap();
        let deed = match rules.deeds.is_empty() {
            true => Deed::Answer(HashMap::new()),
            false => rules.deeds.remove(0),
        };
        let (codes, throttle) = match deed {
            Deed::Answer(codes) => (codes, 0),
            Deed::Throttle(ms) => (HashMap::new(), ms),
            Deed::Cut => return None,
            Deed::Hang => {
                drop(rules);
                loop {
                    std::thread::park();
                }
            }
        };
        let topics = body.i32();
        let mut out = topics.to_be_bytes().to_vec();
        for _ in 0..topics {
            let topic = body.string();
            let partitions = body.i32();
            out.extend(string(&topic));
            out.extend(partitions.to_be_bytes());
            for _ in 0..partitions {
                let partition = body.i32();
                let batch = body.bytes();
                assert_eq!(batch[16], 2, "magic");
                let code = codes.get(&partition).copied().unwrap_or(0);
                if code == 0 {
                    let count = i32::from_be_bytes(batch[57..61].try_into().unwrap());
                    rules.stored.push((topic.clone(), partition, count));
                }
                out.extend(partition.to_be_bytes());
                out.extend(code.to_be_bytes());
                out.extend([0; 24]);
            }
        }
        out.extend(throttle.to_be_bytes());
        Some(out)
    }
}
