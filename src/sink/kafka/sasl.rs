//! Who we are, said in SASL: PLAIN (RFC 4616), SCRAM (RFC 5802, RFC 7677) and OAUTHBEARER (RFC 7628), as pure steps.
//!
//! Invariant: a secret is in what is sent and nowhere else. User names and passwords are taken as they are, without
//! SASLprep: brokers in the field do not apply it either beyond ASCII.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2};

use crate::config::ScramHash;

/// Iterations that a broker may ask for: fewer are refused by RFC 7677, more would keep us busy on its behalf.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;
/// The channel binding "none", in base64.
const NO_BINDING: &str = "biws";

/// The one message of PLAIN.
pub fn plain(user: &str, password: &str) -> Vec<u8> {
    format!("\0{user}\0{password}").into_bytes()
}

/// The one message of OAUTHBEARER.
pub fn bearer(token: &str) -> Vec<u8> {
    format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes()
}

/// Why the exchange came to nothing. No value of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not a message of the protocol.
    #[error("the broker's part of SCRAM cannot be read")]
    Malformed,
    /// It continues somebody else's exchange.
    #[error("the broker answered to another SCRAM exchange than ours")]
    Nonce,
    /// The password is not hashed often enough, or too often.
    #[error("the broker asks for {0} iterations of SCRAM; allowed are 4096 to 1000000")]
    Iterations(u32),
    /// It does not know the password either.
    #[error("the broker could not prove that it knows the password")]
    Proof,
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// One exchange of SCRAM.
pub struct Scram {
    hash: ScramHash,
    password: String,
    nonce: String,
    first_bare: String,
}

/// What we expect of the broker's last message.
#[derive(Clone, PartialEq, Eq)]
pub struct Expected(String);

impl Scram {
    /// An exchange with a fresh nonce.
    pub fn start(hash: ScramHash, user: &str, password: &str) -> Result<Scram, ScramError> {
        let mut nonce = [0; 24];
        let random = ring::rand::SystemRandom::new();
        random.fill(&mut nonce).map_err(|_| ScramError::Random)?;
        Ok(Scram::with_nonce(
            hash,
            user,
            password,
            STANDARD.encode(nonce),
        ))
    }

    fn with_nonce(hash: ScramHash, user: &str, password: &str, nonce: String) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram {
            hash,
            password: password.to_owned(),
            first_bare: format!("n={user},r={nonce}"),
            nonce,
        }
    }

    /// The first message.
    pub fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// The answer to the broker's first message, and what its last has to be. Takes as long as hashing a password does.
    pub fn answer(&self, server_first: &[u8]) -> Result<(Vec<u8>, Expected), ScramError> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| ScramError::Malformed)?;
        let mut nonce = None;
        let mut salt = None;
        let mut iterations = None;
        for part in server_first.split(',') {
            match part.split_once('=') {
                Some(("r", value)) => nonce = Some(value),
                Some(("s", value)) => salt = STANDARD.decode(value).ok(),
                Some(("i", value)) => iterations = value.parse::<u32>().ok(),
                _ => {}
            }
        }
        let (Some(nonce), Some(salt), Some(count)) = (nonce, salt, iterations) else {
            return Err(ScramError::Malformed);
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let iterations = NonZeroU32::new(count)
            .filter(|_| ITERATIONS.contains(&count))
            .ok_or(ScramError::Iterations(count))?;
        let (pbkdf2, hmac, digest) = match self.hash {
            ScramHash::Sha256 => (
                pbkdf2::PBKDF2_HMAC_SHA256,
                hmac::HMAC_SHA256,
                &digest::SHA256,
            ),
            ScramHash::Sha512 => (
                pbkdf2::PBKDF2_HMAC_SHA512,
                hmac::HMAC_SHA512,
                &digest::SHA512,
            ),
        };
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac, key), text);
        let mut salted = vec![0; digest.output_len()];
        pbkdf2::derive(
            pbkdf2,
            iterations,
            &salt,
            self.password.as_bytes(),
            &mut salted,
        );
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(digest, client_key.as_ref());
        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let auth = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = sign(stored_key.as_ref(), auth.as_bytes());
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, signature)| key ^ signature).collect();
        let server_key = sign(&salted, b"Server Key");
        let server_signature = sign(server_key.as_ref(), auth.as_bytes());
        Ok((
            format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes(),
            Expected(format!("v={}", STANDARD.encode(server_signature))),
        ))
    }
}

impl Expected {
    /// Whether the broker's last message shows that it knows the password.
    pub fn check(&self, server_final: &[u8]) -> Result<(), ScramError> {
        let proof = server_final.split(|byte| *byte == b',').next();
        match proof == Some(self.0.as_bytes()) {
            true => Ok(()),
            false => Err(ScramError::Proof),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn scram(user: &str) -> Scram {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        Scram::with_nonce(ScramHash::Sha256, user, "pencil", nonce)
    }

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_specification() {
        let scram = scram("user");
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (answer, expected) = scram.answer(FIRST.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            concat!(
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,",
                "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            )
        );
        let last = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(expected.check(last.as_bytes()), Ok(()));
        assert_eq!(expected.check(b"v=AAAA"), Err(ScramError::Proof));
        assert_eq!(expected.check(b"e=other-error"), Err(ScramError::Proof));
    }

    #[test]
    fn a_broker_that_bends_the_rules_is_refused() {
        let of = |first: &str| scram("user").answer(first.as_bytes()).err().unwrap();
        assert_eq!(of(&FIRST.replace("r=r", "r=x")), ScramError::Nonce);
        assert_eq!(
            of("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096"),
            ScramError::Nonce
        );
        assert_eq!(of(&FIRST.replace("4096", "1")), ScramError::Iterations(1));
        assert_eq!(
            of(&FIRST.replace("4096", "4000000000")),
            ScramError::Iterations(4_000_000_000)
        );
        assert_eq!(of("e=unknown-user"), ScramError::Malformed);
    }

    #[test]
    fn names_are_written_so_that_they_end_where_they_end() {
        let first = String::from_utf8(scram("a=b,c").first()).unwrap();
        assert_eq!(first, "n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(plain("u", "p"), b"\0u\0p");
        assert_eq!(bearer("t"), b"n,,\x01auth=Bearer t\x01\x01");
    }
}
