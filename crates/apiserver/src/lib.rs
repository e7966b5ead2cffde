//! The request pipeline: from a socket to the store and back

mod admission;
mod allocators;
pub mod audit;
pub mod authentication;
pub mod authorization;
mod bootstrap;
mod cache;
mod custom;
pub mod discovery;
mod flow;
pub mod http;
mod kind;
mod kinds;
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
