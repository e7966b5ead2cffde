//! Images on this node: which credentials a pod has for one, whether it may use one that is there, and which go when the disk
//! runs full. They are pulled where containers are brought up.

pub mod access;
pub mod records;
pub mod secrets;
mod unused;

pub use access::{Access, Verification};
pub use unused::Uses;
pub(crate) use unused::{collect, keep};
