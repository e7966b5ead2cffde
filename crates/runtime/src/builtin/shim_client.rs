//! Requests to shims.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::api::{Result, RuntimeError};
use crate::record::{Request, Response, frame, unframe};
use crate::sys;

/// How long a shim may take to answer (upstream's runtimeRequestTimeout).
const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(120);

/// One connection to a shim.
pub struct Connection {
    socket: UnixStream,
    input: Vec<u8>,
}

fn lost(error: io::Error) -> RuntimeError {
    RuntimeError::Failed(format!("the sandbox's shim does not answer: {error}"))
}

impl Connection {
    /// Connects to the shim of the sandbox in `directory`.
    pub async fn open(directory: &Path) -> Result<Self> {
        // Through a descriptor: the path of a socket must fit 107 bytes.
        let opened = sys::open_path(directory).map_err(lost)?;
        let path = format!("/proc/self/fd/{}/shim.sock", opened.as_raw_fd());
        let socket = UnixStream::connect(path).await.map_err(lost)?;
        Ok(Self { socket, input: Vec::new() })
    }

    /// Sends a request with descriptors.
    pub async fn send(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = frame(request);
        let (mut sent, mut fds) = (0, fds);
        while sent < bytes.len() {
            let step = || sys::send_with_fds(self.socket.as_fd(), &bytes[sent..], fds);
            sent += self.socket.async_io(Interest::WRITABLE, step).await.map_err(lost)?;
            fds = &[];
        }
        Ok(())
    }

    /// Waits for the next answer, with its descriptors. A failure of the request is an error here.
    pub async fn receive(&mut self) -> Result<(Response, Vec<OwnedFd>)> {
        let mut fds = Vec::new();
        loop {
            if let Some(response) = unframe(&mut self.input).map_err(lost)? {
                return match response {
                    Response::Failed { message, not_found: true } => Err(RuntimeError::NotFound(message)),
                    Response::Failed { message, .. } => Err(RuntimeError::Invalid(message)),
                    response => Ok((response, fds)),
                };
            }
            let mut buffer = [0; 4096];
            let step = || sys::receive_with_fds(self.socket.as_fd(), &mut buffer, &mut fds);
            let count = self.socket.async_io(Interest::READABLE, step).await.map_err(lost)?;
            if count == 0 {
                return Err(lost(io::ErrorKind::UnexpectedEof.into()));
            }
            self.input.extend_from_slice(&buffer[..count]);
        }
    }
}

/// One request, one answer.
pub async fn ask(directory: &Path, request: &Request) -> Result<Response> {
    let asked = async {
        let mut connection = Connection::open(directory).await?;
        connection.send(request, &[]).await?;
        connection.receive().await.map(|(response, _)| response)
    };
    let late = |_| RuntimeError::Timeout("an answer of the sandbox's shim".to_owned());
    tokio::time::timeout(ANSWER_MAX, asked).await.map_err(late)?
}
