//! The thread behind stdout, with writers that break in every way.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, mpsc};

use super::*;

/// Takes at most `usize` bytes, or fails.
type Answer = Result<usize, ErrorKind>;

/// Gives its answers in turn, then takes everything.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    written: Arc<Mutex<Vec<u8>>>,
    flushed: Arc<Mutex<usize>>,
}

impl Script {
    fn of(answers: &[Answer]) -> Script {
        Script {
            answers: Arc::new(Mutex::new(answers.iter().copied().collect())),
            ..Script::default()
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.written.lock().expect("written").clone()).expect("text")
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let answer = self.answers.lock().expect("answers").pop_front();
        let count = answer.unwrap_or(Ok(usize::MAX))?.min(bytes.len());
        let mut written = self.written.lock().expect("written");
        written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        *self.flushed.lock().expect("flushed") = self.written.lock().expect("written").len();
        Ok(())
    }
}

struct Rig {
    transport: StdoutTransport,
    woken: mpsc::Receiver<()>,
    next_id: u64,
}

impl Rig {
    fn new(under: Under, writer: impl Write + Send + 'static) -> Rig {
        let (wake, woken): (Sender<()>, _) = mpsc::channel();
        let wake = Mutex::new(wake);
        let waker = Waker::new(move || {
            let _gone = wake.lock().expect("waker").send(());
        });
        Rig {
            transport: StdoutTransport::start(waker, under, Box::new(writer)).expect("thread"),
            woken,
            next_id: 0,
        }
    }

    fn put(&mut self, body: &'static [u8]) -> Verdict {
        let id = self.next_id;
        self.next_id += 1;
        let attempt = Attempt {
            id,
            body: Bytes::from_static(body),
            records: 1,
            uncompressed_bytes: body.len() as u64,
        };
        self.transport.try_submit(attempt).expect("nothing waits");
        self.woken.recv().expect("a verdict wakes");
        let (of, verdict) = self.transport.poll_verdict().expect("it is there");
        assert_eq!(of, id);
        assert_eq!(self.transport.poll_verdict(), None);
        verdict
    }
}

fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Retry { reason, .. } => reason.code,
        other => panic!("{other:?} is no retry"),
    }
}

#[test]
fn accepted_means_written_and_flushed() {
    let script = Script::of(&[Ok(1), Ok(2), Err(ErrorKind::Interrupted), Ok(1)]);
    let mut rig = Rig::new(Under::Run, script.clone());
    assert_eq!(rig.put(b"{\"a\":1}\n"), Verdict::Accepted);
    assert_eq!(rig.put(b"[{},{}]"), Verdict::Accepted);
    assert_eq!(script.text(), "{\"a\":1}\n[{},{}]\n");
    let flushed = *script.flushed.lock().expect("flushed");
    assert_eq!(flushed, script.text().len());
}

#[test]
fn a_full_pipe_is_waited_for() {
    let blocked = [
        Ok(3),
        Err(ErrorKind::WouldBlock),
        Err(ErrorKind::WouldBlock),
    ];
    let script = Script::of(&blocked);
    let mut rig = Rig::new(Under::Run, script.clone());
    assert_eq!(rig.put(b"whole line\n"), Verdict::Accepted);
    assert_eq!(script.text(), "whole line\n");
}

#[test]
fn a_retry_goes_on_where_it_stopped() {
    let script = Script::of(&[Ok(4), Err(ErrorKind::StorageFull)]);
    let mut rig = Rig::new(Under::Run, script.clone());
    assert_eq!(code(&rig.put(b"one line\n")), "enospc");
    assert_eq!(rig.put(b"one line\n"), Verdict::Accepted);
    assert_eq!(script.text(), "one line\n");
}

#[test]
fn another_payload_begins_on_a_line_of_its_own() {
    let script = Script::of(&[Ok(4), Err(ErrorKind::Other)]);
    let mut rig = Rig::new(Under::Run, script.clone());
    assert_eq!(code(&rig.put(b"one line\n")), "io");
    assert_eq!(rig.put(b"another\n"), Verdict::Accepted);
    assert_eq!(script.text(), "one \nanother\n");
}

#[test]
fn a_closed_pipe_pauses_the_agent_and_ends_a_read() {
    for (under, closed) in [(Under::Run, false), (Under::Read, true)] {
        let (reader, writer) = io::pipe().expect("pipe");
        drop(reader);
        let mut rig = Rig::new(under, writer);
        assert!(!rig.transport.closed());
        let verdict = rig.put(b"nobody reads this\n");
        assert!(
            matches!(&verdict, Verdict::Pause(reason) if reason.code == "epipe"),
            "{verdict:?}"
        );
        assert_eq!(rig.transport.closed(), closed);
    }
}

#[test]
fn a_reader_that_does_not_read_never_blocks_the_worker() {
    let (_reader, writer) = io::pipe().expect("pipe");
    let mut rig = Rig::new(Under::Run, writer);
    let body = Bytes::from(vec![b'x'; 4 << 20]);
    let mut given_back = None;
    for id in 0..=WAITING_MAX as u64 + 1 {
        let attempt = Attempt {
            id,
            body: body.clone(),
            records: 1,
            uncompressed_bytes: 1,
        };
        if let Err(back) = rig.transport.try_submit(attempt) {
            given_back = Some(back.id);
            break;
        }
    }
    assert!(given_back.is_some(), "the queue is bounded");
    assert_eq!(rig.transport.poll_verdict(), None);
}
