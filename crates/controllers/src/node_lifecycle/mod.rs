//! Nodes that stop reporting become Unknown; conditions become taints; taints move pods away.
//!
//! Upstream's node lifecycle controller and taint eviction controller in one: [`health`] watches heartbeats, [`taints`] keeps a
//! node's taints equal to its conditions, [`eviction`] deletes pods whose patience with a NoExecute taint is over.

mod eviction;
mod health;
mod taints;

use std::sync::Arc;

use client::events::Recorder;
use client::{Client, Shutdown};
use k8s_openapi::api::core::v1::{Node, NodeCondition};

use crate::context::Context;

/// What the parts share.
struct Lifecycle {
    context: Arc<Context>,
    client: Client,
    recorder: Recorder,
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let lifecycle = Arc::new(Lifecycle {
        client: context.client_of("node-controller"),
        recorder: context.recorder("node-controller"),
        context: context.clone(),
    });
    let informers = &context.informers;
    tokio::join!(informers.nodes.synced(), informers.leases.synced(), informers.pods.synced());
    tokio::join!(
        health::run(lifecycle.clone(), shutdown.clone()),
        taints::run(lifecycle.clone(), shutdown.clone()),
        eviction::run(lifecycle, shutdown),
    );
}

/// A node's condition.
fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == kind)
}
