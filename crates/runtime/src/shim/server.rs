//! The shim's loop: requests, ended children, output.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use super::births::{Birth, Child, NewContainer};
use super::logs::{Log, Stream};
use super::process::{self, Wiring};
use super::rootfs::{self, plain};
use super::users::Users;
use crate::api::NamespaceMode;
use crate::cgroup::{Cgroups, container_devices};
use crate::record::{
    ContainerRecord, ProcessState, ProcessStatus, Request, Response, SandboxRecord, frame, nanoseconds, read_json,
    unframe, write_json,
};
use crate::sys;

/// How long a container waits for a slow attached client, in milliseconds, before the client is dropped.
const CLIENT_WAIT_MILLIS: i32 = 1000;

struct Connection {
    socket: UnixStream,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
    watches: bool,
}

pub(super) struct Client {
    output: [Option<OwnedFd>; 2],
    stdin: Option<OwnedFd>,
    connection: u64,
}

pub(super) struct Container {
    pub record: ContainerRecord,
    pub status: ProcessStatus,
    pub pid: i32,
    pub outputs: Vec<(Stream, OwnedFd)>,
    pub stdin: Option<OwnedFd>,
    /// Input that the process has not taken yet. While there is some, no more is read from clients.
    pub pending: Vec<u8>,
    pub master: Option<OwnedFd>,
    pub log: Log,
    pub clients: Vec<Client>,
}

pub(super) struct Exec {
    pub id: u64,
    pub pid: i32,
    pub connection: u64,
}

/// What a descriptor in the poll list belongs to.
enum Token {
    Signals,
    Listener,
    Connection(u64),
    Output(String, usize),
    Stdin(String, usize),
    Pending(String),
    Birth(i32),
}

/// What a shim holds from its start.
pub struct Held {
    pub sandbox: SandboxRecord,
    pub cgroups: Cgroups,
    pub listener: UnixListener,
    /// Tells of ended children.
    pub signals: OwnedFd,
    /// The first process of the PID namespace that the containers share.
    pub pause: Option<i32>,
    pub users: Option<Users>,
}

/// All state of a shim.
pub struct Server {
    directory: PathBuf,
    sandbox: SandboxRecord,
    cgroups: Cgroups,
    listener: UnixListener,
    signals: OwnedFd,
    pause: Option<i32>,
    users: Option<Users>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) execs: Vec<Exec>,
    pub(super) births: Vec<Birth>,
    buffer: Vec<u8>,
    ending: bool,
}

pub(super) type Outcome = Result<(Response, Option<OwnedFd>), String>;

impl Server {
    /// A shim that listens and runs nothing yet.
    pub fn new(directory: PathBuf, held: Held) -> Self {
        let Held { sandbox, cgroups, listener, signals, pause, users } = held;
        Self {
            directory,
            sandbox,
            cgroups,
            listener,
            signals,
            pause,
            users,
            connections: BTreeMap::new(),
            next_connection: 0,
            containers: BTreeMap::new(),
            execs: Vec::new(),
            births: Vec::new(),
            buffer: vec![0; 16 << 10],
            ending: false,
        }
    }

    /// Serves until told to end.
    pub fn run(&mut self) {
        while !self.ending {
            let (mut entries, tokens) = self.entries();
            if sys::poll(&mut entries, self.births_wait()).is_err() {
                return;
            }
            for (entry, token) in entries.iter().zip(tokens) {
                if entry.revents != 0 {
                    self.handle(token);
                }
            }
            self.end_late_births();
        }
        self.cgroups.kill(&self.sandbox.cgroup);
        if let Some(pid) = self.pause {
            let _ = sys::kill(pid, libc::SIGKILL);
        }
    }

    fn entries(&self) -> (Vec<libc::pollfd>, Vec<Token>) {
        let mut entries = Vec::new();
        let mut tokens = Vec::new();
        let mut add = |fd: BorrowedFd<'_>, events, token| {
            entries.push(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 });
            tokens.push(token);
        };
        add(self.signals.as_fd(), libc::POLLIN, Token::Signals);
        add(self.listener.as_fd(), libc::POLLIN, Token::Listener);
        for (id, connection) in &self.connections {
            add(connection.socket.as_fd(), libc::POLLIN, Token::Connection(*id));
        }
        for birth in &self.births {
            add(birth.report.as_fd(), libc::POLLIN, Token::Birth(birth.pid));
        }
        for (id, container) in &self.containers {
            for (index, (_, fd)) in container.outputs.iter().enumerate() {
                add(fd.as_fd(), libc::POLLIN, Token::Output(id.clone(), index));
            }
            if let Some(stdin) = container.stdin.as_ref().filter(|_| !container.pending.is_empty()) {
                add(stdin.as_fd(), libc::POLLOUT, Token::Pending(id.clone()));
                continue;
            }
            for (index, client) in container.clients.iter().enumerate() {
                if let Some(stdin) = &client.stdin {
                    add(stdin.as_fd(), libc::POLLIN, Token::Stdin(id.clone(), index));
                }
            }
        }
        (entries, tokens)
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Signals => self.reap(),
            Token::Listener => {
                if let Ok((socket, _)) = self.listener.accept() {
                    self.next_connection += 1;
                    let connection = Connection { socket, input: Vec::new(), fds: Vec::new(), watches: false };
                    self.connections.insert(self.next_connection, connection);
                }
            }
            Token::Connection(id) => self.receive(id),
            Token::Birth(pid) => self.look_at_birth(pid),
            Token::Output(id, index) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.pump(index, &mut self.buffer);
                }
            }
            Token::Stdin(id, index) => {
                if let Some(container) = self.containers.get_mut(&id).filter(|c| c.pending.is_empty()) {
                    container.feed(index, &mut self.buffer);
                }
            }
            Token::Pending(id) => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.flush();
                }
            }
        }
    }

    fn receive(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let got = sys::receive_with_fds(connection.socket.as_fd(), &mut self.buffer, &mut connection.fds);
        let count = got.unwrap_or(0);
        if count == 0 {
            // What it asked for goes on: an agent that died will look for it.
            self.connections.remove(&id);
            return;
        }
        connection.input.extend_from_slice(&self.buffer[..count]);
        match unframe::<Request>(&mut connection.input) {
            Ok(None) => {}
            Ok(Some(request)) => {
                let fds = std::mem::take(&mut connection.fds);
                self.answer(id, request, fds);
            }
            Err(_) => {
                self.connections.remove(&id);
            }
        }
    }

    fn answer(&mut self, id: u64, request: Request, fds: Vec<OwnedFd>) {
        let known = match &request {
            Request::Exec { container, .. }
            | Request::Attach { container, .. }
            | Request::Signal { container, .. }
            | Request::Resize { container, .. } => self.containers.contains_key(container),
            _ => true,
        };
        let watches = matches!(request, Request::Watch);
        // One that only begins to run is given up when it is to end.
        let ended = match &request {
            Request::Signal { container, .. } | Request::Forget { container } => self.end_birth_in(container),
            _ => false,
        };
        let result = match known {
            true => self.perform(id, request, fds),
            false if ended => Ok(true),
            false => Err("container not found".to_owned()),
        };
        let response = match result {
            Ok(true) => Response::Done,
            // Answered when the program runs.
            Ok(false) => return,
            Err(message) => Response::Failed { message, not_found: !known },
        };
        self.send(id, &response, None);
        if watches {
            // What could not be written to a full disk is told, at least.
            let all = self.containers.values().map(|container| (container.record.id.clone(), container.status.clone()));
            for (container, status) in all.collect::<Vec<_>>() {
                self.send(id, &Response::Changed { container, status }, None);
            }
        }
    }

    pub(super) fn send(&mut self, id: u64, response: &Response, fd: Option<&OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let bytes = frame(response);
        let fds: Vec<BorrowedFd<'_>> = fd.iter().map(|fd| fd.as_fd()).collect();
        let sent = sys::send_with_fds(connection.socket.as_fd(), &bytes, &fds);
        let whole = sent.and_then(|count| connection.socket.write_all(&bytes[count..]));
        if whole.is_err() {
            self.connections.remove(&id);
        }
    }

    /// Does what is asked for; `false` when the answer comes later.
    fn perform(&mut self, id: u64, request: Request, fds: Vec<OwnedFd>) -> Result<bool, String> {
        match request {
            Request::Watch => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.watches = true;
                }
            }
            Request::Start { container } => return self.start(id, &container).map(|()| false),
            Request::Exec { container, exec, command, tty } => {
                return self.exec(id, &container, exec, command, tty, fds).map(|()| false);
            }
            Request::Attach { container, stdin } => self.attach(id, &container, stdin, fds)?,
            Request::Signal { container, signal, all } => self.signal(&container, signal, all),
            Request::KillExec { exec } => {
                for exec in self.execs.iter().filter(|known| known.id == exec) {
                    let _ = sys::kill(exec.pid, libc::SIGKILL);
                }
            }
            Request::Resize { container, columns, rows } => {
                if let Some(master) = self.containers.get(&container).and_then(|container| container.master.as_ref()) {
                    sys::set_terminal_size(master.as_fd(), columns, rows).map_err(|error| plain(&error))?;
                }
            }
            Request::ReopenLog { container } => {
                if let Some(container) = self.containers.get_mut(&container) {
                    container.log.reopen().map_err(|error| plain(&error))?;
                }
            }
            Request::Update { container, resources } => {
                if let Some(container) = self.containers.get(&container) {
                    let group = &container.record.cgroup;
                    self.cgroups.update(group, &resources).map_err(|error| plain(&error))?;
                }
            }
            Request::Forget { container } => {
                self.containers.remove(&container);
            }
            Request::Shutdown => self.ending = true,
        }
        Ok(true)
    }

    fn attach(&mut self, id: u64, name: &str, stdin: bool, fds: Vec<OwnedFd>) -> Result<(), String> {
        let running = |container: &&mut Container| container.status.state == ProcessState::Running;
        let container = self.containers.get_mut(name).filter(running).ok_or("container is not running")?;
        let mut fds = fds.into_iter();
        let stdin = if stdin { fds.next() } else { None };
        let output = [fds.next(), fds.next()];
        for fd in output.iter().flatten() {
            let _ = sys::set_nonblocking(fd.as_fd(), true);
        }
        container.clients.push(Client { output, stdin, connection: id });
        Ok(())
    }

    fn signal(&self, name: &str, signal: i32, all: bool) {
        let Some(container) = self.containers.get(name) else { return };
        if container.status.state != ProcessState::Running {
            return;
        }
        let _ = sys::kill(container.pid, signal);
        if all {
            self.cgroups.kill(&container.record.cgroup);
        }
    }

    /// Forks into the pod's or the container's PID namespace when `init` names a process there.
    fn fork(&self, flags: i32, group: &str, init: Option<i32>) -> Result<sys::Fork, String> {
        let birth_place = self.cgroups.birth_place(group).map_err(|error| plain(&error))?;
        let own = sys::pidfd_open(std::process::id() as i32).map_err(|error| plain(&error))?;
        if let Some(init) = init {
            let init = sys::pidfd_open(init).map_err(|error| plain(&error))?;
            sys::setns(init.as_fd(), libc::CLONE_NEWPID).map_err(|error| plain(&error))?;
        }
        let forked = sys::fork(flags, birth_place.as_ref().map(AsFd::as_fd));
        if init.is_some() && !matches!(forked, Ok(sys::Fork::Child)) {
            sys::setns(own.as_fd(), libc::CLONE_NEWPID).map_err(|error| plain(&error))?;
        }
        forked.map_err(|error| format!("fork: {}", plain(&error)))
    }

    fn start(&mut self, connection: u64, name: &str) -> Result<(), String> {
        if self.containers.contains_key(name) || self.births.iter().any(|birth| birth.is_of(name)) {
            return Err(format!("container {name} was started already"));
        }
        let directory = self.directory.join("containers").join(name);
        let record: ContainerRecord =
            read_json(&directory.join("container.json")).map_err(|error| format!("read container: {error}"))?;
        let launched = self.launch(connection, record);
        if launched.is_err() {
            self.publish_start(name, &launched);
        }
        launched
    }

    fn launch(&mut self, connection: u64, record: ContainerRecord) -> Result<(), String> {
        let config = &record.config;
        let devices = if config.security.privileged {
            None
        } else {
            Some(container_devices(&config.devices).map_err(|error| plain(&error))?)
        };
        let made = self.cgroups.create(&record.cgroup, &config.resources);
        made.and_then(|()| self.cgroups.confine(&record.cgroup, devices.as_deref())).map_err(|error| plain(&error))?;
        let log = Log::open(&record.log_path).map_err(|error| format!("open log: {}", plain(&error)))?;
        let (wiring, shim_side) = wire(config.tty, config.stdin).map_err(|error| plain(&error))?;
        let mut flags = libc::CLONE_NEWNS;
        if self.cgroups.is_v2() {
            flags |= libc::CLONE_NEWCGROUP;
        }
        let shared = match (&config.pid_target, self.sandbox.config.pid) {
            (Some(target), _) => Some(self.running(target)?),
            (None, NamespaceMode::Container) => {
                flags |= libc::CLONE_NEWPID;
                None
            }
            (None, NamespaceMode::Pod) => self.pause,
            (None, NamespaceMode::Node) => None,
        };
        let pid = match self.fork(flags, &record.cgroup, shared)? {
            sys::Fork::Child => {
                drop(shim_side);
                let place = rootfs::Place {
                    sandbox: &self.sandbox,
                    sandbox_dir: &self.directory,
                    cgroups: &self.cgroups,
                    users: self.users.as_ref(),
                };
                process::run_init(&record, &place, wiring)
            }
            sys::Fork::Parent(pid) => pid,
        };
        drop(wiring);
        let ShimSide { report, go, stdin, outputs } = shim_side;
        let admitted = self.admit(&record.cgroup, pid, config.resources.oom_score_adj, &go);
        let child = Child::Container(Box::new(NewContainer { record, log, outputs, stdin }));
        self.births.push(Birth::new(connection, pid, report, child, admitted));
        Ok(())
    }

    /// The first process of a running container.
    fn running(&self, name: &str) -> Result<i32, String> {
        let container = self.containers.get(name).filter(|container| container.status.state == ProcessState::Running);
        container.map(|container| container.pid).ok_or_else(|| format!("target container {name} is not running"))
    }

    /// Puts a new process where it belongs and lets it go on.
    fn admit(&self, group: &str, pid: i32, oom_score: Option<i32>, go: &OwnedFd) -> Result<(), String> {
        if !self.cgroups.is_v2()
            && let Err(error) = self.cgroups.attach(group, pid)
        {
            let _ = sys::kill(pid, libc::SIGKILL);
            return Err(plain(&error));
        }
        if let Some(score) = oom_score {
            // Lowering it asks for CAP_SYS_RESOURCE; a machine that withholds it still runs the container.
            let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string());
        }
        sys::write(go.as_fd(), b"g").map(drop).map_err(|error| plain(&error))
    }

    fn exec(
        &mut self,
        connection: u64,
        name: &str,
        id: u64,
        command: Vec<String>,
        tty: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let Some(container) = self.containers.get(name) else { return Err("container not found".to_owned()) };
        if container.status.state != ProcessState::Running {
            return Err("container is not running".to_owned());
        }
        let (mut wiring, side) = wire(true, false).map_err(|error| plain(&error))?;
        let mut fds = fds.into_iter();
        wiring.tty = tty;
        wiring.streams = [fds.next(), fds.next(), fds.next()];
        let init = sys::pidfd_open(container.pid).map_err(|error| plain(&error))?;
        let group = container.record.cgroup.clone();
        let pid = match self.fork(0, &group, Some(container.pid))? {
            sys::Fork::Child => {
                drop(side);
                let (hostname, users) = (&self.sandbox.config.hostname, self.users.as_ref());
                process::run_exec(&container.record, hostname, users, &init, &command, wiring)
            }
            sys::Fork::Parent(pid) => pid,
        };
        drop(wiring);
        let admitted = self.admit(&group, pid, container.record.config.resources.oom_score_adj, &side.go);
        self.births.push(Birth::new(connection, pid, side.report, Child::Exec(id), admitted));
        Ok(())
    }

    fn reap(&mut self) {
        let _ = sys::read(self.signals.as_fd(), &mut [0; 1024]);
        while let Some((pid, wait)) = sys::reap() {
            // All that it told is there.
            self.look_at_birth(pid);
            if let Some(index) = self.execs.iter().position(|exec| exec.pid == pid) {
                let exec = self.execs.swap_remove(index);
                self.send(exec.connection, &Response::Exited { code: exit_code(wait).0 }, None);
            }
            let running = |c: &&mut Container| c.pid == pid && c.status.state == ProcessState::Running;
            if let Some(id) = self.containers.values_mut().find(running).map(|container| container.record.id.clone()) {
                self.ended(&id, wait);
            }
        }
    }

    fn ended(&mut self, id: &str, wait: i32) {
        let Some(container) = self.containers.get_mut(id) else { return };
        self.cgroups.kill(&container.record.cgroup);
        while !container.outputs.is_empty() && container.pump(0, &mut self.buffer) {}
        container.outputs.clear();
        container.log.finish(Stream::Stdout);
        container.log.finish(Stream::Stderr);
        let (code, signal) = exit_code(wait);
        let reason = if self.cgroups.oom_kills(&container.record.cgroup) > 0 {
            "OOMKilled"
        } else if code == 0 {
            "Completed"
        } else {
            "Error"
        };
        container.status = ProcessStatus {
            state: ProcessState::Exited,
            pid: None,
            started_at: container.status.started_at,
            user: container.status.user.take(),
            finished_at: Some(now()),
            exit_code: Some(code),
            signal,
            reason: reason.to_owned(),
            message: String::new(),
        };
        (container.stdin, container.master) = (None, None);
        let status = container.status.clone();
        let waiting: Vec<u64> = container.clients.drain(..).map(|client| client.connection).collect();
        self.publish(id, &status);
        for connection in waiting {
            self.send(connection, &Response::Exited { code }, None);
        }
    }

    /// Writes a status to disk and tells who watches.
    pub(super) fn publish(&mut self, id: &str, status: &ProcessStatus) {
        let _ = write_json(&self.directory.join("containers").join(id).join("status.json"), status);
        let watching: Vec<u64> = self.connections.iter().filter(|(_, c)| c.watches).map(|(id, _)| *id).collect();
        for connection in watching {
            let response = Response::Changed { container: id.to_owned(), status: status.clone() };
            self.send(connection, &response, None);
        }
    }
}

impl Container {
    /// Moves output to log and clients; false when there is none now.
    fn pump(&mut self, index: usize, buffer: &mut [u8]) -> bool {
        let Some((stream, fd)) = self.outputs.get(index) else { return false };
        let stream = *stream;
        match sys::read(fd.as_fd(), buffer) {
            Ok(count) if count > 0 => {
                self.log.write(stream, &buffer[..count]);
                self.clients.retain_mut(|client| client.give(stream, &buffer[..count]));
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            _ => {
                self.outputs.remove(index);
                true
            }
        }
    }

    /// Moves a client's input to the process.
    fn feed(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let Some(from) = &client.stdin else { return };
        match sys::read(from.as_fd(), buffer) {
            Ok(count) if count > 0 => {
                self.pending.extend_from_slice(&buffer[..count]);
                self.flush();
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => {
                client.stdin = None;
                if self.record.config.stdin_once && self.master.is_none() {
                    self.stdin = None;
                }
            }
        }
    }

    /// Gives the process as much of its input as it takes now.
    fn flush(&mut self) {
        let Some(stdin) = &self.stdin else { return self.pending.clear() };
        while !self.pending.is_empty() {
            match sys::write(stdin.as_fd(), &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.pending.clear();
                    self.stdin = None;
                    return;
                }
            }
        }
    }
}

impl Client {
    fn give(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        self.output[stream as usize].as_ref().is_none_or(|fd| give_all(fd, bytes))
    }
}

/// Writes everything, waiting a little for a slow reader; false when it is gone or too slow.
fn give_all(fd: &OwnedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match sys::write(fd.as_fd(), bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut entries = [libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLOUT, revents: 0 }];
                let _ = sys::poll(&mut entries, CLIENT_WAIT_MILLIS);
                if entries[0].revents & libc::POLLOUT == 0 {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// The shim's ends of a [`Wiring`].
struct ShimSide {
    report: OwnedFd,
    go: OwnedFd,
    stdin: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

fn wire(tty: bool, stdin: bool) -> std::io::Result<(Wiring, ShimSide)> {
    let (report, child_report) = sys::packet_pair()?;
    let (child_go, go) = sys::pipe()?;
    let mut wiring = Wiring { streams: [None, None, None], tty, report: child_report, go: child_go };
    let mut side = ShimSide { report, go, stdin: None, outputs: Vec::new() };
    if !tty {
        for (index, stream) in [(1, Stream::Stdout), (2, Stream::Stderr)] {
            let (read, write) = sys::pipe()?;
            wiring.streams[index] = Some(write);
            side.outputs.push((stream, read));
        }
        if stdin {
            let (read, write) = sys::pipe()?;
            wiring.streams[0] = Some(read);
            sys::set_nonblocking(write.as_fd(), true)?;
            side.stdin = Some(write);
        }
    }
    Ok((wiring, side))
}

/// Exit code and signal of a wait status.
fn exit_code(wait: i32) -> (i32, Option<i32>) {
    if libc::WIFSIGNALED(wait) {
        let signal = libc::WTERMSIG(wait);
        (128 + signal, Some(signal))
    } else {
        (libc::WEXITSTATUS(wait), None)
    }
}

pub(super) fn now() -> i64 {
    nanoseconds(seams::clock::now())
}
