//! Everything between the socket and the pipeline.

pub mod info;
pub mod negotiate;
pub mod query;
