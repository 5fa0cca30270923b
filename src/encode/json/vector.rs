//! [`super::escape_by_word`] with vectors, for processors that have SSE4.2 (x86-64-v2: all servers since 2009).
//!
//! JSON in JSON has a quote every few bytes at places that no branch predictor knows. So a block with something to
//! escape is spread by one shuffle per eight bytes, which leaves a gap before each byte that wants a backslash.
//!
//! Invariant: what is appended and returned is what [`super::escape_by_word`] appends and returns; the tests hold one
//! against the other. The one unsafe expression is the call into code that needs the instructions, right behind the
//! question whether they are there.

use std::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_min_epu8,
    _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_srli_si128,
};

use super::ESCAPES;

/// Bytes looked at together.
const BLOCK_BYTES: usize = 16;
/// Bytes for which room is made at once: what is made is filled with zeros first, which is cheap only in the cache.
const CHUNK_BYTES: usize = 1024;
/// What the last store of a chunk may write beyond its end.
const SLACK_BYTES: usize = 2 * BLOCK_BYTES;

/// [`super::escape_by_word`], if this processor can.
#[inline]
pub(super) fn escape(bytes: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    if !(is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt")) {
        return None;
    }
    // SAFETY: the function needs nothing but the two features that were just found.
    #[allow(unsafe_code)]
    // nearly three times the speed on JSON messages (benches/encode.rs, `escape`)
    let is_ascii = unsafe { escape_chunks(bytes, out) };
    Some(is_ascii)
}

#[target_feature(enable = "sse4.2,popcnt")]
fn escape_chunks(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut is_ascii = true;
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let (blocks, rest) = chunk.as_chunks::<BLOCK_BYTES>();
        let last = last_block(chunk, rest);
        let mut all = Look::at(load(&last));
        let (mut escapes, mut controls) = (all.escapes.count_ones(), all.controls.count_ones());
        for block in blocks {
            let look = Look::at(load(block));
            escapes += look.escapes.count_ones();
            controls += look.controls.count_ones();
            all.beyond_ascii |= look.beyond_ascii;
        }
        is_ascii &= all.beyond_ascii == 0;
        if escapes == 0 {
            out.extend_from_slice(chunk);
            continue;
        }
        let start = out.len();
        // One byte more for each escape, and up to four more for those of controls.
        let bytes_max = chunk.len() + escapes as usize + 4 * controls as usize;
        out.resize(start + bytes_max + SLACK_BYTES, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let mut at = 0;
        for block in blocks {
            at = spread(block, room, at);
        }
        at = spread(&last, room, at);
        out.truncate(start + at - (BLOCK_BYTES - rest.len()));
    }
    is_ascii
}

/// `rest`, which is what `chunk` ends in, filled up to a block with bytes that are written as they are.
#[inline]
fn last_block(chunk: &[u8], rest: &[u8]) -> [u8; BLOCK_BYTES] {
    const BLANKS: u128 = u128::from_le_bytes([b' '; BLOCK_BYTES]);
    if let Some(last) = chunk.last_chunk::<BLOCK_BYTES>() {
        let bits = 8 * rest.len() as u32;
        let moved = u128::from_le_bytes(*last).checked_shr(128 - bits);
        return (moved.unwrap_or(0) | BLANKS << bits).to_le_bytes();
    }
    let mut block = [b' '; BLOCK_BYTES];
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    block
}

/// What a look at a block found; bit `n` speaks of byte `n`.
struct Look {
    /// Quotes, backslashes and controls.
    escapes: u32,
    /// What is below 0x20.
    controls: u32,
    /// What is above 0x7F.
    beyond_ascii: u32,
}

impl Look {
    #[target_feature(enable = "sse4.2,popcnt")]
    #[inline]
    fn at(block: __m128i) -> Look {
        let quotes = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'"' as i8));
        let backslashes = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'\\' as i8));
        let controls = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1F)), block);
        let escapes = _mm_or_si128(_mm_or_si128(quotes, backslashes), controls);
        Look {
            escapes: _mm_movemask_epi8(escapes) as u32,
            controls: _mm_movemask_epi8(controls) as u32,
            beyond_ascii: _mm_movemask_epi8(block) as u32,
        }
    }
}

#[target_feature(enable = "sse4.2,popcnt")]
#[inline]
fn load(block: &[u8; BLOCK_BYTES]) -> __m128i {
    let whole = u128::from_le_bytes(*block);
    _mm_set_epi64x((whole >> 64) as i64, whole as i64)
}

/// Writes a block at `at`, with what its escapes take; behind it nothing is of worth. Returns where it ends.
#[target_feature(enable = "sse4.2,popcnt")]
#[inline]
fn spread(block: &[u8; BLOCK_BYTES], room: &mut [u8], at: usize) -> usize {
    let loaded = load(block);
    let look = Look::at(loaded);
    if look.controls != 0 {
        return spread_by_byte(block, room, at);
    }
    let (low, high) = (look.escapes & 0xFF, look.escapes >> 8);
    let high_at = at + 8 + low.count_ones() as usize;
    store(shuffled(loaded, low), room, at);
    store(shuffled(_mm_srli_si128::<8>(loaded), high), room, high_at);
    high_at + 8 + high.count_ones() as usize
}

/// The first eight bytes with a backslash before each whose bit is set.
#[target_feature(enable = "sse4.2,popcnt")]
#[inline]
fn shuffled(bytes: __m128i, escapes: u32) -> __m128i {
    let places = GAPS.get(escapes as usize).unwrap_or(&[0; BLOCK_BYTES]);
    let spread = _mm_shuffle_epi8(bytes, load(places));
    // There is no NUL among the bytes: what is 0 now is a gap.
    let gaps = _mm_cmpeq_epi8(spread, _mm_setzero_si128());
    _mm_or_si128(spread, _mm_and_si128(gaps, _mm_set1_epi8(b'\\' as i8)))
}

#[target_feature(enable = "sse4.2,popcnt")]
#[inline]
fn store(bytes: __m128i, room: &mut [u8], at: usize) {
    let (low, high) = (
        _mm_cvtsi128_si64(bytes) as u64,
        _mm_extract_epi64::<1>(bytes) as u64,
    );
    if let Some(to) = room.get_mut(at..at + BLOCK_BYTES) {
        to.copy_from_slice(&(u128::from(high) << 64 | u128::from(low)).to_le_bytes());
    }
}

#[cold]
fn spread_by_byte(block: &[u8; BLOCK_BYTES], room: &mut [u8], at: usize) -> usize {
    let mut at = at;
    for byte in block {
        let escape = ESCAPES.get(usize::from(*byte)).copied().unwrap_or(0);
        let (text, len) = match escape {
            0 => (u64::from(*byte), 1),
            _ => (escape, (escape >> 56) as usize),
        };
        if let Some(to) = room.get_mut(at..at + 8) {
            to.copy_from_slice(&text.to_le_bytes());
        }
        at += len;
    }
    at
}

/// For each set of bytes to escape among eight: which byte comes to each place, a backslash's place being above 0x7F.
static GAPS: [[u8; BLOCK_BYTES]; 256] = gaps();

const fn gaps() -> [[u8; BLOCK_BYTES]; 256] {
    let mut table = [[0; BLOCK_BYTES]; 256];
    let mut escapes = 0;
    while escapes < 256 {
        let (mut from, mut to) = (0, 0);
        while from < 8 {
            if escapes >> from & 1 == 1 {
                table[escapes][to] = 0x80;
                to += 1;
            }
            table[escapes][to] = from as u8;
            (from, to) = (from + 1, to + 1);
        }
        escapes += 1;
    }
    table
}
