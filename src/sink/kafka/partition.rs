//! Which partition a key belongs to: as the Java client's default partitioner decides it, so that other producers of
//! the same topic agree.

/// The partition of a key in a topic with so many partitions; 0 if there is none.
pub fn partition_of(key: &[u8], partitions: usize) -> usize {
    let positive = murmur2(key).cast_unsigned() & 0x7FFF_FFFF;
    (positive as usize).checked_rem(partitions).unwrap_or(0)
}

/// MurmurHash2, 32 bits, with the seed of Kafka's `Utils.murmur2`.
fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (at, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the Java client's own test (`UtilsTest.testMurmur2`).
    #[test]
    fn hashes_as_the_java_client_does() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_is_made_positive_by_its_lowest_31_bits() {
        let expected = ((-973_932_308_i64 + (1 << 31)) % 7) as usize;
        assert_eq!(partition_of(b"21", 7), expected);
        assert_eq!(partition_of(b"21", 0), 0);
    }
}
