//! Time, randomness and identifiers: what a simulation replaces
