//! Randomness and the identifiers made of it.

use std::cell::RefCell;

use ring::rand::{SecureRandom, SystemRandom};

thread_local! {
    /// The state of the simulated generator (SplitMix64), when there is one.
    static SEEDED: RefCell<Option<u64>> = const { RefCell::new(None) };
    /// Random bytes that nobody has had, and how many are left: each request has an identifier, and each way to the kernel costs.
    static POOL: RefCell<([u8; POOL_BYTES], usize)> = const { RefCell::new(([0; POOL_BYTES], 0)) };
}

const POOL_BYTES: usize = 512;

/// The letters of generated names: upstream's `rand.String` alphabet, without vowels and look-alikes.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Fills `buffer` with random bytes: from the kernel, or from the seed under [`simulate`].
pub fn fill(buffer: &mut [u8]) {
    let simulated = SEEDED.with_borrow_mut(|state| match state {
        Some(state) => {
            for chunk in buffer.chunks_mut(8) {
                let bytes = split_mix(state).to_le_bytes();
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            }
            true
        }
        None => false,
    });
    if !simulated {
        SystemRandom::new().fill(buffer).expect("the kernel's random source always answers");
    }
}

/// A random number.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A random number in `0..bound`; 0 when `bound` is 0.
pub fn below(bound: u64) -> u64 {
    if bound == 0 { 0 } else { number() % bound }
}

/// `length` letters for the end of a generated name (`generateName`, pod and replica-set suffixes).
pub fn name_suffix(length: usize) -> String {
    (0..length).map(|_| char::from(NAME_LETTERS[below(NAME_LETTERS.len() as u64) as usize])).collect()
}

/// A version 4 UUID in its text form.
pub fn uuid() -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = pooled();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 0x0f)]));
    }
    text
}

/// Sixteen bytes of the pool; of the seed under [`simulate`].
fn pooled() -> [u8; 16] {
    let mut bytes = [0; 16];
    if SEEDED.with_borrow(Option::is_some) {
        fill(&mut bytes);
        return bytes;
    }
    POOL.with_borrow_mut(|(pool, left)| {
        if *left == 0 {
            fill(pool);
            *left = POOL_BYTES;
        }
        let end = *left;
        *left -= bytes.len();
        bytes.copy_from_slice(&pool[*left..end]);
    });
    bytes
}

/// From now on, on this thread, all randomness follows from `seed`.
pub fn simulate(seed: u64) {
    SEEDED.set(Some(seed));
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        simulate(7);
        let first = (uuid(), name_suffix(5), number());
        simulate(7);
        assert_eq!(first, (uuid(), name_suffix(5), number()));
    }

    #[test]
    fn uuids_have_their_version_and_variant() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| uuid()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
