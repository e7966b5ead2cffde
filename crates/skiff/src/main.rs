//! skiff: Kubernetes in one binary.
mod pki;
fn main() {}
