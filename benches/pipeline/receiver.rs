//! An HTTP receiver that reads each body to its end and says 200, as cheaply as it can.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Child;

use crate::Outcome;

/// Receives until it is killed; prints its address first.
pub fn receive() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || serve(stream).is_ok());
    }
    Ok(())
}

/// The URL of a receiver just started.
pub fn address_of(receiver: &mut Child) -> Outcome<String> {
    let output = receiver.stdout.take().ok_or("the receiver has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(format!("http://{}/logs", line.trim()))
}

fn serve(stream: TcpStream) -> Outcome<()> {
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
        std::io::copy(&mut requests.by_ref().take(length), &mut std::io::sink())?;
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}
