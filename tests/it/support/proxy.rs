//! A small HTTP proxy: `CONNECT` tunnels, and plain requests by their whole URL. One thread per connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// The running proxy. It lives as long as the test process; its connections end with either side.
pub struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

/// What the proxy asks for and does.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    /// The exact `Proxy-Authorization`; another one is answered 407.
    pub authorization: Option<String>,
    /// Answers everything with this status.
    pub refuse: Option<u16>,
}

impl Proxy {
    /// Starts one.
    pub fn start(rules: ProxyRules) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), rules, noted) = (stream, rules.clone(), Arc::clone(&noted)) else {
                    return;
                };
                std::thread::spawn(move || relay(stream, &rules, &noted));
            }
        });
        Proxy { address, seen }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request lines that came.
    pub fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

fn relay(mut client: TcpStream, rules: &ProxyRules, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let head = read_head(&mut client)?;
    let first = head.lines().next().unwrap_or_default().to_string();
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(first.clone());
    let given = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then_some(value)
    });
    let refuse = match &rules.authorization {
        Some(wanted) if given != Some(wanted) => Some(407),
        _ => rules.refuse,
    };
    if let Some(status) = refuse {
        let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
        client.write_all(answer.as_bytes())?;
        // Reads what is still to come, so that closing does not reset the answer away.
        client.shutdown(Shutdown::Write)?;
        io::copy(&mut client, &mut io::sink())?;
        return Ok(());
    }
    let (method, target) = first.split_once(' ').unwrap_or_default();
    let target = target.split(' ').next().unwrap_or_default();
    let mut server = if method == "CONNECT" {
        let server = TcpStream::connect(target)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        server
    } else {
        let (host, path) = target
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut server = TcpStream::connect(host)?;
        let head = head.replacen(target, &format!("/{path}"), 1);
        server.write_all(head.as_bytes())?;
        server
    };
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ended = io::copy(&mut from_server, &mut to_client);
        let _closed = to_client.shutdown(Shutdown::Both);
    });
    let _ended = io::copy(&mut client, &mut server);
    let _closed = server.shutdown(Shutdown::Both);
    back.join().map_err(|_| io::ErrorKind::Other.into())
}

/// The request's head, byte by byte so that nothing behind it is taken.
fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}
