//! Measures a running skiff: `bench [SECTION…]`, as root; `make bench` runs all sections. Everything happens in network and
//! mount namespaces of its own. SKIFF names the program to measure.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a tool for the console, in real time")]

mod api;
mod cluster;
mod connection;
mod figures;
mod idle;
mod images;
mod large;
mod list;
mod load;
mod peers;
mod pods;
mod start;
mod watch;

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use futures_util::future::LocalBoxFuture;

/// Set inside the namespaces.
const INSIDE: &str = "SKIFF_BENCH_INSIDE";

/// One group of figures.
struct Section {
    name: &'static str,
    run: fn() -> LocalBoxFuture<'static, Result<()>>,
}

const SECTIONS: &[Section] = &[
    Section { name: "start", run: || Box::pin(start::run()) },
    Section { name: "idle", run: || Box::pin(idle::run()) },
    Section { name: "pods", run: || Box::pin(pods::run()) },
    Section { name: "images", run: || Box::pin(images::run()) },
    Section { name: "api", run: || Box::pin(api::run()) },
    Section { name: "list", run: || Box::pin(list::run()) },
    Section { name: "large", run: || Box::pin(large::run()) },
    Section { name: "watch", run: || Box::pin(watch::run()) },
    Section { name: "peers", run: || Box::pin(peers::run()) },
];

fn main() -> Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        return enter();
    }
    // The namespaces are new: loopback is down, and /run is to be ours alone.
    let ready = Command::new("sh").args(["-c", "ip link set lo up && mount -t tmpfs tmpfs /run"]).status()?;
    if !ready.success() {
        bail!("the namespaces could not be prepared");
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|w| !SECTIONS.iter().any(|s| s.name == *w)) {
        let names: Vec<_> = SECTIONS.iter().map(|s| s.name).collect();
        bail!("no section {unknown}; there are {}", names.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for section in SECTIONS.iter().filter(|s| wanted.is_empty() || wanted.iter().any(|w| w == s.name)) {
        println!("\n## {}", section.name);
        runtime.block_on((section.run)()).with_context(|| format!("section {}", section.name))?;
    }
    Ok(())
}

/// Starts itself again in namespaces of its own.
fn enter() -> Result<()> {
    let own = std::env::current_exe()?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--uts", "--propagation", "private", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    bail!("unshare could not be started (root and util-linux are needed): {error}")
}
