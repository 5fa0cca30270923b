//! An HTTP receiver that notes when each request was whole, and looks into them only when it is asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore::config::Compression;
use longshore::encode::compress::decompress;

use crate::writer::Load;
use crate::{Outcome, now};

/// What the quiet lines of the window took.
pub struct Latencies {
    pub ms: Vec<f64>,
    /// Requests that came within the window.
    pub requests: u64,
    /// Bodies that could not be read.
    pub foreign: u64,
}

pub struct Receiver {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    pub url: String,
}

impl Receiver {
    pub fn start() -> Outcome<Receiver> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("receive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the receiver has no output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let url = format!("http://{}/rows", line.trim());
        Ok(Receiver { child, output, url })
    }

    /// Ends it.
    pub fn latencies(&mut self, load: &Load) -> Outcome<Latencies> {
        let input = self.child.stdin.as_mut().ok_or("no input")?;
        writeln!(input, "{} {}", load.from.as_nanos(), load.to.as_nanos())?;
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        let mut words = text.split_whitespace();
        let mut next = || words.next().ok_or("the receiver failed");
        let (requests, foreign) = (next()?.parse()?, next()?.parse()?);
        let ms = words.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Latencies {
            ms,
            requests,
            foreign,
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _over: std::io::Result<()> = self.child.kill();
        let _status = self.child.wait();
    }
}

type Inbox = Arc<Mutex<Vec<(Duration, Vec<u8>)>>>;

/// The process: prints its address, receives until a window is named on standard input, prints what came of it.
pub fn run() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let inbox = Inbox::default();
    let filled = Arc::clone(&inbox);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let inbox = Arc::clone(&filled);
            std::thread::spawn(move || serve(stream, &inbox).is_ok());
        }
    });
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let (from, to) = line.trim().split_once(' ').ok_or("not a window")?;
    let window = Duration::from_nanos(from.parse()?)..Duration::from_nanos(to.parse()?);
    let bodies = std::mem::take(&mut *inbox.lock().unwrap_or_else(PoisonError::into_inner));
    let requests = bodies.iter().filter(|(at, _)| window.contains(at)).count();
    let (mut foreign, mut ms, mut text) = (0, Vec::new(), Vec::new());
    for (arrived, body) in &bodies {
        text.clear();
        if decompress(Compression::Gzip(1), body, &mut text, 64 << 20).is_err() {
            foreign += 1;
            continue;
        }
        for found in memchr::memmem::find_iter(&text, b"quiet at=") {
            let digits = &text[found + b"quiet at=".len()..];
            let len = digits.iter().take_while(|byte| byte.is_ascii_digit());
            let digits = &digits[..len.count()];
            let written = Duration::from_nanos(std::str::from_utf8(digits)?.parse()?);
            if window.contains(&written) {
                ms.push(arrived.saturating_sub(written).as_secs_f64() * 1e3);
            }
        }
    }
    print!("{requests} {foreign}");
    for ms in ms {
        print!(" {ms}");
    }
    println!();
    Ok(())
}

fn serve(stream: TcpStream, inbox: &Inbox) -> Outcome<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(256 * 1024, stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        requests.read_exact(&mut body)?;
        let arrived = now();
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((arrived, body));
    }
}
