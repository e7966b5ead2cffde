//! Seccomp filters: the default profile, profiles in OCI's JSON form, and the compiler from rules to BPF.
//!
//! The default allows what Docker's and containerd's defaults allow; the table `syscalls.txt` says it per system call.

mod compile;
mod oci;
mod profile;
mod table;

use std::io;

use crate::api::Seccomp;

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Allow,
    /// It returns this error.
    Errno(u16),
    /// It goes on and is logged.
    Log,
    /// The thread gets SIGSYS.
    Trap,
    /// A tracer is told.
    Trace(u16),
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    KillProcess,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Equal after a bitwise and with the mask.
    MaskedEqual(u64),
}

/// A condition on one argument (0..=5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument.
    pub argument: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// One rule: a system call by name, the conditions that must all hold, and the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name as in the kernel's headers.
    pub name: String,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What happens then.
    pub action: Action,
}

/// A whole profile. Of several rules for one system call the first that holds wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For calls without a rule that holds.
    pub default: Action,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// The filter program of a container with the capabilities `capabilities` (a bit set); `None` is no filter.
pub fn filter(wanted: &Seccomp, capabilities: u64) -> io::Result<Option<Vec<libc::sock_filter>>> {
    let profile = match wanted {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::RuntimeDefault => profile::default(capabilities),
        Seccomp::Localhost(path) => {
            let text = std::fs::read(path).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot load seccomp profile {}: {error}", path.display()))
            })?;
            oci::parse(&text, capabilities)?
        }
    };
    compile::compile(&profile).map(Some)
}
