//! One request to an agent's admin pages, and its answer. Bounded in time and bytes.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;

use crate::admin::explain::Answer;
use crate::admin::explain::question::Question;
use crate::clock::{Clock, SystemClock};

/// An agent answers at once, unless its node has no time for it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Far more than the largest answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// Nobody is there, or does not speak to the end.
    #[error(
        "cannot ask the agent at {address}: {source}; does it run there? --admin HOST:PORT says where"
    )]
    Unreached {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody else is there, or an agent of another version.
    #[error(
        "what answers at {address} does not know /explain: {found}; is it a longshore of this version?"
    )]
    Stranger {
        /// Where.
        address: String,
        /// What was found instead.
        found: String,
    },
}

/// Asks the agent at `address`.
pub(super) fn ask(address: &str, question: &Question) -> Result<Answer, AskError> {
    let unreached = |source| AskError::Unreached {
        address: address.to_owned(),
        source,
    };
    let stranger = |found: &str| AskError::Stranger {
        address: address.to_owned(),
        found: found.to_owned(),
    };
    let response = exchange(address, &path(question)).map_err(unreached)?;
    let (status, body) = body(&response).ok_or_else(|| stranger("no HTTP"))?;
    if status != 200 {
        return Err(stranger(&format!("HTTP status {status}")));
    }
    serde_json::from_slice(body).map_err(|error| stranger(&error.to_string()))
}

fn path(question: &Question) -> String {
    let Question {
        namespace,
        pod,
        container,
    } = question;
    let mut path = format!(
        "/explain?namespace={}&pod={}",
        encoded(namespace),
        encoded(pod)
    );
    if let Some(container) = container {
        path.push_str(&format!("&container={}", encoded(container)));
    }
    path
}

/// Percent-encoded: all but what never needs it (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            // Writing to a string does not fail.
            false => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

fn exchange(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let clock = SystemClock::new();
    let until = clock.now() + TIMEOUT;
    let left = || match until.since(clock.now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for one in address.to_socket_addrs()?.take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&one, left()?) {
            Ok(mut stream) => {
                stream.set_write_timeout(Some(left()?))?;
                let head = "Host: longshore\r\nConnection: close\r\n\r\n";
                stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}").as_bytes())?;
                return read(&mut stream, left);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read(stream: &mut TcpStream, left: impl Fn() -> io::Result<Duration>) -> io::Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let read = match stream.read(&mut block) {
            Ok(0) => return Ok(response),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        response.extend_from_slice(block.get(..read).unwrap_or_default());
        if response.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"),
            ));
        }
    }
}

/// The status and the body of a response that is whole.
fn body(response: &[u8]) -> Option<(u16, &[u8])> {
    let end = memchr::memmem::find(response, b"\r\n\r\n")?;
    let head = std::str::from_utf8(response.get(..end)?).ok()?;
    let body = response.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.splitn(3, ' ');
    let version = first.next()?;
    let status = first.next()?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = length.is_none_or(|length| length == body.len());
    (version.starts_with("HTTP/1.") && whole).then_some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_asked_for() {
        let question = Question {
            namespace: "a&b".to_owned(),
            pod: "x y#\u{e4}".to_owned(),
            container: Some("c-1.d".to_owned()),
        };
        let path = path(&question);
        assert_eq!(
            path,
            "/explain?namespace=a%26b&pod=x%20y%23%C3%A4&container=c-1.d"
        );
        let (_, query) = path.split_once('?').unwrap();
        assert_eq!(Question::parse(query), Ok(question));
    }

    #[test]
    fn half_a_response_is_none() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(body(whole), Some((200, &b"{}"[..])));
        for len in 0..whole.len() {
            assert_eq!(body(&whole[..len]), None, "{len}");
        }
        assert_eq!(body(b"220 smtp\r\n\r\n"), None);
    }
}
