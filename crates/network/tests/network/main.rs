//! The pod network and the proxy on the real kernel, each test in a network namespace of its own. Needs root.

mod pods;
mod services;
mod world;
