//! The streaming protocols of exec, attach and port-forward.

pub mod forward;
pub mod remote;
pub mod spdy;
pub(crate) mod spdy_headers;
pub mod websocket;
