//! The component: follows the informers and keeps the kernel current.

use std::sync::Arc;
use std::time::Duration;

use client::Informer;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::sync::Proxy;

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const RETRY_WAIT_MIN: Duration = Duration::from_millis(100);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(10);

/// The pace of the component.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// Syncs are at least this far apart: the first change is applied at once, those that follow together.
    pub sync_interval_min: Duration,
    /// How often to see whether the table is still there.
    pub check_interval: Duration,
    /// After this many checks the table is made anew if anyone changed any table meanwhile.
    pub checks_per_rebuild: u32,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            sync_interval_min: Duration::from_millis(10),
            check_interval: Duration::from_secs(10),
            checks_per_rebuild: 30,
        }
    }
}

/// Runs until it is dropped. Starts only when the informers are complete: until then the table of an earlier life serves.
/// `nodes` tells the node's zone, for endpoints with topology hints.
pub async fn run(
    proxy: Proxy,
    config: RunConfig,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
) {
    tokio::join!(services.synced(), slices.synced(), nodes.synced());
    let changed = Arc::new(Notify::new());
    let tell = |changed: &Arc<Notify>| {
        let changed = changed.clone();
        move || changed.notify_one()
    };
    let (a, b, c) = (tell(&changed), tell(&changed), tell(&changed));
    services.on_change(move |_| a());
    slices.on_change(move |_| b());
    nodes.on_change(move |_| c());
    changed.notify_one();
    let mut check = interval(config.check_interval);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checks = 0u32;
    loop {
        tokio::select! {
            () = changed.notified() => {
                let next = Instant::now() + config.sync_interval_min;
                set_zone(&proxy, &nodes);
                sync(&proxy, &services, &slices).await;
                sleep_until(next).await;
            }
            _ = check.tick() => {
                checks += 1;
                repair(&proxy, checks.is_multiple_of(config.checks_per_rebuild)).await;
            }
        }
    }
}

fn set_zone(proxy: &Proxy, nodes: &Informer<Node>) {
    let node = nodes.get("", &proxy.node_name());
    proxy.set_zone(node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned()));
}

/// Tries until it works, each time with what is known by then.
async fn sync(proxy: &Proxy, services: &Informer<Service>, slices: &Informer<EndpointSlice>) {
    let mut wait = RETRY_WAIT_MIN;
    loop {
        let started = Instant::now();
        match proxy.sync(&services.list(), &slices.list()).await {
            Ok(report) => {
                let elapsed_ms = started.elapsed().as_millis() as u64;
                tracing::debug!(
                    added = report.added,
                    removed = report.removed,
                    report.rebuilt,
                    elapsed_ms,
                    "service rules"
                );
                return;
            }
            Err(error) => tracing::error!(%error, "service rules not applied; trying again"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_WAIT_MAX);
    }
}

async fn repair(proxy: &Proxy, thorough: bool) {
    match proxy.repair(thorough).await {
        Ok(false) => {}
        Ok(true) => tracing::info!("service rules made anew: someone else changed nftables"),
        Err(error) => tracing::error!(%error, "service rules could not be checked"),
    }
}
