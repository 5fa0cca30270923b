use std::io::Read;

use proptest::prelude::*;

use super::*;

const KINDS: [Compression; 8] = [
    Compression::None,
    Compression::Gzip(1),
    Compression::Gzip(2),
    Compression::Gzip(9),
    Compression::Zstd(1),
    Compression::Zstd(3),
    Compression::Zstd(19),
    Compression::Snappy,
];

fn compress(compressor: &mut Compressor, pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    compressor.begin().unwrap();
    for piece in pieces {
        compressor.write(piece, &mut out).unwrap();
    }
    compressor.finish(&mut out).unwrap();
    out
}

/// What a reader that knows nothing of this module makes of a body.
fn read_elsewhere(kind: Compression, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    match kind {
        Compression::None => content.extend_from_slice(body),
        Compression::Gzip(_) => {
            let mut reader = flate2::bufread::GzDecoder::new(body);
            reader.read_to_end(&mut content).unwrap();
            assert!(reader.into_inner().is_empty(), "more than one member");
            let mut again = Vec::new();
            let mut reader = flate2::read::MultiGzDecoder::new(body);
            reader.read_to_end(&mut again).unwrap();
            assert!(again == content);
        }
        Compression::Zstd(_) => {
            assert_eq!(
                zstd::zstd_safe::find_frame_compressed_size(body),
                Ok(body.len())
            );
            content = zstd::stream::decode_all(body).unwrap();
        }
        Compression::Snappy => {
            content = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        }
    }
    content
}

/// Pieces that together are larger than a step, some of which compress and some of which do not.
fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), 0..200_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        (any::<u64>(), 0..60_000_usize).prop_map(|(seed, len)| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..len).map(|_| random.u8(..)).collect()
        }),
    ];
    prop::collection::vec(piece, 0..5)
}

/// Distances at which matches begin, end or are out of reach, and sizes at which buffers and blocks do.
const EDGES: [usize; 12] = [
    1, 2, 3, 4, 258, 259, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537,
];

/// Content of parts that repeat what lies a certain distance behind: rows as the encoder makes them, only meaner.
fn repetitive() -> impl Strategy<Value = Vec<u8>> {
    let edge = || prop::sample::select(&EDGES[..]);
    let part = prop_oneof![
        (any::<u64>(), edge()).prop_map(|(seed, len)| (seed, len, None)),
        (edge(), edge()).prop_map(|(distance, len)| (0, len, Some(distance))),
        (1..400_usize, 1..300_usize).prop_map(|(distance, len)| (0, len, Some(distance))),
        (any::<u64>(), 1..40_usize).prop_map(|(seed, len)| (seed, len, None)),
    ];
    prop::collection::vec(part, 0..16).prop_map(|parts| {
        let mut content = Vec::new();
        for (seed, len, distance) in parts {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..len {
                let copied = distance.and_then(|distance| content.len().checked_sub(distance));
                content.push(copied.map_or_else(|| random.u8(..), |at| content[at]));
            }
        }
        content
    })
}

/// `content` in pieces that end where `ends` says: also empty ones, and single bytes.
fn cut(content: &[u8], ends: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = ends
        .iter()
        .map(|end| end.index(content.len() + 1))
        .flat_map(|end| [end, (end + 1).min(content.len())])
        .chain([0, content.len()])
        .collect();
    ends.sort_unstable();
    ends.windows(2)
        .map(|ends| content[ends[0]..ends[1]].to_vec())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the content is cut into writes, what comes back is the content: at every level of every codec.
    #[test]
    fn any_chunking_comes_back(
        content in repetitive(),
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        level in 1..=19_u32,
    ) {
        let pieces = cut(&content, &ends);
        for kind in [Compression::Gzip(level.min(9)), Compression::Zstd(level as i32)] {
            let body = compress(&mut Compressor::new(kind), &pieces);
            prop_assert!(read_elsewhere(kind, &body) == content);
        }
        // The level that is the default, and written by a codec of its own in some builds, each time.
        let body = compress(&mut Compressor::new(Compression::Gzip(1)), &pieces);
        prop_assert!(read_elsewhere(Compression::Gzip(1), &body) == content);
    }

    /// Each payload is one complete member or frame with the bytes that were written, whatever payload came before and
    /// whether it was finished; and it decompresses within exactly its own size.
    #[test]
    fn payloads_come_back(first in pieces(), second in pieces(), kind in prop::sample::select(&KINDS[..])) {
        let mut compressor = Compressor::new(kind);
        compressor.begin().unwrap();
        for piece in &first {
            compressor.write(piece, &mut Vec::new()).unwrap();
        }
        let after_abandoned = compress(&mut compressor, &second);
        let after_finished = compress(&mut compressor, &second);
        let fresh = compress(&mut Compressor::new(kind), &second);
        prop_assert!(after_abandoned == fresh);
        prop_assert!(after_finished == fresh);
        let content = second.concat();
        prop_assert!(read_elsewhere(kind, &after_finished) == content);
        let mut out = b"kept".to_vec();
        decompress(kind, &after_finished, &mut out, content.len()).unwrap();
        prop_assert!(out == [b"kept", &content[..]].concat());
    }

    /// A body that holds more than there is room for is refused and leaves nothing behind.
    #[test]
    fn room_is_respected(pieces in pieces(), kind in prop::sample::select(&KINDS[..]), short in 1..100_000_usize) {
        let content = pieces.concat();
        prop_assume!(!content.is_empty());
        let body = compress(&mut Compressor::new(kind), &pieces);
        let bytes_max = content.len().saturating_sub(short);
        let mut out = b"kept".to_vec();
        prop_assert_eq!(
            decompress(kind, &body, &mut out, bytes_max),
            Err(DecompressError::TooLarge { bytes_max })
        );
        prop_assert_eq!(out, b"kept");
    }

    /// A body without its end, or with something behind it, is refused.
    #[test]
    fn exactly_one_payload(pieces in pieces(), kind in prop::sample::select(&KINDS[1..]), at: prop::sample::Index) {
        let body = compress(&mut Compressor::new(kind), &pieces);
        let mut out = Vec::new();
        let torn = &body[..at.index(body.len())];
        let damaged = matches!(
            decompress(kind, torn, &mut out, usize::MAX),
            Err(DecompressError::Damaged { .. })
        );
        prop_assert!(damaged);
        let more = [&body[..], b"\x1F"].concat();
        let damaged = matches!(
            decompress(kind, &more, &mut out, usize::MAX),
            Err(DecompressError::Damaged { .. })
        );
        prop_assert!(damaged);
        prop_assert!(out.is_empty());
    }
}

#[test]
fn names_for_headers_and_files() {
    let names = KINDS.map(|kind| (kind.content_encoding(), kind.file_suffix()));
    assert_eq!(names[0], (None, None));
    assert_eq!(names[1], (Some("gzip"), Some("gz")));
    assert_eq!(names[4], (Some("zstd"), Some("zst")));
}

#[test]
fn each_byte_a_write_of_its_own() {
    let content: Vec<u8> = (0..70_000_u32).map(|n| (n / 7 % 251) as u8).collect();
    let pieces: Vec<Vec<u8>> = content.iter().map(|byte| vec![*byte]).collect();
    for kind in KINDS {
        let body = compress(&mut Compressor::new(kind), &pieces);
        assert!(read_elsewhere(kind, &body) == content, "{kind:?}");
    }
}

#[test]
fn a_body_that_expands_without_end_stops_at_the_room() {
    let content = vec![b'a'; 64 * 1024 * 1024];
    for kind in [
        Compression::Gzip(1),
        Compression::Gzip(9),
        Compression::Zstd(19),
    ] {
        let body = compress(&mut Compressor::new(kind), std::slice::from_ref(&content));
        let mut out = Vec::new();
        assert!(decompress(kind, &body, &mut out, 100_000).is_err());
        assert!(out.capacity() < 400_000, "{}", out.capacity());
    }
}

#[test]
fn a_changed_byte_of_the_content_is_seen_in_every_payload() {
    // Bytes that do not compress lie in the body as they are: without a checksum a change passes.
    let mut random = fastrand::Rng::with_seed(1);
    let content: Vec<u8> = (0..4_000).map(|_| random.u8(..)).collect();
    // Blocks of snappy have no checksum.
    for kind in KINDS[1..].iter().filter(|it| **it != Compression::Snappy) {
        let mut compressor = Compressor::new(*kind);
        for payload in 0..2 {
            let mut body = compress(&mut compressor, std::slice::from_ref(&content));
            let middle = body.len() / 2;
            body[middle] ^= 1;
            assert!(
                matches!(
                    decompress(*kind, &body, &mut Vec::new(), usize::MAX),
                    Err(DecompressError::Damaged { .. })
                ),
                "{kind:?}, payload {payload}"
            );
        }
    }
}
