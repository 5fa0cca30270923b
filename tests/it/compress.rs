//! Payloads as `gzip`, `zstd` and Python read them: decoders that share no code with the encoders under test. A decoder
//! that this machine lacks is named on standard error, and nothing is proven with it.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use longshore::config::Compression;
use longshore::encode::compress::Compressor;

/// Reads bodies, each behind its length, and writes their contents in the same way: all in one process, for it takes
/// long to start. Both of Python's doors to deflate have to agree, and the second finds nothing behind the member.
const PYTHON: &str = "
import gzip, struct, sys, zlib
while head := sys.stdin.buffer.read(8):
    body = sys.stdin.buffer.read(struct.unpack('<Q', head)[0])
    content = gzip.decompress(body)
    member = zlib.decompressobj(wbits=31)
    assert member.decompress(body) + member.flush() == content
    assert member.eof and not member.unused_data
    sys.stdout.buffer.write(struct.pack('<Q', len(content)) + content)
";
const GZIP_LEVELS: [u32; 5] = [1, 2, 3, 6, 9];
const ZSTD_LEVELS: [i32; 4] = [1, 2, 9, 19];

/// Contents under their names: the shapes that encoders get wrong.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = (0..200_000).map(|_| random.u8(..)).collect();
    let row = |number: u32| {
        format!(
            "{{\"PodName\":\"web-5d9c7b8f6d-x2x7k\",\"LogMessage\":\"took {} ms\",\"LogLevel\":\"INFO\"}}\n",
            number.wrapping_mul(2_654_435_761) % 977
        )
    };
    let rows: String = (0..40_000).map(row).collect();
    // The same bytes again at the largest distance that deflate can name, and one beyond it.
    let far = |distance: usize| noise.iter().take(distance).cycle().take(150_000).copied();
    vec![
        ("nothing", Vec::new()),
        ("one byte", vec![0]),
        ("one value", vec![b'x'; 300_000]),
        ("64 KiB", rows.bytes().take(65_536).collect()),
        ("64 KiB and a byte", rows.bytes().take(65_537).collect()),
        ("distance 32768", far(32_768).collect()),
        ("distance 32769", far(32_769).collect()),
        ("rows", rows.into_bytes()),
        ("noise", noise),
    ]
}

fn compress(compressor: &mut Compressor, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    compressor.begin().unwrap();
    for piece in content.chunks(40_001) {
        compressor.write(piece, &mut body).unwrap();
    }
    compressor.finish(&mut body).unwrap();
    body
}

/// What a program makes of `input`; absent if this machine does not have the program.
fn pipe(command: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("{command:?}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    assert_eq!(complaint, "", "{command:?}");
    feeder.join().unwrap().unwrap();
    Some(output.stdout)
}

/// Whether this machine has a decoder; says so if not.
fn has(decoder: &str) -> bool {
    let has = pipe(&[decoder, "--version"], b"").is_some();
    if !has {
        eprintln!("NOT PROVEN with {decoder}: this machine has none");
    }
    has
}

/// Each content, and what a compressor in use makes of it.
fn bodies(kind: Compression) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let mut compressor = Compressor::new(kind);
    contents()
        .into_iter()
        .map(|(name, content)| {
            let body = compress(&mut compressor, &content);
            (name, content, body)
        })
        .collect()
}

/// A command that unpacks, and one that only says whether a body is sound, both know all contents at these levels.
fn read_by(unpack: &[&str], check: &[&str], kinds: &[Compression]) {
    if !has(unpack[0]) {
        return;
    }
    for kind in kinds {
        for (name, content, body) in bodies(*kind) {
            pipe(check, &body).unwrap();
            let read = pipe(unpack, &body).unwrap();
            assert!(read == content, "{unpack:?}, {kind:?}: {name}");
        }
    }
}

fn framed<'a>(parts: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    parts
        .flat_map(|part| [&(part.len() as u64).to_le_bytes(), part.as_slice()].concat())
        .collect()
}

#[test]
fn gzip_reads_what_we_write() {
    read_by(
        &["gzip", "-dc"],
        &["gzip", "-t"],
        &GZIP_LEVELS.map(Compression::Gzip),
    );
}

#[test]
fn python_reads_what_we_write() {
    if !has("python3") {
        return;
    }
    for kind in GZIP_LEVELS.map(Compression::Gzip) {
        let bodies = bodies(kind);
        let input = framed(bodies.iter().map(|(_, _, body)| body));
        let read = pipe(&["python3", "-c", PYTHON], &input).unwrap();
        let contents = framed(bodies.iter().map(|(_, content, _)| content));
        assert!(read == contents, "{kind:?}");
    }
}

#[test]
fn zstd_reads_what_we_write() {
    read_by(
        &["zstd", "-dcq"],
        &["zstd", "-tq"],
        &ZSTD_LEVELS.map(Compression::Zstd),
    );
}
