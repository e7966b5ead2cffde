//! skiff: Kubernetes in one binary

fn main() {}
