//! Profiles in the OCI runtime specification's JSON form, with Docker's `includes`, `excludes` and `archMap`.

use std::io;

use serde::Deserialize;

use super::{Action, Comparison, Condition, Profile, Rule};
use crate::shim::capabilities;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn action(name: &str, errno: Option<u16>) -> io::Result<Action> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(libc::EPERM as u16)),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(libc::EPERM as u16)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        _ => return Err(invalid(format!("seccomp profile: action {name:?} is not supported"))),
    })
}

fn condition(argument: &Argument) -> io::Result<Condition> {
    let (comparison, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (Comparison::Equal, argument.value),
        "SCMP_CMP_NE" => (Comparison::NotEqual, argument.value),
        "SCMP_CMP_LT" => (Comparison::Less, argument.value),
        "SCMP_CMP_LE" => (Comparison::LessOrEqual, argument.value),
        "SCMP_CMP_GT" => (Comparison::Greater, argument.value),
        "SCMP_CMP_GE" => (Comparison::GreaterOrEqual, argument.value),
        "SCMP_CMP_MASKED_EQ" => (Comparison::MaskedEqual(argument.value), argument.value_two),
        other => return Err(invalid(format!("seccomp profile: comparison {other:?} is not known"))),
    };
    if argument.index > 5 {
        return Err(invalid(format!("seccomp profile: argument {} does not exist", argument.index)));
    }
    Ok(Condition { argument: argument.index, comparison, value })
}

/// Docker's names of this machine's architecture.
fn is_this_architecture(name: &str) -> bool {
    match name {
        "amd64" | "x86_64" => cfg!(target_arch = "x86_64"),
        "arm64" | "aarch64" => cfg!(target_arch = "aarch64"),
        _ => false,
    }
}

impl Entry {
    fn applies(&self, held: u64) -> bool {
        let has = |name: &String| capabilities::bit(name).is_some_and(|bit| held & bit != 0);
        let included = self.includes.caps.iter().all(has)
            && (self.includes.arches.is_empty() || self.includes.arches.iter().any(|name| is_this_architecture(name)));
        let excluded =
            self.excludes.caps.iter().any(has) || self.excludes.arches.iter().any(|name| is_this_architecture(name));
        included && !excluded
    }
}

/// Reads a profile for a container that holds the capabilities `held`.
pub fn parse(text: &[u8], held: u64) -> io::Result<Profile> {
    let document: Document =
        serde_json::from_slice(text).map_err(|error| invalid(format!("seccomp profile: {error}")))?;
    let mut rules = Vec::new();
    for entry in document.syscalls.iter().filter(|entry| entry.applies(held)) {
        let action = action(&entry.action, entry.errno_ret)?;
        let conditions: Vec<Condition> = entry.args.iter().flatten().map(condition).collect::<io::Result<_>>()?;
        for name in entry.names.iter().chain(&entry.name) {
            rules.push(Rule { name: name.clone(), conditions: conditions.clone(), action });
        }
    }
    // A rule without conditions is the fallback of its call, wherever it stands.
    rules.sort_by_key(|rule| rule.conditions.is_empty());
    Ok(Profile { default: action(&document.default_action, document.default_errno_ret)?, rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_with_its_conditions() {
        let text = br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
            {"names":["socket"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":40,"op":"SCMP_CMP_EQ"}]},
            {"names":["mount"],"action":"SCMP_ACT_KILL","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;
        let profile = parse(text, 0).expect("valid");
        assert_eq!(profile.default, Action::Allow);
        let names: Vec<_> = profile.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["socket", "mkdir", "mkdirat"]);
        assert_eq!(profile.rules[1].action, Action::Errno(38));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [&b"{"[..], br#"{"defaultAction":"SCMP_ACT_DANCE"}"#] {
            assert!(parse(text, 0).is_err());
        }
    }
}
