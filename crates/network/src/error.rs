//! What can go wrong.

use std::net::IpAddr;

use nix::errno::Errno;

use crate::cidr::Cidr;
use crate::port::Protocol;

/// The kernel's answer to a netlink request that it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// The error number.
    pub errno: Errno,
    /// The kernel's own words, when it gave any.
    pub detail: Option<String>,
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.errno.desc(), self.errno)?;
        self.detail.iter().try_for_each(|detail| write!(f, ": {detail}"))
    }
}

impl std::error::Error for KernelError {}

impl From<Errno> for KernelError {
    fn from(errno: Errno) -> Self {
        Self { errno, detail: None }
    }
}

/// An operation of the pod network or the proxy that failed. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel lacks something that skiff cannot do without.
    #[error("this kernel has no {0}")]
    Missing(&'static str),
    /// The process may not change the network.
    #[error("{0}: not permitted; skiff needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN) for the pod network")]
    Forbidden(String),
    /// The kernel refused a request.
    #[error("{operation}: {source}")]
    Kernel {
        /// What was asked.
        operation: String,
        /// The answer.
        source: KernelError,
    },
    /// A file could not be read or written.
    #[error("{operation}: {source}")]
    Io {
        /// What was tried.
        operation: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// Every address of the node's range is taken.
    #[error("no free pod address in {range}: all {used} are in use")]
    AddressesExhausted {
        /// The node's pod range.
        range: Cidr,
        /// How many addresses are taken.
        used: usize,
    },
    /// Another pod has the host port.
    #[error("host port {}{port}/{protocol} is taken by pod {owner}", address.map(|a| format!("{a}:")).unwrap_or_default())]
    HostPortTaken {
        /// Host address; `None` is all.
        address: Option<IpAddr>,
        /// The port on the host.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// `namespace/name` of the pod that has it.
        owner: String,
    },
    /// A background thread ended before its work was done.
    #[error("{0} was interrupted")]
    Interrupted(&'static str),
}

impl NetworkError {
    /// A refusal by the kernel while doing `operation`.
    pub(crate) fn kernel(operation: impl Into<String>, source: KernelError) -> Self {
        match source.errno {
            Errno::EPERM | Errno::EACCES => Self::Forbidden(operation.into()),
            _ => Self::Kernel { operation: operation.into(), source },
        }
    }

    /// A failed file operation.
    pub(crate) fn io(operation: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { operation: operation.into(), source }
    }

    /// The kernel's error number, when it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { source, .. } => Some(source.errno),
            Self::Forbidden(_) => Some(Errno::EPERM),
            _ => None,
        }
    }
}

/// What this crate's functions return.
pub type Result<T, E = NetworkError> = std::result::Result<T, E>;
