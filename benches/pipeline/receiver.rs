//! A receiver that reads each body to its end and says that all is well, as cheaply as it can: HTTP/1.1 with the answers
//! that each protocol asks for, and on another port gRPC.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Child;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::Outcome;

/// Receives until it is killed; prints its URLs first.
pub fn receive() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let of_h2 = TcpListener::bind("127.0.0.1:0")?;
    println!(
        "http://{} http://{}",
        listener.local_addr()?,
        of_h2.local_addr()?
    );
    std::thread::spawn(move || receive_h2(of_h2).is_ok());
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || serve(stream).is_ok());
    }
    Ok(())
}

/// The URLs of a receiver just started: of HTTP/1.1 and of HTTP/2.
pub fn urls_of(receiver: &mut Child) -> Outcome<[String; 2]> {
    let output = receiver.stdout.take().ok_or("the receiver has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let (first, second) = line
        .trim()
        .split_once(' ')
        .ok_or("the receiver says no URLs")?;
    Ok([first.to_owned(), second.to_owned()])
}

/// Status, and body as JSON, for what was asked for by this path.
fn answer(path: &str) -> (u16, &'static str) {
    if path.ends_with("/_bulk") {
        (200, r#"{"errors":false}"#)
    } else if path.starts_with("/services/collector") {
        (200, r#"{"text":"Success","code":0}"#)
    } else if path.ends_with("/token") {
        let token = r#"{"access_token":"t","expires_in":3600,"token_type":"Bearer"}"#;
        (200, token)
    } else if path.starts_with("/dataCollectionRules") || path.starts_with("/loki") {
        (204, "")
    } else {
        (200, "")
    }
}

fn serve(stream: TcpStream) -> Outcome<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(256 * 1024, stream);
    let mut line = String::new();
    loop {
        let (mut length, mut path) = (0, String::new());
        loop {
            line.clear();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let header = line.trim();
            if header.is_empty() {
                break;
            }
            let lower = header.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            } else if path.is_empty() {
                let target = header.split(' ').nth(1).unwrap_or_default();
                path = target.split('?').next().unwrap_or_default().to_owned();
            }
        }
        std::io::copy(&mut requests.by_ref().take(length), &mut std::io::sink())?;
        let (status, body) = answer(&path);
        let length = match status {
            204 => String::new(),
            _ => format!("content-length: {}\r\n", body.len()),
        };
        // In one piece: several would wait for each other's acknowledgement.
        let whole = format!("HTTP/1.1 {status} Fine\r\n{length}\r\n{body}");
        answers.write_all(whole.as_bytes())?;
    }
}

fn receive_h2(listener: TcpListener) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let service = hyper::service::service_fn(stored);
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(64)
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    })
}

/// An empty message, and the trailers of success.
async fn stored(
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let empty = Full::new(Bytes::from_static(&[0; 5]));
    let body = empty.with_trailers(async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok(trailers))
    });
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}
