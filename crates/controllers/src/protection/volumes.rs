//! Volumes are in use as long as they are bound to a claim.

use std::sync::Arc;

use client::{Informer, ObjectKey, Queue};
use k8s_openapi::api::core::v1::PersistentVolume;

use super::Protection;
use crate::context::{Context, Informers};

pub(crate) struct Volumes;

impl Protection for Volumes {
    type Object = PersistentVolume;
    const NAME: &'static str = "persistentvolume-protection-controller";
    const ACCOUNT: &'static str = "pv-protection-controller";
    const FINALIZER: &'static str = "kubernetes.io/pv-protection";

    fn informer(informers: &Informers) -> &Informer<PersistentVolume> {
        &informers.persistent_volumes
    }

    async fn follow(_context: &Arc<Context>, _queue: &Queue<ObjectKey>) {}

    fn is_in_use(_context: &Context, volume: &PersistentVolume) -> bool {
        volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
    }
}
