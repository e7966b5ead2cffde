//! The built-in controllers: one file each, one line each in [`CONTROLLERS`].
//!
//! All have one shape: informers feed keys into a queue; a reconcile takes a key, reads state anew, decides, and acts
//! idempotently. What was decided from stale copies is caught by resource versions and by [`expectations`].

mod context;
mod cron_jobs;
mod custom_resources;
mod deployment;
mod disruption;
mod endpoint_slice_mirroring;
mod endpoint_slices;
mod endpoints;
mod ephemeral_volumes;
mod expectations;
mod garbage_collector;
mod namespaces;
mod node_ipam;
mod node_lifecycle;
mod owners;
mod pod_gc;
mod pods;
mod protection;
mod replica_sets;
mod replicas;
mod replication_controllers;
mod resource_quotas;
mod root_ca;
mod service_accounts;
mod service_cidrs;
mod service_endpoints;
mod slice_plan;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod volume_binding;

use std::sync::Arc;

use client::Shutdown;
use futures_util::future::BoxFuture;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;

pub use context::{ApiResource, Context, Informers, Options};

/// One controller.
pub struct Controller {
    /// Its upstream name, as `--disable` and logs know it.
    pub name: &'static str,
    /// Runs until shutdown.
    pub run: fn(Arc<Context>, Shutdown) -> BoxFuture<'static, ()>,
}

/// All controllers.
pub static CONTROLLERS: &[Controller] = &[
    Controller { name: "namespace-controller", run: |c, s| Box::pin(namespaces::run(c, s)) },
    Controller { name: "serviceaccount-controller", run: |c, s| Box::pin(service_accounts::run(c, s)) },
    Controller { name: "root-ca-certificate-publisher-controller", run: |c, s| Box::pin(root_ca::run(c, s)) },
    Controller { name: "deployment-controller", run: |c, s| Box::pin(deployment::run(c, s)) },
    Controller { name: "replicaset-controller", run: |c, s| Box::pin(replicas::run::<ReplicaSet>(c, s)) },
    Controller {
        name: "replicationcontroller-controller",
        run: |c, s| Box::pin(replicas::run::<ReplicationController>(c, s)),
    },
    Controller { name: "endpoints-controller", run: |c, s| Box::pin(endpoints::run(c, s)) },
    Controller { name: "endpointslice-controller", run: |c, s| Box::pin(endpoint_slices::run(c, s)) },
    Controller {
        name: "endpointslice-mirroring-controller",
        run: |c, s| Box::pin(endpoint_slice_mirroring::run(c, s)),
    },
    Controller { name: "cronjob-controller", run: |c, s| Box::pin(cron_jobs::run(c, s)) },
    Controller { name: "disruption-controller", run: |c, s| Box::pin(disruption::run(c, s)) },
    Controller { name: "resourcequota-controller", run: |c, s| Box::pin(resource_quotas::run(c, s)) },
    Controller { name: "garbage-collector-controller", run: |c, s| Box::pin(garbage_collector::run(c, s)) },
    Controller { name: "pod-garbage-collector-controller", run: |c, s| Box::pin(pod_gc::run(c, s)) },
    Controller { name: "node-lifecycle-controller", run: |c, s| Box::pin(node_lifecycle::run(c, s)) },
    Controller { name: "persistentvolume-binder-controller", run: |c, s| Box::pin(volume_binding::run(c, s)) },
    Controller { name: "ephemeral-volume-controller", run: |c, s| Box::pin(ephemeral_volumes::run(c, s)) },
    Controller {
        name: "persistentvolumeclaim-protection-controller",
        run: |c, s| Box::pin(protection::run::<protection::Claims>(c, s)),
    },
    Controller {
        name: "persistentvolume-protection-controller",
        run: |c, s| Box::pin(protection::run::<protection::Volumes>(c, s)),
    },
    Controller {
        name: "volumeattributesclass-protection-controller",
        run: |c, s| Box::pin(protection::run::<protection::AttributesClasses>(c, s)),
    },
    Controller { name: "service-cidr-controller", run: |c, s| Box::pin(service_cidrs::run(c, s)) },
    Controller { name: "node-ipam-controller", run: |c, s| Box::pin(node_ipam::run(c, s)) },
];

/// Runs all controllers until shutdown. Boxed, so that they are compiled here and not by the caller.
pub fn run(client: client::Client, options: Options, shutdown: Shutdown) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let context = Arc::new(Context::new(client, options));
        let mut tasks = tokio::task::JoinSet::new();
        for controller in CONTROLLERS {
            tracing::debug!(controller = controller.name, "starting");
            tasks.spawn((controller.run)(context.clone(), shutdown.clone()));
        }
        while tasks.join_next().await.is_some() {}
    })
}
