//! Containers' logs: reading them back, and keeping their size in bounds.

pub mod read;
pub mod rotate;
