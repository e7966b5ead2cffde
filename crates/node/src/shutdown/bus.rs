//! A connection to the system's message bus (D-Bus), with the descriptors that come along.

// Descriptors from the kernel's control messages become owned ones here.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use super::wire::{Body, ERROR, Message, REPLY, SIGNAL};

/// Where the bus listens when nobody says otherwise.
const ADDRESS: &str = "unix:path=/run/dbus/system_bus_socket";
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
/// Bytes that are read at once, and of the lines before the first message.
const READ_BYTES: usize = 4096;
/// Signals that wait while a call does.
const SIGNALS_MAX: usize = 64;

/// A connection.
pub struct Bus {
    socket: UnixStream,
    serial: u32,
    unread: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    signals: VecDeque<Message>,
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// The socket that an address names: `unix:path=/x,guid=…`, several of them divided by `;`.
fn socket_path(address: &str) -> Option<&str> {
    let parts = address.split(';').filter_map(|one| one.strip_prefix("unix:")).flat_map(|rest| rest.split(','));
    parts.filter_map(|pair| pair.strip_prefix("path=")).next()
}

impl Bus {
    /// Connects to the system's bus, or to the one at `address`.
    pub async fn connect(address: Option<&str>) -> io::Result<Self> {
        let own = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
        let address = address.or(own.as_deref()).unwrap_or(ADDRESS);
        let path = socket_path(address).ok_or_else(|| invalid(format!("{address:?} names no socket")))?;
        let socket = UnixStream::connect(path).await;
        let socket = socket.map_err(|e| io::Error::new(e.kind(), format!("connect to D-Bus at {path}: {e}")))?;
        let (unread, descriptors, signals) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let mut bus = Self { socket, serial: 0, unread, descriptors, signals };
        let greeting = async {
            bus.authenticate().await?;
            bus.call(Message::call(DAEMON, "/org/freedesktop/DBus", DAEMON, "Hello")).await.map(drop)
        };
        tokio::time::timeout(CALL_TIMEOUT, greeting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(bus)
    }

    /// The kernel vouches for this process's user.
    async fn authenticate(&mut self) -> io::Result<()> {
        let user = nix::unistd::geteuid().to_string();
        let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.say(&format!("\0AUTH EXTERNAL {hex}\r\n"), "OK").await?;
        self.say("NEGOTIATE_UNIX_FD\r\n", "AGREE_UNIX_FD").await?;
        self.socket.write_all(b"BEGIN\r\n").await
    }

    async fn say(&mut self, line: &str, wanted: &str) -> io::Result<()> {
        self.socket.write_all(line.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n") {
            answer.push(self.socket.read_u8().await?);
            if answer.len() > READ_BYTES {
                return Err(invalid("D-Bus does not end its line"));
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        if answer.starts_with(wanted) { Ok(()) } else { Err(invalid(format!("D-Bus refuses: {}", answer.trim_end()))) }
    }

    /// Sends a message; its serial number.
    pub async fn send(&mut self, message: Message) -> io::Result<u32> {
        self.serial += 1;
        let message = Message { serial: self.serial, ..message };
        self.socket.write_all(&message.encode()).await?;
        Ok(self.serial)
    }

    /// Calls a method: its reply with the descriptors that came along.
    pub async fn call(&mut self, message: Message) -> io::Result<(Message, Vec<OwnedFd>)> {
        let what = format!("{}.{}", message.interface, message.member);
        let answer = async {
            let serial = self.send(message).await?;
            loop {
                let (message, descriptors) = self.receive().await?;
                match message.kind {
                    REPLY if message.reply_to == serial => return Ok((message, descriptors)),
                    ERROR if message.reply_to == serial => {
                        let why = message.arguments().text().unwrap_or_default();
                        return Err(io::Error::other(format!("{}: {why}", message.error)));
                    }
                    SIGNAL if self.signals.len() < SIGNALS_MAX => self.signals.push_back(message),
                    _ => {}
                }
            }
        };
        let answer = tokio::time::timeout(CALL_TIMEOUT, answer).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        answer.map_err(|e| io::Error::new(e.kind(), format!("{what}: {e}")))
    }

    /// Reads a property; the reader stands on its value.
    pub async fn property(&mut self, service: &str, path: &str, interface: &str, name: &str) -> io::Result<Message> {
        let body = Body::default().text(interface).text(name);
        let call = Message::call(service, path, "org.freedesktop.DBus.Properties", "Get").with("ss", body);
        Ok(self.call(call).await?.0)
    }

    /// Asks for the signals that fit a rule.
    pub async fn listen(&mut self, rule: &str) -> io::Result<()> {
        let call = Message::call(DAEMON, "/org/freedesktop/DBus", DAEMON, "AddMatch");
        self.call(call.with("s", Body::default().text(rule))).await.map(drop)
    }

    /// The next signal.
    pub async fn signal(&mut self) -> io::Result<Message> {
        if let Some(signal) = self.signals.pop_front() {
            return Ok(signal);
        }
        loop {
            let (message, _) = self.receive().await?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    /// The next message with its descriptors. May be dropped at any point: what was read stays.
    pub async fn receive(&mut self) -> io::Result<(Message, Vec<OwnedFd>)> {
        loop {
            if let Some((message, taken)) = Message::decode(&self.unread).map_err(invalid)? {
                self.unread.drain(..taken);
                let count = self.descriptors.len().min(message.descriptors as usize);
                return Ok((message, self.descriptors.drain(..count).collect()));
            }
            let raw = self.socket.as_raw_fd();
            let (bytes, descriptors) = self.socket.async_io(Interest::READABLE, || read(raw)).await?;
            if bytes.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "D-Bus closed the connection"));
            }
            self.unread.extend(bytes);
            self.descriptors.extend(descriptors);
        }
    }

    /// The socket, for what else is to be sent over it.
    #[cfg(test)]
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }
}

/// The bus itself.
pub const DAEMON: &str = "org.freedesktop.DBus";

fn read(socket: RawFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buffer = vec![0; READ_BYTES];
    let mut space = nix::cmsg_space!([RawFd; 16]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let got = recvmsg::<UnixAddr>(socket, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel made these descriptors for this call, and nobody else knows them.
            descriptors.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    let count = got.bytes;
    buffer.truncate(count);
    Ok((buffer, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_sockets() {
        for (address, path) in [
            (ADDRESS, Some("/run/dbus/system_bus_socket")),
            ("unix:guid=1,path=/a", Some("/a")),
            ("tcp:host=x;unix:path=/b,guid=2", Some("/b")),
            ("unix:abstract=/c", None),
        ] {
            assert_eq!(socket_path(address), path);
        }
    }
}
