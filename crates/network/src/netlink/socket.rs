//! A blocking netlink socket: requests with acknowledgement, dumps, and whole batches.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{KernelError, NetworkError, Result};
use crate::netlink::message::{Attributes, Message, MessageBuffer, as_text, attribute, messages};

/// Netlink message types of the protocol itself.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flags of `struct nlmsghdr`.
pub const REQUEST: u16 = 0x01;
const MULTI: u16 = 0x02;
/// The kernel answers even when all went well.
pub const ACK: u16 = 0x04;
const DUMP_INTERRUPTED: u16 = 0x10;
const CAPPED: u16 = 0x100;
const EXTENDED_ACK: u16 = 0x200;
/// All objects that match.
pub const DUMP: u16 = 0x300;
/// Change what exists.
pub const REPLACE: u16 = 0x100;
/// Fail when it exists.
pub const EXCLUSIVE: u16 = 0x200;
/// Make what does not exist.
pub const CREATE: u16 = 0x400;
/// The attribute of an extended acknowledgement that holds text.
const EXTENDED_ACK_TEXT: u16 = 1;

/// The kernel answers within the call; this only bounds a wait that should not happen.
const ANSWER_WAIT_SECONDS: i64 = 10;
/// A dump that others' changes disturb is repeated this often.
const DUMP_ATTEMPTS_MAX: usize = 10;
const RECEIVE_BYTES: usize = 64 * 1024;
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A netlink socket of one protocol, bound to the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    receive: Vec<u8>,
    send_buffer_bytes: usize,
}

/// A socket for links, addresses and routes.
pub type RouteSocket = Socket;

impl Socket {
    /// A socket for rtnetlink.
    pub fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute).map_err(|source| NetworkError::kernel("open a netlink socket", source))
    }

    /// A socket for nftables and conntrack.
    pub fn netfilter() -> Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter).map_err(|source| match source.errno {
            Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
                NetworkError::Missing("nfnetlink (CONFIG_NETFILTER_NETLINK, module nfnetlink)")
            }
            _ => NetworkError::kernel("open a netfilter netlink socket", source),
        })
    }

    fn open(protocol: SockProtocol) -> Result<Self, KernelError> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_WAIT_SECONDS))?;
        // A larger buffer holds the answers to a batch with many errors; without the privilege the default stays.
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES);
        options::set_on(&fd, options::CAP_ACK)?;
        options::set_on(&fd, options::EXT_ACK)?;
        Ok(Self { fd, sequence: 1, receive: vec![0; RECEIVE_BYTES], send_buffer_bytes: 0 })
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn request(
        &mut self,
        (kind, flags): (u16, u16),
        header: &[u8],
        write: impl FnOnce(&mut Attributes<'_>),
    ) -> Result<(), KernelError> {
        let sequence = self.next_sequence();
        let mut buffer = MessageBuffer::new();
        buffer.message((kind, flags | REQUEST | ACK, sequence), header, write);
        self.send(buffer.bytes())?;
        self.collect(sequence, |_| {})
    }

    /// Sends one request and hands each message of the answer to `read`: one object, or all of a dump.
    pub fn query(
        &mut self,
        (kind, flags): (u16, u16),
        header: &[u8],
        write: impl Fn(&mut Attributes<'_>),
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<(), KernelError> {
        let dump = flags & DUMP == DUMP;
        for _ in 0..DUMP_ATTEMPTS_MAX {
            let sequence = self.next_sequence();
            let mut buffer = MessageBuffer::new();
            let wanted = if dump { flags | REQUEST } else { flags | REQUEST | ACK };
            buffer.message((kind, wanted, sequence), header, &write);
            self.send(buffer.bytes())?;
            let mut objects: Vec<Vec<u8>> = Vec::new();
            let mut interrupted = false;
            self.collect(sequence, |message| {
                interrupted |= message.flags & DUMP_INTERRUPTED != 0;
                objects.push(message.payload.to_vec());
            })?;
            if !interrupted {
                objects.iter().for_each(|object| read(object));
                return Ok(());
            }
        }
        Err(Errno::EINTR.into())
    }

    /// Sends prepared messages in one go: a transaction. Every error comes back with the sequence number of its message.
    /// The last message asks for an acknowledgement under `last`.
    pub fn transaction(&mut self, bytes: &[u8], last: u32) -> Result<(), (u32, KernelError)> {
        self.make_room(bytes.len());
        self.send(bytes).map_err(|error| (0, error))?;
        let mut failure: Option<(u32, KernelError)> = None;
        loop {
            let length = self.receive_some().map_err(|error| (0, error))?;
            let mut finished = false;
            for message in messages(&self.receive[..length]).filter(|message| message.kind == ERROR) {
                let error = acknowledgement(&message);
                finished |= message.sequence == last || error.is_err();
                if let Err(error) = error {
                    failure.get_or_insert((message.sequence, error));
                }
            }
            if finished {
                self.drain();
                return failure.map_or(Ok(()), Err);
            }
        }
    }

    /// A number for the next message.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    /// The kernel takes a batch as one datagram, so the send buffer must hold all of it.
    fn make_room(&mut self, bytes: usize) {
        let wanted = bytes + bytes / 4 + RECEIVE_BYTES;
        if wanted > self.send_buffer_bytes {
            let _ = setsockopt(&self.fd, sockopt::SndBufForce, &wanted);
            self.send_buffer_bytes = wanted;
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), KernelError> {
        loop {
            match send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }

    fn receive_some(&mut self) -> Result<usize, KernelError> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.receive, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Throws away answers that came after the one that decided.
    fn drain(&mut self) {
        while recv(self.fd.as_raw_fd(), &mut self.receive, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }

    fn collect(&mut self, sequence: u32, mut read: impl FnMut(Message<'_>)) -> Result<(), KernelError> {
        loop {
            let length = self.receive_some()?;
            for message in messages(&self.receive[..length]).filter(|message| message.sequence == sequence) {
                match message.kind {
                    ERROR => return acknowledgement(&message),
                    DONE => return done(&message),
                    _ => read(message),
                }
            }
        }
    }
}

/// Reads `struct nlmsgerr`: zero is success.
fn acknowledgement(message: &Message<'_>) -> Result<(), KernelError> {
    let Some(code) = message.payload.get(..4).and_then(|bytes| bytes.try_into().ok()) else {
        return Err(Errno::EBADMSG.into());
    };
    let errno = -i32::from_ne_bytes(code);
    if errno == 0 {
        return Ok(());
    }
    let echoed = message.payload.get(4..).unwrap_or_default();
    let length = messages(echoed).next().map_or(0, |m| m.payload.len());
    let skip = if message.flags & CAPPED != 0 { 0 } else { length };
    let detail = (message.flags & EXTENDED_ACK != 0)
        .then(|| attribute(echoed.get(16 + skip..)?, EXTENDED_ACK_TEXT).map(as_text))
        .flatten();
    Err(KernelError { errno: Errno::from_raw(errno), detail })
}

/// A dump's end may carry an error number too.
fn done(message: &Message<'_>) -> Result<(), KernelError> {
    let code = message.payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code < 0 && message.flags & MULTI != 0 { Err(Errno::from_raw(-code).into()) } else { Ok(()) }
}

impl From<KernelError> for io::Error {
    fn from(error: KernelError) -> Self {
        io::Error::from_raw_os_error(error.errno as i32)
    }
}

mod options {
    //! The two options of netlink sockets that the `nix` crate has no names for.
    #![allow(unsafe_code)]

    use std::os::fd::{AsRawFd, OwnedFd};

    use nix::errno::Errno;

    /// Errors need not carry the request's payload back.
    pub const CAP_ACK: libc::c_int = libc::NETLINK_CAP_ACK;
    /// Errors carry text.
    pub const EXT_ACK: libc::c_int = libc::NETLINK_EXT_ACK;

    pub fn set_on(fd: &OwnedFd, option: libc::c_int) -> Result<(), Errno> {
        let on: libc::c_int = 1;
        // SAFETY: the pointer and the length describe `on`, which outlives the call; the kernel only reads it.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                std::ptr::from_ref(&on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        Errno::result(result).map(drop)
    }
}
