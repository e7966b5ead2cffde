//! Time, randomness and identifiers come through here, so that a simulation can stop the clock and replay a seed.
//!
//! The functions are global on purpose: a simulated cluster runs on one thread, so a thread-local override reaches
//! everything in it without a clock argument in every signature. Timers are tokio's, which pause by themselves in tests.

pub mod clock;
pub mod random;
