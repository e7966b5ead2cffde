//! Randomness and the identifiers made of it.

use std::cell::RefCell;

use ring::rand::{SecureRandom, SystemRandom};

thread_local! {
    /// The state of the simulated generator (SplitMix64), when there is one.
    static SEEDED: RefCell<Option<u64>> = const { RefCell::new(None) };
}

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
    let mut b = [0u8; 16];
    fill(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
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
    }
}
