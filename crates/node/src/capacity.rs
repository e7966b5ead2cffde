//! What of the machine pods may have: its capacity less what is reserved for others and what evictions keep free
//! (upstream: "Reserve Compute Resources for System Daemons").

use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub use crate::config::memory_qos::MemoryQos;
use crate::quantity;

/// Amounts that pods cannot have, as kubelet's `--system-reserved` and `--kube-reserved` tell them:
/// `cpu=200m,memory=500Mi,ephemeral-storage=1Gi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved {
    /// CPU, in thousandths.
    pub milli_cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
    /// Local disk, in bytes.
    pub storage: i64,
}

impl Reserved {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            milli_cpu: self.milli_cpu.saturating_add(other.milli_cpu),
            memory: self.memory.saturating_add(other.memory),
            storage: self.storage.saturating_add(other.storage),
        }
    }
}

impl FromStr for Reserved {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, amount) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form RESOURCE=AMOUNT"))?;
            let amount = amount.trim();
            machinery::quantity::Quantity::parse(amount).map_err(|_| format!("{amount:?} is not a quantity"))?;
            let amount = Quantity(amount.to_owned());
            if quantity::milli(&amount) < 0 {
                return Err(format!("{part:?} must not be negative"));
            }
            match name.trim() {
                "cpu" => all.milli_cpu = quantity::milli(&amount),
                "memory" => all.memory = quantity::value(&amount),
                "ephemeral-storage" => all.storage = quantity::value(&amount),
                "pid" => return Err("pid cannot be reserved".to_owned()),
                other => return Err(format!("cannot reserve {other:?} resource")),
            }
        }
        Ok(all)
    }
}

/// How much the node takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pods.
    pub pods: i64,
    /// Processes of one pod; as many as the machine has when absent.
    pub pod_pids: Option<i64>,
    /// What pods cannot have.
    pub reserved: Reserved,
    /// How memory is kept for containers, if it is.
    pub memory_qos: Option<MemoryQos>,
}

impl Default for Limits {
    /// Upstream's: 110 pods, nothing else.
    fn default() -> Self {
        Self { pods: 110, pod_pids: None, reserved: Reserved::default(), memory_qos: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_read_as_kubelet_reads_them() {
        let own: Reserved = "cpu=200m, memory=1Gi".parse().unwrap();
        let both = own.and("cpu=1,ephemeral-storage=10".parse().unwrap());
        assert_eq!(both, Reserved { milli_cpu: 1200, memory: 1 << 30, storage: 10 });
        assert_eq!("".parse(), Ok(Reserved::default()));
        for (bad, why) in [
            ("cpu", "\"cpu\" is not of the form RESOURCE=AMOUNT"),
            ("cpu=x", "\"x\" is not a quantity"),
            ("memory=-1", "\"memory=-1\" must not be negative"),
            ("gpu=1", "cannot reserve \"gpu\" resource"),
        ] {
            assert_eq!(bad.parse::<Reserved>(), Err(why.to_owned()));
        }
    }
}
