//! The checksums in upstream's state files: FNV-1a over what Go's spew prints of the structure, so that a node can change
//! between kubelet and skiff without losing who has what.

use std::path::Path;

/// FNV-1a, 32 bits.
pub fn fnv32a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |state, byte| (state ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// `map[a:1 b:2]`, in the order given.
pub fn map<K: std::fmt::Display>(pairs: impl IntoIterator<Item = (K, String)>) -> String {
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("map[{}]", pairs.join(" "))
}

/// `[1 2]`
pub fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(" "))
}

/// What upstream says when a state file does not fit.
pub fn unusable(manager: &str, path: &Path, why: &str) -> String {
    let path = path.display().to_string();
    format!(
        "could not restore state from checkpoint: {why}, please drain this node and delete the {manager} manager checkpoint \
         file {path:?} before restarting Kubelet"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        for (text, hash) in [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)] {
            assert_eq!(fnv32a(text), hash);
        }
        assert_eq!(map([("a", list([1, 2])), ("b", list::<i32>([]))]), "map[a:[1 2] b:[]]");
    }
}
