//! Classes of volume attributes are in use as long as a claim or a volume names them.

use std::sync::Arc;

use client::{Change, Informer, ObjectKey, Queue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;

use super::Protection;
use crate::context::{Context, Informers};

pub(crate) struct AttributesClasses;

impl Protection for AttributesClasses {
    type Object = VolumeAttributesClass;
    const NAME: &'static str = "volumeattributesclass-protection-controller";
    const ACCOUNT: &'static str = "volumeattributesclass-protection-controller";
    const FINALIZER: &'static str = "kubernetes.io/vac-protection";

    fn informer(informers: &Informers) -> &Informer<VolumeAttributesClass> {
        &informers.volume_attributes_classes
    }

    async fn follow(context: &Arc<Context>, queue: &Queue<ObjectKey>) {
        let less = queue.clone();
        context.informers.persistent_volume_claims.on_change(move |change| {
            let names = states(change).into_iter().flatten().flat_map(|claim| of_claim(claim));
            names.for_each(|name| less.add(ObjectKey::new("", &name)));
        });
        let less = queue.clone();
        context.informers.persistent_volumes.on_change(move |change| {
            let names = states(change).into_iter().flatten().filter_map(|volume| of_volume(volume));
            names.for_each(|name| less.add(ObjectKey::new("", &name)));
        });
        let Informers { persistent_volumes, persistent_volume_claims, .. } = &context.informers;
        tokio::join!(persistent_volumes.synced(), persistent_volume_claims.synced());
    }

    fn is_in_use(context: &Context, class: &VolumeAttributesClass) -> bool {
        let Informers { persistent_volumes, persistent_volume_claims, .. } = &context.informers;
        let name = class.metadata.name.as_deref();
        persistent_volume_claims.list().iter().any(|claim| of_claim(claim).any(|known| Some(&*known) == name))
            || persistent_volumes.list().iter().any(|volume| of_volume(volume).as_deref() == name)
    }
}

/// What an object was and is.
fn states<'a, K>(change: &Change<'a, K>) -> [Option<&'a Arc<K>>; 2] {
    match *change {
        Change::Applied { old, new } => [old, Some(new)],
        Change::Deleted(last) => [Some(last), None],
    }
}

/// The classes that a claim wants, has, and is about to have.
fn of_claim(claim: &PersistentVolumeClaim) -> impl Iterator<Item = String> {
    let status = claim.status.as_ref();
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let has = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let next = status.and_then(|status| status.modify_volume_status.as_ref());
    let next = next.and_then(|modify| modify.target_volume_attributes_class_name.clone());
    [wanted, has, next].into_iter().flatten()
}

fn of_volume(volume: &PersistentVolume) -> Option<String> {
    volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone())
}
