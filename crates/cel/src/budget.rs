//! What evaluating may cost, in upstream's units: about one for each step and for each ten letters that are read.

use crate::fault::Fault;

/// What one expression may cost (upstream's `PerCallLimit`).
pub const CALL_COST_MAX: u64 = 1_000_000;

/// Levels of expressions that are evaluated in one another, those of lazy variables included: each is some frames of the stack.
const DEPTH_MAX: u16 = 300;

/// What is left for all expressions that are evaluated together.
#[derive(Debug, Clone)]
pub struct Budget {
    total: u64,
    call: u64,
    depth: u16,
}

impl Budget {
    /// So much for all expressions together; each may cost [`CALL_COST_MAX`].
    pub fn new(units: u64) -> Self {
        Self { total: units, call: 0, depth: 0 }
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.total
    }

    /// Begins an expression. Gives what was left to the one before, in which this one is evaluated.
    pub(crate) fn begin(&mut self) -> u64 {
        std::mem::replace(&mut self.call, CALL_COST_MAX)
    }

    pub(crate) fn end(&mut self, before: u64) {
        self.call = before;
    }

    /// One level down.
    pub(crate) fn enter(&mut self) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::new("expressions refer to each other too deeply"));
        }
        self.depth += 1;
        Ok(())
    }

    /// One level up again.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// What this expression may cost still.
    pub(crate) fn left(&self) -> u64 {
        self.call.min(self.total)
    }

    pub(crate) fn spend(&mut self, units: u64) -> Result<(), Fault> {
        self.total = self.total.checked_sub(units).ok_or(Fault::Budget)?;
        self.call = self.call.checked_sub(units).ok_or(Fault::CostLimit)?;
        Ok(())
    }
}
