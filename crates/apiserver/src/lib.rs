//! The request pipeline: from a socket to the store and back

pub mod authentication;
pub mod authorization;
pub mod discovery;
pub mod http;
pub mod openapi;
pub mod pipeline;
mod request;
pub mod table;
