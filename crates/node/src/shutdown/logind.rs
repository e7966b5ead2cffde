//! What systemd-logind knows of the machine's end: it waits for those who hold a lock, and tells when it begins
//! (org.freedesktop.login1).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use super::bus::Bus;
use super::wire::{Body, Message};

/// Its name, object and interface.
pub const SERVICE: &str = "org.freedesktop.login1";
pub const OBJECT: &str = "/org/freedesktop/login1";
pub const INTERFACE: &str = "org.freedesktop.login1.Manager";
/// Where its settings may be laid over.
pub const SETTINGS: &str = "/etc/systemd/logind.conf.d";
const FILE: &str = "99-skiff.conf";

/// As long as it is held, the machine waits.
pub struct Lock(#[expect(dead_code, reason = "held, and given back by being closed")] OwnedFd);

/// A connection to it.
pub struct Logind(Bus);

impl Logind {
    /// Connects, and has it wait for `wanted` at least: by a file in its settings, where it waits for less.
    pub async fn connect(address: Option<&str>, settings: &Path, wanted: Duration) -> io::Result<Self> {
        let mut logind = Self(Bus::connect(address).await?);
        if logind.patience().await? < wanted {
            let text = format!("# Written by skiff\n[Login]\nInhibitDelayMaxSec={}\n", wanted.as_secs());
            std::fs::create_dir_all(settings)?;
            std::fs::write(settings.join(FILE), text)?;
            logind.reload().await?;
            let patience = logind.patience().await?;
            if patience < wanted {
                return Err(io::Error::other(format!(
                    "node shutdown manager was unable to update logind InhibitDelayMaxSec to {wanted:?} \
                     (ShutdownGracePeriod), current value of InhibitDelayMaxSec ({patience:?}) is less than requested \
                     ShutdownGracePeriod"
                )));
            }
        }
        let rule = format!("type='signal',interface='{INTERFACE}',member='PrepareForShutdown',path='{OBJECT}'");
        logind.0.listen(&rule).await?;
        Ok(logind)
    }

    /// How long it waits for those who hold a lock.
    async fn patience(&mut self) -> io::Result<Duration> {
        let reply = self.0.property(SERVICE, OBJECT, INTERFACE, "InhibitDelayMaxUSec").await?;
        let mut value = reply.arguments();
        let wrong = || io::Error::other("InhibitDelayMaxUSec from logind is not a uint64 as expected");
        match value.signature() {
            Ok("t") => value.long().map(Duration::from_micros).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    /// Has it read its settings anew.
    async fn reload(&mut self) -> io::Result<()> {
        let hangup = u32::try_from(libc::SIGHUP).unwrap_or(1);
        let body = Body::default().text("systemd-logind.service").text("all").number(hangup);
        let (systemd, object) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
        let call = Message::call(systemd, object, "org.freedesktop.systemd1.Manager", "KillUnit");
        self.0.call(call.with("ssi", body)).await.map(drop)
    }

    /// Takes a lock.
    pub async fn lock(&mut self) -> io::Result<Lock> {
        let body = Body::default().text("shutdown").text("skiff").text("Pods need time to end").text("delay");
        let call = Message::call(SERVICE, OBJECT, INTERFACE, "Inhibit").with("ssss", body);
        let (_, descriptors) = self.0.call(call).await?;
        let lock = descriptors.into_iter().next().map(Lock);
        lock.ok_or_else(|| io::Error::other("logind gave no lock"))
    }

    /// Waits until the machine is to end (`true`), or is not to any more.
    pub async fn shutdown(&mut self) -> io::Result<bool> {
        loop {
            let signal = self.0.signal().await?;
            if signal.member == "PrepareForShutdown" && signal.interface == INTERFACE {
                return signal.arguments().number().map(|b| b != 0).map_err(io::Error::other);
            }
        }
    }
}
