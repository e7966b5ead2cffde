//! Private clusters for tests
