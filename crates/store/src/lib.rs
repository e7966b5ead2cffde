//! Revisioned keys: the store trait and its backends
