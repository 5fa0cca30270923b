//! `longshore read` through the real binary: each shape of line that runtimes write, each kind of input, and its ends.
//! Lines are written here in the form that containerd and docker were seen to write them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use longshore::cli::demo::agent::{Agent, accounts_of, config, start_agent};
use longshore::config::{Compression as Codec, SinkKind};
use serde_json::Value;

/// containerd writes at most this much of a record into one line; docker too.
const PIECE_BYTES: usize = 16_384;
/// The default of `record_bytes_max`.
const RECORD_BYTES_MAX: usize = 256 * 1024;
const POD: &str = "shop_cart-0_0a1b/main";

/// What a run came to.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn rows(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect()
    }

    /// Stream, message, flags of each row.
    fn records(&self) -> Vec<(String, String, String)> {
        let rows = self.rows();
        let of = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        rows.iter()
            .map(|row| {
                (
                    of(row, "LogSource"),
                    of(row, "LogMessage"),
                    of(row, "LogFlags"),
                )
            })
            .collect()
    }

    fn times(&self) -> Vec<String> {
        let rows = self.rows();
        rows.iter()
            .map(|row| row["TimeGenerated"].as_str().unwrap().to_owned())
            .collect()
    }

    /// That it went well and said nothing but rows.
    fn good(self) -> Ran {
        assert_eq!((self.code, self.err.as_str()), (0, ""));
        self
    }
}

fn record(stream: &str, message: &str, flags: &str) -> (String, String, String) {
    (stream.to_owned(), message.to_owned(), flags.to_owned())
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.arg("read").args(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs on standard input, and on files named in `args`.
fn run(args: &[&str], stdin: &[u8]) -> Ran {
    let mut child = command(args).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(stdin).unwrap());
        child.wait_with_output().unwrap()
    });
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn read(bytes: &[u8]) -> Ran {
    run(&["-"], bytes).good()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A file in a directory of its own.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Node {
        Node(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// `rest` behind a time that differs from line to line.
fn cri(rest: &[&[u8]]) -> Vec<u8> {
    let lines = rest.iter().enumerate();
    lines
        .flat_map(|(at, rest)| [time(at).as_bytes(), b" ", rest, b"\n"].concat())
        .collect()
}

fn time(at: usize) -> String {
    format!(
        "2024-05-06T07:08:{:02}.{:09}Z",
        at / 1_000_000,
        123_456_789 - at
    )
}

/// Lines of docker's json-file driver; `log` as it stands between the quotes.
fn docker(logs: &[(&str, &str)]) -> String {
    let lines = logs.iter().enumerate();
    lines
        .map(|(at, (stream, log))| {
            format!(
                "{{\"log\":\"{log}\",\"stream\":\"{stream}\",\"time\":\"{}\"}}\n",
                time(at)
            )
        })
        .collect()
}

/// A record as containerd writes it: pieces of 16 KiB, the last one `F`.
fn in_pieces(message: &[u8]) -> (Vec<u8>, usize) {
    let pieces: Vec<&[u8]> = message.chunks(PIECE_BYTES).collect();
    let last = pieces.len() - 1;
    let rests: Vec<Vec<u8>> = pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| {
            [
                if at == last {
                    b"stdout F ".as_slice()
                } else {
                    b"stdout P "
                },
                piece,
            ]
            .concat()
        })
        .collect();
    let rests: Vec<&[u8]> = rests.iter().map(Vec::as_slice).collect();
    (cri(&rests), pieces.len())
}

#[test]
fn a_time_stays_as_it_was_written() {
    let ran = read(
        b"2024-05-06T07:08:09.6476865Z stdout F x\n\
          2024-05-06T07:08:09Z stdout F x\n\
          2024-05-06T09:08:09.50+02:00 stdout F x\n",
    );
    let times = [
        "2024-05-06T07:08:09.6476865Z",
        "2024-05-06T07:08:09Z",
        "2024-05-06T07:08:09.50Z",
    ];
    assert_eq!(ran.times(), times);
}

#[test]
fn a_record_of_any_length_is_one_row_under_the_time_of_its_first_part() {
    for (bytes, lines) in [(16_384, 1), (16_385, 2), (100_000, 7)] {
        // Characters of three bytes: cuts fall inside of them.
        let mut message = "\u{20ac}".repeat(bytes / 3);
        message.push_str(&"x".repeat(bytes % 3));
        let (log, written) = in_pieces(message.as_bytes());
        assert_eq!(written, lines);
        let ran = read(&[log, cri(&[b"stderr F behind"])].concat());
        let all = [
            record("stdout", &message, ""),
            record("stderr", "behind", ""),
        ];
        assert_eq!(ran.records(), all);
        assert_eq!(ran.times(), [time(0), time(0)]);
    }
}

#[test]
fn a_part_whose_end_never_comes_is_delivered_and_marked() {
    let ran = read(&cri(&[
        b"stdout P killed in ",
        b"stderr F whole",
        b"stdout P mid-line",
    ]));
    let all = [
        record("stderr", "whole", ""),
        record("stdout", "killed in mid-line", "partial"),
    ];
    assert_eq!(ran.records(), all);
}

#[test]
fn streams_interleave_between_the_parts_of_a_record() {
    let ran = read(&cri(&[
        b"stdout P a-",
        b"stderr P b-",
        b"stderr F b",
        b"stdout F a",
    ]));
    assert_eq!(
        ran.records(),
        [record("stderr", "b-b", ""), record("stdout", "a-a", "")]
    );
    assert_eq!(ran.times(), [time(1), time(0)]);
}

#[test]
fn whatever_the_container_writes_comes_through() {
    // What was written as `half `, and a second later `line\n`, is one record of the runtime's.
    let ran = read(&cri(&[
        b"stdout F half line",
        b"stdout F ",
        b"stdout F",
        b"stdout F nul \0 esc \x1b[0m tab \t quote \" backslash \\",
        b"stdout F bad \xff\xfe utf-8",
        b"stdout F two  spaces ",
        b"stdout F kept\r",
    ]));
    let messages = [
        "half line",
        "",
        "",
        "nul \0 esc \u{1b}[0m tab \t quote \" backslash \\",
        "bad \u{fffd}\u{fffd} utf-8",
        "two  spaces ",
        "kept\r",
    ];
    assert_eq!(
        ran.records(),
        messages.map(|message| record("stdout", message, ""))
    );
}

#[test]
fn docker_files_are_known_by_their_first_line() {
    let piece = "y".repeat(PIECE_BYTES);
    let mut log = docker(&[
        (
            "stdout",
            r#"\u003ca\u003e \"q\" \\ \t \u00e9 \ud83d\ude00\n"#,
        ),
        ("stderr", r"windows\r\n"),
        ("stdout", r"\n"),
        ("stdout", r"made valid: \ufffd\n"),
        ("stdout", &piece),
        ("stderr", r"between\n"),
        ("stdout", r"end\n"),
        ("stdout", "no line end"),
    ]);
    log.push_str(r#"{"log":"torn"#);
    let all = [
        record("stdout", "<a> \"q\" \\ \t \u{e9} \u{1f600}", ""),
        record("stderr", "windows\r", ""),
        record("stdout", "", ""),
        record("stdout", "made valid: \u{fffd}", ""),
        record("stderr", "between", ""),
        record("stdout", &format!("{piece}end"), ""),
        record("stdout", r#"{"log":"torn"#, "partial,unparsed"),
        record("stdout", "no line end", "partial"),
    ];
    assert_eq!(read(log.as_bytes()).records(), all);
    let node = Node::new();
    let path = node.write("x-json.log", log.as_bytes());
    assert_eq!(
        run(&[&path, "--format", "docker"], b"").good().records(),
        all
    );
    let raw = run(&[&path, "--format", "cri"], b"").good();
    let lines = log.lines().map(|line| record("stdout", line, "unparsed"));
    assert_eq!(raw.records()[..8], lines.take(8).collect::<Vec<_>>());
}

#[test]
fn a_last_line_without_its_end_is_delivered_and_marked() {
    let mut log = cri(&[b"stdout F one", b"stdout F tw"]);
    log.pop();
    let all = [
        record("stdout", "one", ""),
        record("stdout", "tw", "partial"),
    ];
    assert_eq!(read(&log).records(), all);
}

#[test]
fn lines_of_no_format_are_delivered_raw_under_the_time_before() {
    let mut log = b"garbage\n".to_vec();
    log.extend(cri(&[b"stderr F fine"]));
    log.extend(b"2024-05-06 stdout F no\n\n");
    let ran = read(&log);
    let all = [
        record("stdout", "garbage", "unparsed"),
        record("stderr", "fine", ""),
        record("stdout", "2024-05-06 stdout F no", "unparsed"),
        record("stdout", "", "unparsed"),
    ];
    assert_eq!(ran.records(), all);
    assert_eq!(
        ran.times(),
        ["1970-01-01T00:00:00Z".to_owned(), time(0), time(0), time(0)]
    );
}

#[test]
fn what_a_truncation_under_a_writer_leaves_is_passed_over_and_counted() {
    let log = [vec![0; 300_000], cri(&[b"stdout F on from the old offset"])].concat();
    let ran = run(&["-", "--summary"], &log);
    assert_eq!(
        ran.records(),
        [record("stdout", "on from the old offset", "")]
    );
    assert!(ran.err.contains("bytes of holes 300000"), "{}", ran.err);
}

#[test]
fn the_path_says_whose_log_it_is() {
    let node = Node::new();
    let log = cri(&[b"stdout F x"]);
    let id = "ab".repeat(32);
    let segment = node.write(&format!("{POD}/2.log.20240506-070809.gz"), &gzip(&log));
    let link = node.path(&format!("cart-0_shop_main-{id}.log"));
    std::os::unix::fs::symlink(node.write(&format!("{POD}/2.log"), &log), &link).unwrap();
    let nobody = node.write("some.log", &log);
    let ran = run(&[&segment, link.to_str().unwrap(), &nobody], b"").good();
    let of = |row: &Value| {
        let names = ["PodNamespace", "PodName", "ContainerName", "ContainerId"];
        let mut names = names
            .map(|name| row[name].as_str().unwrap().to_owned())
            .to_vec();
        names.push(
            row["KubernetesMetadata"]["podUid"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        names
    };
    let names: Vec<Vec<String>> = ran.rows().iter().map(of).collect();
    let known = |id| {
        ["shop", "cart-0", "main", id, "0a1b"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(names, [known(""), known(&id), vec![String::new(); 5]]);
    // From inside of the container's directory.
    let output = command(&["2.log"])
        .current_dir(node.path(POD))
        .output()
        .unwrap();
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(of(&row), known(""));
}

#[test]
fn files_are_read_in_the_order_given_and_one_that_is_missing_stops_none() {
    let node = Node::new();
    let first = node.write("first", &cri(&[b"stdout F 1", b"stdout P 2"]));
    let last = node.write("last", docker(&[("stderr", r"3\n")]).as_bytes());
    let missing = node.path("missing");
    let directory = node.0.path().to_str().unwrap();
    let files = [&last, missing.to_str().unwrap(), &first, directory, &last];
    let ran = run(&files, b"");
    let three = record("stderr", "3", "");
    let all = [
        three.clone(),
        record("stdout", "1", ""),
        record("stdout", "2", "partial"),
        three,
    ];
    assert_eq!(ran.records(), all);
    assert_eq!(ran.code, 1);
    let errors: Vec<&str> = ran.err.lines().collect();
    assert_eq!(errors.len(), 2, "{}", ran.err);
    assert!(errors[0].starts_with(&format!("cannot read {}: ", missing.display())));
    assert!(errors[1].starts_with(&format!("cannot read {directory}: ")));
}

#[test]
fn a_record_goes_on_in_the_next_file_of_its_container_alone() {
    let node = Node::new();
    let rotated = node.write(
        &format!("{POD}/0.log.20240506-070809"),
        &cri(&[b"stdout P begun, "]),
    );
    let live = node.write(&format!("{POD}/0.log"), &cri(&[b"stdout F ended"]));
    let other = node.write(&format!("{POD}/1.log"), &cri(&[b"stdout F ended"]));
    let ran = run(&[&rotated, &live], b"").good();
    assert_eq!(ran.records(), [record("stdout", "begun, ended", "")]);
    let ran = run(&[&rotated, &other], b"").good();
    let apart = [
        record("stdout", "begun, ", "partial"),
        record("stdout", "ended", ""),
    ];
    assert_eq!(ran.records(), apart);
}

#[test]
fn of_a_damaged_gzip_what_comes_before_is_printed() {
    let node = Node::new();
    let lines: Vec<Vec<u8>> = (0..2_000)
        .map(|at| format!("stdout F line {at}").into())
        .collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let log = cri(&lines);
    let whole = gzip(&log);
    let cut_short = &whole[..whole.len() / 2];
    let mut changed = whole.clone();
    let checksum = changed.len() - 8;
    changed[checksum] ^= 1;
    let garbage = [&whole[..], b"something else"].concat();
    let good = node.write("good", &cri(&[b"stdout F behind"]));
    for (bytes, least, why) in [
        (cut_short, 500, "cut short"),
        (&changed, 2_000, "checksum"),
        (&garbage, 2_000, "not gzip"),
    ] {
        let path = node.write("damaged.gz", bytes);
        let ran = run(&[&path, &good], b"");
        assert_eq!(ran.code, 1);
        assert!(
            ran.err.starts_with(&format!("cannot read {path}: ")),
            "{}",
            ran.err
        );
        assert!(
            ran.err.contains(why) && ran.err.lines().count() == 1,
            "{}",
            ran.err
        );
        let mut records = ran.records();
        assert_eq!(records.pop(), Some(record("stdout", "behind", "")));
        // The last one may be torn.
        let torn = (records.len() < 2_000).then(|| records.pop().unwrap());
        assert!(torn.is_none_or(|torn| torn.2.contains("partial")));
        assert!(records.len() >= least, "{why}: {}", records.len());
        for (at, found) in records.iter().enumerate() {
            assert_eq!(found, &record("stdout", &format!("line {at}"), ""));
        }
    }
    let several = [whole.as_slice(), &gzip(&cri(&[b"stdout F second member"]))].concat();
    assert_eq!(run(&["-"], &several).good().records().len(), 2_001);
}

/// The most memory that a process had, in KiB.
fn peak_kib(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Feeds `log` and a line behind it; gives the rows before that line's, and the peak of memory then.
fn feed(mut log: impl Read + Send, compressed: bool) -> (Vec<Value>, u64) {
    let mut child = command(&["-"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut rows = BufReader::new(child.stdout.take().unwrap());
    let mut before = Vec::new();
    let peak = std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            std::io::copy(&mut log, &mut stdin).unwrap();
            let last = cri(&[b"stderr F the last"]);
            stdin
                .write_all(&if compressed { gzip(&last) } else { last })
                .unwrap();
            stdin.flush().unwrap();
            stdin
        });
        // It waits for more once this line is out, so its memory can be looked at.
        loop {
            let mut row = String::new();
            assert_ne!(rows.read_line(&mut row).unwrap(), 0, "ended early");
            let row: Value = serde_json::from_str(&row).unwrap();
            if row["LogMessage"] == "the last" {
                break;
            }
            before.push(row);
        }
        let peak = peak_kib(&child);
        drop(writer.join().unwrap());
        peak
    });
    assert!(child.wait().unwrap().success());
    (before, peak)
}

#[test]
fn memory_is_bounded_whatever_the_lines() {
    const LINE_BYTES: u64 = 50_000_000;
    let (none, usual) = feed(std::io::empty(), false);
    assert!(none.is_empty());
    let bound = usual + 8 * 1024;
    let whole = [record_of('x', "cut")];
    let line = || {
        let head = format!("{} stdout F ", time(0));
        std::io::Cursor::new(head)
            .chain(std::io::repeat(b'x').take(LINE_BYTES))
            .chain(&b"\n"[..])
    };
    let check = |(rows, peak): (Vec<Value>, u64), what: &str| {
        let found: Vec<_> = rows.iter().map(row_of).collect();
        assert_eq!(found, whole, "{what}");
        assert!(
            peak < bound,
            "{what}: {peak} KiB, of a small log {usual} KiB"
        );
    };
    check(feed(line(), false), "one line");
    let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut line(), &mut compressed).unwrap();
    check(
        feed(&compressed.finish().unwrap()[..], true),
        "one line, compressed",
    );
    let part = cri(&[&[b"stdout P ", "x".repeat(PIECE_BYTES).as_bytes()].concat()]);
    let parts = part.repeat(LINE_BYTES as usize / PIECE_BYTES);
    let end = cri(&[b"stdout F x"]);
    check(feed(parts.chain(&end[..]), false), "one record in parts");
}

/// Length and first character of a message that is cut at the record limit, and its flags.
fn record_of(character: char, flags: &str) -> (usize, Option<char>, String) {
    (RECORD_BYTES_MAX, Some(character), flags.to_owned())
}

fn row_of(row: &Value) -> (usize, Option<char>, String) {
    let message = row["LogMessage"].as_str().unwrap();
    (
        message.len(),
        message.chars().next(),
        row["LogFlags"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let node = Node::new();
    let path = node.write("long", &cri(&[b"stdout F x"]).repeat(200_000));
    for args in [&[path.as_str()][..], &[&path, "--summary"]] {
        let mut child = command(args).spawn().unwrap();
        let mut rows = BufReader::new(child.stdout.take().unwrap());
        let mut row = String::new();
        rows.read_line(&mut row).unwrap();
        assert!(row.ends_with('\n'));
        drop(rows);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}

#[test]
fn rows_that_cannot_be_written_are_a_failure() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let node = Node::new();
    let path = node.write("log", &cri(&[b"stdout F x"]));
    let output = command(&[&path]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.starts_with("cannot write rows to standard output: "),
        "{err}"
    );
}

#[test]
fn rows_are_out_before_the_input_ends() {
    let mut child = command(&["-"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut rows = BufReader::new(child.stdout.take().unwrap());
    for at in 0..3 {
        stdin
            .write_all(&cri(&[format!("stdout F {at}").as_bytes()]))
            .unwrap();
        let mut row = String::new();
        rows.read_line(&mut row).unwrap();
        let row: Value = serde_json::from_str(&row).unwrap();
        assert_eq!(row["LogMessage"], at.to_string());
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_options_shape_the_rows() {
    let node = Node::new();
    let log = cri(&[
        br#"stdout F {"level":"error","n":1}"#,
        b"stderr F plain",
        b"stdout P open",
    ]);
    let path = node.write("log", &log);
    let plain = run(&[&path], b"").good().rows();
    assert_eq!(plain[0]["LogMessage"], r#"{"level":"error","n":1}"#);
    assert_eq!(plain[0]["LogLevel"], "ERROR");
    assert!(plain.iter().all(|row| row.get("RecordUid").is_none()));

    let array = run(
        &[&path, "--json-array", "--record-uid", "--parse-json"],
        b"",
    )
    .good();
    let rows: Vec<Value> = serde_json::from_str(&array.out).unwrap();
    assert_eq!(rows.len(), plain.len());
    assert_eq!(rows[0]["LogMessage"]["n"], 1);
    let mut uids: Vec<&str> = rows
        .iter()
        .map(|row| row["RecordUid"].as_str().unwrap())
        .collect();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), rows.len());

    let ran = run(&["-", "--json-array"], b"").good();
    assert_eq!(
        serde_json::from_str::<Vec<Value>>(&ran.out).unwrap(),
        Vec::<Value>::new()
    );
    let ran = run(&[&path, &path, "--summary"], b"");
    let summary = "files 2, lines 6, records 6, partial 2, cut 0, unparsed 0, bytes cut off 0, bytes of holes 0\n";
    assert_eq!((ran.code, ran.err.as_str()), (0, summary));
}

/// The rows of all files, in the order of their names.
fn shipped(directory: &Path) -> String {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".ndjson"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// Also holds the formula of the record uids together, and with it that a store which knows them can be filled up by
/// hand without duplicates.
#[test]
fn the_rows_are_those_of_the_agent() {
    let node = Node::new();
    let (long, _) = in_pieces(&vec![b'z'; RECORD_BYTES_MAX + 10]);
    let first = cri(&[b"stdout F WARN one", b"stderr F \xff", b"stdout P over "]);
    let second = [cri(&[b"stdout F two files"]), long, cri(&[b"stderr F end"])].concat();
    let rotated = node.write(
        &format!("pods/{POD}/0.log.20240506-070809.gz"),
        &gzip(&first),
    );
    let live = node.write(&format!("pods/{POD}/0.log"), &second);

    let mut config = config(node.0.path());
    config.node.clear();
    let sink = &mut config.sinks[0];
    sink.compression = Codec::None;
    sink.rows.record_uid = true;
    let SinkKind::File(file) = &sink.kind else {
        panic!("the demo writes files")
    };
    let rows = file.directory.clone();
    let agent = Agent::start(&config, &start_agent).unwrap();
    let wanted = (first.len() + second.len()) as u64;
    let deadline = Instant::now() + Duration::from_secs(60);
    while accounts_of(&agent.boards()).settled() < wanted {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            accounts_of(&agent.boards())
        );
        std::thread::yield_now();
    }
    agent.stop();

    let ran = run(&["--record-uid", &rotated, &live], b"").good();
    assert_eq!(ran.rows().len(), 5);
    let shipped = shipped(&rows);
    assert_eq!(shipped.lines().count(), 5);
    for (printed, shipped) in ran.out.lines().zip(shipped.lines()) {
        assert!(
            printed == shipped,
            "{printed:.900}\n--- the agent:\n{shipped:.900}"
        );
    }
}
