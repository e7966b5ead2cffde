//! AppArmor: the profile that a container's program gets when it starts.
//!
//! Profiles are loaded into the kernel by whoever looks after the machine (apparmor_parser): compiling them is a program of its
//! own, and none is started here. `RuntimeDefault` means the profile [`DEFAULT`] where it is loaded (docs/skiff-default.apparmor
//! is one), and no profile where it is not, as with other runtimes on a machine without apparmor_parser.

use std::path::Path;

use crate::api::{AppArmor, Security};

/// The profile of containers that ask for none.
pub const DEFAULT: &str = "skiff-default";

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// Where the next exec's profile is written; the second one where no other security module has a part in it.
const NEXT: [&str; 2] = ["/proc/thread-self/attr/apparmor/exec", "/proc/thread-self/attr/exec"];

/// Whether the kernel of this machine has AppArmor, switched on.
pub fn is_enabled() -> bool {
    std::fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'))
}

/// The kernel's list, `name (mode)` in each line; `None` where it is not shown.
fn loaded() -> Option<String> {
    std::fs::read_to_string(PROFILES).ok()
}

/// The profile that a container's programs get.
fn profile(
    security: &Security,
    enabled: bool,
    loaded: impl FnOnce() -> Option<String>,
) -> Result<Option<&str>, String> {
    let has =
        |list: &str, name: &str| list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(own, _)| own == name));
    match security.app_armor.as_ref().unwrap_or(&AppArmor::RuntimeDefault) {
        AppArmor::Localhost(_) if !enabled => Err("apparmor is not supported".to_owned()),
        AppArmor::Localhost(name) => match loaded() {
            Some(list) if !has(&list, name) => Err(format!("apparmor profile not found {name}")),
            // Where the list is not shown, the kernel itself says no.
            _ => Ok(Some(name)),
        },
        AppArmor::RuntimeDefault if enabled && !security.privileged => {
            Ok(loaded().filter(|list| has(list, DEFAULT)).map(|_| DEFAULT))
        }
        AppArmor::RuntimeDefault | AppArmor::Unconfined => Ok(None),
    }
}

/// Has this process's program get the container's profile. Asked for while /proc is still the host's.
pub fn prepare(security: &Security) -> Result<(), String> {
    let Some(name) = profile(security, is_enabled(), loaded)? else { return Ok(()) };
    let path = NEXT.into_iter().find(|path| Path::new(path).exists()).unwrap_or(NEXT[1]);
    std::fs::write(path, format!("exec {name}")).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("apparmor profile not found {name}"),
        _ => format!("unable to apply apparmor profile {name}: {}", crate::sys::plain(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_follows_what_is_asked_for_and_loaded() {
        let local = |name: &str| Some(AppArmor::Localhost(name.to_owned()));
        let list = "own (enforce)\nskiff-default (enforce)\n/usr/bin/man (complain)\n";
        let cases = [
            (None, true, false, Some(list), Ok(Some(DEFAULT))),
            (None, true, false, Some("own (enforce)\n"), Ok(None)),
            (None, true, false, None, Ok(None)),
            (None, true, true, Some(list), Ok(None)),
            (None, false, false, None, Ok(None)),
            (Some(AppArmor::Unconfined), true, false, Some(list), Ok(None)),
            (Some(AppArmor::RuntimeDefault), true, false, Some(list), Ok(Some(DEFAULT))),
            (local("own"), true, true, Some(list), Ok(Some("own"))),
            (local("/usr/bin/man"), true, false, Some(list), Ok(Some("/usr/bin/man"))),
            (local("other"), true, false, None, Ok(Some("other"))),
            (local("other"), true, false, Some(list), Err("apparmor profile not found other")),
            (local("own"), false, false, None, Err("apparmor is not supported")),
        ];
        for (app_armor, enabled, privileged, list, wanted) in cases {
            let security = Security { app_armor, privileged, ..Security::default() };
            let found = profile(&security, enabled, || list.map(str::to_owned));
            assert_eq!(found, wanted.map_err(str::to_owned), "{security:?}");
        }
    }
}
