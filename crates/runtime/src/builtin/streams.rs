//! Streams of processes: pipes that go straight to the process, terminals, and connections into a pod's network.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::shim_client::{Connection, ask};
use crate::api::{ExecRequest, ProcessStreams, Reader, Result, RuntimeError, Writer};
use crate::record::{Request, Response};
use crate::sys;

/// How long a connection into a pod may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

fn failed(error: io::Error) -> RuntimeError {
    RuntimeError::Failed(error.to_string())
}

fn reader_pipe() -> Result<(Reader, OwnedFd)> {
    let (read, write) = sys::pipe().map_err(failed)?;
    sys::set_nonblocking(read.as_fd(), true).map_err(failed)?;
    Ok((Box::pin(pipe::Receiver::from_owned_fd(read).map_err(failed)?), write))
}

fn writer_pipe() -> Result<(Writer, OwnedFd)> {
    let (read, write) = sys::pipe().map_err(failed)?;
    sys::set_nonblocking(write.as_fd(), true).map_err(failed)?;
    Ok((Box::pin(pipe::Sender::from_owned_fd(write).map_err(failed)?), read))
}

/// The master of a terminal.
struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    #[allow(unsafe_code, reason = "the contract of AsyncFd::register")]
    fn new(fd: OwnedFd) -> Result<Self> {
        sys::set_nonblocking(fd.as_fd(), true).map_err(failed)?;
        // SAFETY: an `OwnedFd` is its descriptor for its whole life, and nothing else closes it.
        let registered = unsafe { AsyncFd::register(fd) };
        registered.map(Self).map_err(|error| failed(error.into()))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match guard.try_io(|fd| sys::read(fd.as_fd(), buffer.initialize_unfilled())) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The last process that held the terminal is gone: its end.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| sys::write(fd.as_fd(), bytes)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Waits on the connection of a request for the exit code of its process.
async fn exit_code(mut connection: Connection) -> Result<i32> {
    loop {
        if let (Response::Exited { code }, _) = connection.receive().await? {
            return Ok(code);
        }
    }
}

/// Runs a command in a container; the number `exec` names it to the shim.
pub async fn exec(directory: &Path, container: &str, request: ExecRequest, exec: u64) -> Result<ProcessStreams> {
    let mut connection = Connection::open(directory).await?;
    let (resize, mut sizes) = mpsc::channel::<(u16, u16)>(4);
    let tty = request.tty;
    let message = Request::Exec { container: container.to_owned(), exec, command: request.command, tty };
    if tty {
        connection.send(&message, &[]).await?;
        let (_, mut fds) = connection.receive().await?;
        let master = fds.pop().ok_or_else(|| RuntimeError::Failed("no terminal came back".to_owned()))?;
        let copy = || sys::duplicate(&master).map_err(failed);
        let (input, output) = (copy()?, copy()?);
        tokio::spawn(async move {
            while let Some((columns, rows)) = sizes.recv().await {
                let _ = sys::set_terminal_size(master.as_fd(), columns, rows);
            }
        });
        let stdin: Option<Writer> = if request.stdin { Some(Box::pin(Terminal::new(input)?)) } else { None };
        let stdout: Option<Reader> = Some(Box::pin(Terminal::new(output)?));
        let exit = exit_code(connection).boxed();
        return Ok(ProcessStreams { stdin, stdout, stderr: None, resize, exit });
    }
    let (stdin, child_stdin): (Option<Writer>, OwnedFd) = if request.stdin {
        let (writer, fd) = writer_pipe()?;
        (Some(writer), fd)
    } else {
        (None, std::fs::File::open("/dev/null").map_err(failed)?.into())
    };
    let ((stdout, out), (stderr, err)) = (reader_pipe()?, reader_pipe()?);
    connection.send(&message, &[child_stdin.as_fd(), out.as_fd(), err.as_fd()]).await?;
    drop((child_stdin, out, err));
    connection.receive().await?;
    let exit = exit_code(connection).boxed();
    Ok(ProcessStreams { stdin, stdout: Some(stdout), stderr: Some(stderr), resize, exit })
}

/// Joins the streams of a container's own process.
pub async fn attach(directory: &Path, container: &str, stdin: bool, tty: bool) -> Result<ProcessStreams> {
    let mut connection = Connection::open(directory).await?;
    let (resize, mut sizes) = mpsc::channel::<(u16, u16)>(4);
    let ((stdout, out), (stderr, err)) = (reader_pipe()?, reader_pipe()?);
    let (writer, input) =
        if stdin { writer_pipe().map(|(writer, fd)| (Some(writer), Some(fd)))? } else { (None, None) };
    let fds: Vec<BorrowedFd<'_>> = input.iter().chain([&out, &err]).map(AsFd::as_fd).collect();
    let name = container.to_owned();
    connection.send(&Request::Attach { container: name.clone(), stdin }, &fds).await?;
    drop((input, out, err));
    connection.receive().await?;
    let directory: PathBuf = directory.to_owned();
    tokio::spawn(async move {
        while let Some((columns, rows)) = sizes.recv().await {
            let _ = ask(&directory, &Request::Resize { container: name.clone(), columns, rows }).await;
        }
    });
    let stderr = if tty { None } else { Some(stderr) };
    Ok(ProcessStreams { stdin: writer, stdout: Some(stdout), stderr, resize, exit: exit_code(connection).boxed() })
}

/// Connects to loopback inside the network namespace of the process `pid`.
pub async fn connect(pid: i32, port: u16) -> Result<tokio::net::TcpStream> {
    let (answer, wait) = tokio::sync::oneshot::channel();
    // A thread of its own: it enters another namespace and ends there.
    let thread = std::thread::Builder::new().name("pod-connect".to_owned());
    let work = move || {
        let connect = || -> io::Result<std::net::TcpStream> {
            let namespace: OwnedFd = std::fs::File::open(format!("/proc/{pid}/ns/net"))?.into();
            sys::setns(namespace.as_fd(), libc::CLONE_NEWNET)?;
            let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            let stream = std::net::TcpStream::connect_timeout(&v4, CONNECT_MAX)
                .or_else(|first| std::net::TcpStream::connect_timeout(&v6, CONNECT_MAX).map_err(|_| first))?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let _ = answer.send(connect());
    };
    thread.spawn(work).map_err(failed)?;
    let stream = wait.await.map_err(|error| RuntimeError::Failed(error.to_string()))?;
    let stream = stream.map_err(|error| RuntimeError::Failed(format!("connect to port {port}: {error}")))?;
    tokio::net::TcpStream::from_std(stream).map_err(failed)
}
