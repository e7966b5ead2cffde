//! The apps group.

pub mod deployment;
pub mod replica_set;
mod template;
