//! End-to-end tests: a real skiff, real containers, real kubectls. Each test has a cluster of its own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests of other processes, in real time")]

mod clients;
mod containerd;
mod custom;
mod eviction;
mod failures;
mod images;
mod kube;
mod life;
mod managers;
mod monitoring;
mod network;
mod pods;
mod policies;
mod restart;
mod robust;
mod storage;
mod vm;
mod workshop;
