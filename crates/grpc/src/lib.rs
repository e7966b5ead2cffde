//! gRPC over Unix sockets, as much of it as the node needs: one request, then one answer or a stream of them.

mod client;
mod server;
mod wire;

pub use client::{Answers, Channel};
pub use server::{Replies, decode, reply, serve};
pub use wire::{Code, Status};
