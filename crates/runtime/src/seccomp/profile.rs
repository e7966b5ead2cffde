//! The default profile.

use super::{Action, Comparison, Condition, Profile, Rule, table};
use crate::shim::capabilities;

/// All flags of `clone` that make a namespace.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// Socket families that reach past the container's network namespace or have a poor record: AF_ALG, AF_VSOCK.
const SOCKET_FAMILIES_DENIED: [u64; 2] = [38, 40];

/// Harmless `personality` values: query, Linux, UNAME26, both, and the short form of the query.
const PERSONALITIES: [u64; 5] = [0xffff_ffff, 0, 8, 0x2_0000, 0x2_0008];

fn condition(comparison: Comparison, value: u64) -> Condition {
    Condition { argument: 0, comparison, value }
}

/// The default profile of a container that holds `held` (a bit set of capabilities).
pub fn default(held: u64) -> Profile {
    let mut rules = Vec::with_capacity(480);
    let mut push = |name: &str, conditions: Vec<Condition>, action| {
        rules.push(Rule { name: name.to_owned(), conditions, action });
    };
    let has = |name: &str| capabilities::bit(name).is_some_and(|bit| held & bit != 0);
    let admin = has("SYS_ADMIN");
    for call in table::all() {
        match call.class {
            "allow" => push(call.name, Vec::new(), Action::Allow),
            "deny" | "args" => {}
            names => {
                if names.split(',').any(has) {
                    push(call.name, Vec::new(), Action::Allow);
                }
            }
        }
    }
    let allowed_family = SOCKET_FAMILIES_DENIED.map(|family| condition(Comparison::NotEqual, family)).to_vec();
    push("socket", allowed_family, Action::Allow);
    for value in PERSONALITIES {
        push("personality", vec![condition(Comparison::Equal, value)], Action::Allow);
    }
    if admin {
        push("clone", Vec::new(), Action::Allow);
    } else {
        push("clone", vec![condition(Comparison::MaskedEqual(CLONE_NAMESPACES), 0)], Action::Allow);
        // Its flags lie in memory, where a filter cannot look. ENOSYS makes programs fall back to clone.
        push("clone3", Vec::new(), Action::Errno(libc::ENOSYS as u16));
    }
    Profile { default: Action::Errno(libc::EPERM as u16), rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_open_what_they_are_for() {
        let rules = |held| default(held).rules;
        let allows = |held, name: &str| {
            rules(held)
                .iter()
                .any(|rule| rule.name == name && rule.action == Action::Allow && rule.conditions.is_empty())
        };
        let admin = capabilities::bit("SYS_ADMIN").expect("known");
        assert!(!allows(0, "mount") && allows(admin, "mount"));
        assert!(!allows(0, "clone3") && allows(admin, "clone3"));
        assert!(allows(0, "openat2") && !allows(admin, "kexec_load") && !allows(0, "keyctl"));
        assert!(allows(capabilities::bit("BPF").expect("known"), "bpf"));
    }
}
