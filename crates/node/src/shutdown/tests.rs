//! Against a real message bus, with a logind of a few lines.

use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use tokio::sync::{mpsc, watch};

use super::bus::{Bus, DAEMON};
use super::logind::{INTERFACE, Logind, OBJECT, SERVICE};
use super::wire::{Body, CALL, Message, REPLY, SIGNAL};
use super::*;

/// A message bus of its own.
struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("skiff-bus-").tempdir().unwrap();
        let text = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
                "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
            <busconfig><type>session</type><listen>unix:path={}/bus</listen><auth>EXTERNAL</auth>
            <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
            <allow user="*"/></policy></busconfig>"#,
            directory.path().display()
        );
        let config = directory.path().join("bus.conf");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg(format!("--config-file={}", config.display())).stderr(Stdio::null());
        let child = command.spawn().expect("dbus-daemon, of the package dbus-daemon");
        Self { child, directory }
    }

    fn address(&self) -> String {
        format!("unix:path={}/bus", self.directory.path().display())
    }

    async fn connect(&self) -> Bus {
        let connect = async {
            loop {
                match Bus::connect(Some(&self.address())).await {
                    Ok(bus) => return bus,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), connect).await.expect("the bus listens")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the fake logind does.
struct Fake {
    /// Locks that are held: the other ends of their pipes.
    locks: mpsc::UnboundedReceiver<std::os::fd::OwnedFd>,
    /// Tells that the machine ends, or not.
    ends: mpsc::UnboundedSender<bool>,
}

impl Fake {
    async fn start(daemon: &Daemon, settings: PathBuf) -> Self {
        let mut bus = daemon.connect().await;
        for name in [SERVICE, "org.freedesktop.systemd1"] {
            let body = Body::default().text(name).number(0);
            let call = Message::call(DAEMON, "/org/freedesktop/DBus", DAEMON, "RequestName").with("su", body);
            bus.call(call).await.unwrap();
        }
        let (held, locks) = mpsc::unbounded_channel();
        let (ends, mut told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = bus.receive() => answer(&mut bus, message.unwrap().0, &settings, &held).await,
                    Some(ends) = told.recv() => {
                        let signal = Message { kind: SIGNAL, destination: String::new(),
                            ..Message::call("", OBJECT, INTERFACE, "PrepareForShutdown") };
                        bus.send(signal.with("b", Body::default().number(u32::from(ends)))).await.unwrap();
                    }
                }
            }
        });
        Self { locks, ends }
    }
}

async fn answer(
    bus: &mut Bus,
    call: Message,
    settings: &std::path::Path,
    held: &mpsc::UnboundedSender<std::os::fd::OwnedFd>,
) {
    if call.kind != CALL {
        return;
    }
    let reply = Message { kind: REPLY, reply_to: call.serial, destination: call.sender.clone(), ..Message::default() };
    match call.member.as_str() {
        "Get" => {
            let text = std::fs::read_to_string(settings.join("99-skiff.conf")).unwrap_or_default();
            let seconds =
                text.lines().find_map(|l| l.strip_prefix("InhibitDelayMaxSec=")?.parse().ok()).unwrap_or(5u64);
            bus.send(reply.with("v", Body::default().signature("t").long(seconds * 1_000_000))).await.unwrap();
        }
        "Inhibit" => {
            let (ours, theirs) = nix::unistd::pipe().unwrap();
            let message = Message { descriptors: 1, serial: 900, ..reply.with("h", Body::default().number(0)) };
            let (bytes, fds) = (message.encode(), [theirs.as_raw_fd()]);
            let rights = [ControlMessage::ScmRights(&fds)];
            let socket = bus.socket().as_raw_fd();
            let sent = sendmsg::<UnixAddr>(socket, &[IoSlice::new(&bytes)], &rights, MsgFlags::empty(), None).unwrap();
            assert_eq!(sent, bytes.len());
            held.send(ours).unwrap();
        }
        "KillUnit" => _ = bus.send(reply).await.unwrap(),
        other => panic!("logind was asked for {other}"),
    }
}

/// Whether the other end of a lock's pipe is closed.
fn is_released(lock: &std::os::fd::OwnedFd) -> bool {
    let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(lock), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, 0u16).unwrap();
    fds[0].revents().is_some_and(|r| r.contains(nix::poll::PollFlags::POLLHUP))
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn locks_and_signals_travel_over_the_bus() {
    let daemon = Daemon::start();
    let settings = daemon.directory.path().join("logind.conf.d");
    let mut fake = Fake::start(&daemon, settings.clone()).await;
    let wanted = Duration::from_secs(40);
    let mut logind = Logind::connect(Some(&daemon.address()), &settings, wanted).await.unwrap();
    let text = std::fs::read_to_string(settings.join("99-skiff.conf")).unwrap();
    assert!(text.ends_with("[Login]\nInhibitDelayMaxSec=40\n"), "{text}");
    let lock = logind.lock().await.unwrap();
    let other = fake.locks.recv().await.unwrap();
    assert!(!is_released(&other));
    for ends in [true, false] {
        fake.ends.send(ends).unwrap();
        assert_eq!(logind.shutdown().await.unwrap(), ends);
    }
    drop(lock);
    until("the lock is given back", || is_released(&other)).await;
    let nobody = Logind::connect(Some("unix:path=/nowhere"), &settings, wanted).await;
    assert!(nobody.err().unwrap().to_string().starts_with("connect to D-Bus at /nowhere: "));
}

#[tokio::test]
async fn pods_end_before_the_machine() {
    let daemon = Daemon::start();
    let settings = daemon.directory.path().join("logind.conf.d");
    let mut fake = Fake::start(&daemon, settings.clone()).await;
    let world = crate::agent::tests::World::with(|options| {
        options.shutdown = ShutdownOptions {
            periods: Periods::of_two(Duration::from_secs(20), Duration::from_secs(10)).unwrap(),
            bus: Some(daemon.address()),
            logind_settings: settings.clone(),
        };
    });
    let one = |priority: i64| {
        format!(
            r#"{{"nodeName":"node1","priority":{priority},"terminationGracePeriodSeconds":7,
                "containers":[{{"name":"a{priority}","image":"app"}}]}}"#
        )
    };
    world.pod("first", &one(0));
    world.pod("critical", &one(2_000_001_000));
    for name in ["first", "critical"] {
        world.until(name, |s| s.str_at(&["phase"]) == Some("Running")).await;
    }
    let lock = fake.locks.recv().await.unwrap();
    fake.ends.send(true).unwrap();
    until("the lock is given back", || is_released(&lock)).await;
    for name in ["first", "critical"] {
        let status = world.status(name);
        assert_eq!(status.str_at(&["phase"]), Some("Failed"), "{status:?}");
        assert_eq!(status.str_at(&["reason"]), Some(REASON));
        assert_eq!(status.str_at(&["message"]), Some(MESSAGE));
    }
    let stops = world.runtime.state.lock().unwrap().stops.clone();
    assert_eq!(stops.iter().map(|(_, grace)| grace.as_secs() <= 7).collect::<Vec<_>>(), [true, true]);
    let ready = |node: &machinery::Value| {
        let list = node.at(&["status", "conditions"]).and_then(machinery::Value::as_array);
        let ready = list.into_iter().flatten().find(|c| c.str_at(&["type"]) == Some("Ready")).cloned();
        ready.and_then(|c| c.str_at(&["message"]).map(str::to_owned)).unwrap_or_default()
    };
    let node = || world.api.get("nodes", "", "node1").unwrap_or_default();
    until("the node tells", || ready(&node()) == "node is shutting down").await;
    world.pod("late", &one(0));
    world.until("late", |s| s.str_at(&["reason"]) == Some("NodeShutdown")).await;
    let told = world.status("late").str_at(&["message"]).map(str::to_owned);
    assert_eq!(told.as_deref(), Some("Pod was rejected: Pod was rejected as the node is shutting down."));
    // It was called off.
    fake.ends.send(false).unwrap();
    let lock = fake.locks.recv().await.unwrap();
    assert!(!is_released(&lock));
    world.pod("again", &one(0));
    world.until("again", |s| s.str_at(&["phase"]) == Some("Running")).await;
    let _ = Arc::new(watch::Sender::new(world));
}
