//! The request pipeline: from a socket to the store and back

mod admission;
mod allocators;
pub mod authentication;
pub mod authorization;
mod bootstrap;
mod cache;
pub mod discovery;
mod flow;
pub mod http;
mod kind;
pub mod openapi;
pub mod pipeline;
mod request;
mod streaming;
mod subresources;
pub mod table;
mod upkeep;
mod verbs;

#[cfg(test)]
mod tests;
