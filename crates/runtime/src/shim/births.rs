//! New processes on their way to their programs: the shim goes on with everything else until each of them tells that its program
//! runs, or why not. What they wait for may never answer, such as a file system.

use std::os::fd::{AsFd, OwnedFd};

use super::logs::{Log, Stream};
use super::process;
use super::rootfs::plain;
use super::server::{Container, Exec, Outcome, Server};
use crate::api::UserIds;
use crate::record::{ContainerRecord, ProcessState, ProcessStatus, Response};
use crate::sys;

/// How long a program may take to start, in milliseconds: less than the agent waits for an answer.
const START_WAIT_MILLIS: i64 = 100_000;

/// What a new process becomes.
pub(super) enum Child {
    /// A container's first one.
    Container(Box<NewContainer>),
    /// A command in a running container, with the number that its caller gave it.
    Exec(u64),
}

/// A container's parts that wait for its process.
pub(super) struct NewContainer {
    pub record: ContainerRecord,
    pub log: Log,
    pub outputs: Vec<(Stream, OwnedFd)>,
    pub stdin: Option<OwnedFd>,
}

/// A new process.
pub(super) struct Birth {
    /// Who asked for it.
    connection: u64,
    pub pid: i32,
    pub report: OwnedFd,
    child: Child,
    /// Whether it could be put where it belongs.
    admitted: Result<(), String>,
    /// The master of its terminal.
    master: Option<OwnedFd>,
    /// Whom it runs as.
    user: Option<UserIds>,
    /// Until when it may take, on the clock that nobody sets.
    until: i64,
}

impl Birth {
    pub(super) fn new(connection: u64, pid: i32, report: OwnedFd, child: Child, admitted: Result<(), String>) -> Self {
        let _ = sys::set_nonblocking(report.as_fd(), true);
        let until = sys::monotonic_millis() + START_WAIT_MILLIS;
        Self { connection, pid, report, child, admitted, master: None, user: None, until }
    }

    /// Whether it becomes the first process of this container.
    pub(super) fn is_of(&self, container: &str) -> bool {
        matches!(&self.child, Child::Container(new) if new.record.id == container)
    }

    /// Reads what it told; nothing while it is on its way.
    fn hear(&mut self) -> Option<Result<(), String>> {
        let mut buffer = vec![0; process::REPORT_BYTES_MAX];
        loop {
            let mut fds = Vec::new();
            let count = match sys::receive_with_fds(self.report.as_fd(), &mut buffer, &mut fds) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(plain(&error))),
            };
            match count {
                0 => return Some(Ok(())),
                _ if buffer[..count].starts_with(process::USER_MARK) => {
                    self.user = serde_json::from_slice(&buffer[process::USER_MARK.len()..count]).ok();
                }
                _ if !fds.is_empty() && &buffer[..count] == b"tty" => self.master = fds.pop(),
                _ => return Some(Err(String::from_utf8_lossy(&buffer[..count]).into_owned())),
            }
        }
    }
}

impl Server {
    /// How long the loop may wait before a new process is given up, in milliseconds; -1 without any.
    pub(super) fn births_wait(&self) -> i32 {
        let first = self.births.iter().map(|birth| birth.until).min();
        first.map_or(-1, |until| i32::try_from((until - sys::monotonic_millis()).max(0) + 1).unwrap_or(i32::MAX))
    }

    /// A new process told something, or ended.
    pub(super) fn look_at_birth(&mut self, pid: i32) {
        let Some(index) = self.births.iter().position(|birth| birth.pid == pid) else { return };
        if let Some(told) = self.births[index].hear() {
            let birth = self.births.swap_remove(index);
            self.born(birth, told);
        }
    }

    /// Gives up those that take too long.
    pub(super) fn end_late_births(&mut self) {
        let now = sys::monotonic_millis();
        let why = "the program did not start in time: a file system of its container may not answer";
        self.give_up_births(why, |birth| birth.until <= now);
    }

    /// Gives up a container's, and says whether it had one.
    pub(super) fn end_birth_in(&mut self, container: &str) -> bool {
        self.give_up_births("the container was stopped before its program started", |birth| birth.is_of(container))
    }

    fn give_up_births(&mut self, why: &str, which: impl Fn(&Birth) -> bool) -> bool {
        let mut any = false;
        while let Some(index) = self.births.iter().position(&which) {
            let birth = self.births.swap_remove(index);
            // It may not end before what it waits for answers; nothing else waits for that.
            let _ = sys::kill(birth.pid, libc::SIGKILL);
            self.born(birth, Err(why.to_owned()));
            any = true;
        }
        any
    }

    /// Tells who asked what became of it.
    fn born(&mut self, birth: Birth, told: Result<(), String>) {
        let Birth { connection, pid, child, admitted, master, user, .. } = birth;
        // What failed early on is told by the process itself, which is gone then: that is the reason.
        let result = told.and(admitted);
        let outcome = match child {
            Child::Container(new) => {
                let name = new.record.id.clone();
                let result = result.and_then(|()| self.take_in(*new, pid, master, user));
                self.publish_start(&name, &result);
                result.map(|()| (Response::Started { pid }, None))
            }
            Child::Exec(id) => result.map(|()| {
                self.execs.push(Exec { id, pid, connection });
                (Response::Started { pid }, master)
            }),
        };
        self.reply(connection, outcome);
    }

    fn reply(&mut self, connection: u64, outcome: Outcome) {
        let failed = |message| (Response::Failed { message, not_found: false }, None);
        let (response, fd) = outcome.unwrap_or_else(failed);
        self.send(connection, &response, fd.as_ref());
    }

    /// The container runs.
    fn take_in(
        &mut self,
        new: NewContainer,
        pid: i32,
        master: Option<OwnedFd>,
        user: Option<UserIds>,
    ) -> Result<(), String> {
        let NewContainer { record, log, outputs, stdin } = new;
        let (outputs, stdin) = match &master {
            Some(master) => {
                let copy = || sys::duplicate(master).map_err(|error| plain(&error));
                (vec![(Stream::Stdout, copy()?)], Some(copy()?))
            }
            None => (outputs, stdin),
        };
        for (_, fd) in &outputs {
            let _ = sys::set_nonblocking(fd.as_fd(), true);
        }
        let status = ProcessStatus {
            state: ProcessState::Running,
            pid: Some(pid),
            started_at: Some(super::server::now()),
            user,
            ..ProcessStatus::default()
        };
        let (pending, clients) = (Vec::new(), Vec::new());
        let container = Container { status, pid, outputs, stdin, pending, master, log, clients, record };
        self.containers.insert(container.record.id.clone(), container);
        Ok(())
    }

    /// Writes and tells how a start went.
    pub(super) fn publish_start(&mut self, name: &str, result: &Result<(), String>) {
        let status = match result {
            Ok(()) => self.containers.get(name).map(|container| container.status.clone()).unwrap_or_default(),
            Err(message) => ProcessStatus {
                state: ProcessState::Exited,
                finished_at: Some(super::server::now()),
                exit_code: Some(128),
                reason: "StartError".to_owned(),
                message: message.clone(),
                ..ProcessStatus::default()
            },
        };
        self.publish(name, &status);
    }
}
