//! Claims and volumes in a cluster: who gets whom, and what is left when claims go.

use std::sync::Arc;

use client::{DeleteOptions, claims};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use super::*;
use crate::testing::{Cluster, until};

async fn cluster() -> Cluster {
    Cluster::start(&[
        "persistentvolume-binder-controller",
        "persistentvolumeclaim-protection-controller",
        "persistentvolume-protection-controller",
        "ephemeral-volume-controller",
    ])
    .await
}

async fn volume(cluster: &Cluster, name: &str, storage: &str, more: &str) {
    let place = if more.contains("hostPath") { String::new() } else { r#","hostPath":{"path":"/none"}"#.to_owned() };
    let json = format!(
        r#"{{"metadata":{{"name":"{name}"}},"spec":{{"capacity":{{"storage":"{storage}"}},
        "accessModes":["ReadWriteOnce"]{place}{more}}}}}"#
    );
    cluster.create::<PersistentVolume>("", &json).await;
}

fn claim_json(name: &str, storage: &str, more: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}"}},"spec":{{"accessModes":["ReadWriteOnce"],
        "resources":{{"requests":{{"storage":"{storage}"}}}}{more}}}}}"#
    )
}

async fn claim(cluster: &Cluster, name: &str, storage: &str, more: &str) {
    cluster.create::<PersistentVolumeClaim>("default", &claim_json(name, storage, more)).await;
}

async fn volume_is(cluster: &Cluster, name: &str, phase: &str) -> Arc<PersistentVolume> {
    let api = cluster.api::<PersistentVolume>("");
    until(&format!("volume {name} {phase}"), async || {
        Some(api.get(name).await.unwrap()).filter(|v| phase_of(v) == phase)
    })
    .await
}

async fn claim_is(cluster: &Cluster, name: &str, phase: &str) -> Arc<PersistentVolumeClaim> {
    let api = cluster.api::<PersistentVolumeClaim>("default");
    let is = |c: &Arc<PersistentVolumeClaim>| c.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase);
    until(&format!("claim {name} {phase}"), async || Some(api.get(name).await.unwrap()).filter(is)).await
}

async fn told(cluster: &Cluster, about: &str, text: &str) {
    let api = cluster.api::<Event>("default");
    until(&format!("{about}: {text}"), async || {
        let events = api.list(client::Options::default()).await.unwrap();
        let says = |e: &Arc<Event>| {
            let whole =
                format!("{}: {}", e.reason.as_deref().unwrap_or_default(), e.message.as_deref().unwrap_or_default());
            e.involved_object.name.as_deref() == Some(about) && whole.contains(text)
        };
        events.iter().any(says).then_some(())
    })
    .await;
}

async fn remove_claim(cluster: &Cluster, name: &str) {
    cluster.api::<PersistentVolumeClaim>("default").delete(name, DeleteOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_bound_to_what_fits_and_the_volume_kept_after_it() {
    let cluster = cluster().await;
    claim(&cluster, "c", "1Gi", r#","storageClassName":"""#).await;
    told(&cluster, "c", "FailedBinding: no persistent volumes available for this claim and no storage class is set")
        .await;
    volume(&cluster, "large", "9Gi", r#","storageClassName":"fast""#).await;
    volume_is(&cluster, "large", "Available").await;
    volume(&cluster, "small", "2Gi", "").await;
    let bound = claim_is(&cluster, "c", "Bound").await;
    assert_eq!(claims::volume_name(&bound), "small");
    assert!(claims::is_fully_bound(&bound));
    assert_eq!(bound.status.as_ref().unwrap().capacity.as_ref().unwrap()["storage"].0, "2Gi");
    let volume = volume_is(&cluster, "small", "Bound").await;
    assert_eq!(claims::claim_of(&volume).unwrap().uid, bound.metadata.uid);
    remove_claim(&cluster, "c").await;
    volume_is(&cluster, "small", "Released").await;
    claim(&cluster, "c", "1Gi", r#","storageClassName":"""#).await;
    told(&cluster, "c", "FailedBinding").await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    claim_is(&cluster, "c", "Pending").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_named_by_hand_is_bound_or_told() {
    let cluster = cluster().await;
    let kept = r#","claimRef":{"name":"mine","namespace":"default"},"storageClassName":"other""#;
    volume(&cluster, "kept", "1Gi", kept).await;
    volume(&cluster, "free", "1Gi", "").await;
    volume_is(&cluster, "free", "Available").await;
    claim(&cluster, "mine", "1Gi", r#","storageClassName":"""#).await;
    assert_eq!(claims::volume_name(claim_is(&cluster, "mine", "Bound").await.as_ref()), "kept");
    claim(&cluster, "too", "1Gi", r#","storageClassName":"","volumeName":"kept""#).await;
    told(&cluster, "too", r#"FailedBinding: volume "kept" already bound to a different claim."#).await;
    claim(&cluster, "big", "5Gi", r#","storageClassName":"","volumeName":"free""#).await;
    told(&cluster, "big", r#"VolumeMismatch: Cannot bind to requested volume "free": requested PV is too small"#).await;
    claim(&cluster, "fits", "1Gi", r#","storageClassName":"","volumeName":"free""#).await;
    claim_is(&cluster, "fits", "Bound").await;
    cluster.api::<PersistentVolume>("").delete("free", DeleteOptions::default()).await.unwrap();
    cluster.merge::<PersistentVolume>("", "free", r#"{"metadata":{"finalizers":null}}"#).await;
    claim_is(&cluster, "fits", "Lost").await;
    told(&cluster, "fits", "ClaimLost: Bound claim has lost its PersistentVolume.").await;
}

#[tokio::test(start_paused = true)]
async fn reclaiming_follows_the_policy() {
    let cluster = cluster().await;
    let place = tempdir();
    for (name, policy, path) in
        [("good", "Delete", place.as_str()), ("bad", "Delete", "/var/none/x"), ("again", "Recycle", "/var/none/y")]
    {
        claim(&cluster, name, "1Gi", &format!(r#","storageClassName":"{name}""#)).await;
        let policy = format!(r#","storageClassName":"{name}","persistentVolumeReclaimPolicy":"{policy}""#);
        volume(&cluster, name, "1Gi", &format!(r#"{policy},"hostPath":{{"path":"{path}"}}"#)).await;
    }
    for name in ["good", "bad", "again"] {
        claim_is(&cluster, name, "Bound").await;
        remove_claim(&cluster, name).await;
    }
    let api = cluster.api::<PersistentVolume>("");
    until("the volume goes", async || api.get_opt("good").await.unwrap().is_none().then_some(())).await;
    assert!(!std::path::Path::new(&place).exists());
    volume_is(&cluster, "bad", "Failed").await;
    let failed = api.get("bad").await.unwrap().status.clone().unwrap();
    let why = "host_path deleter only supports /tmp/.+ but received provided /var/none/x";
    assert_eq!(failed.message.as_deref(), Some(why));
    told(&cluster, "bad", &format!("VolumeFailedDelete: {why}")).await;
    volume_is(&cluster, "again", "Failed").await;
    told(&cluster, "again", "VolumeFailedRecycle: No recycler plugin found for the volume!").await;
}

fn tempdir() -> String {
    let place = format!("/tmp/skiff-binder-{:016x}", seams::random::number());
    std::fs::create_dir_all(format!("{place}/deep")).unwrap();
    place
}

#[tokio::test(start_paused = true)]
async fn classes_say_when_and_by_whom() {
    let cluster = cluster().await;
    let class = |name: &str, provisioner: &str, mode: &str, more: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"{more}}},"provisioner":"{provisioner}","volumeBindingMode":"{mode}"}}"#
        )
    };
    cluster.create::<StorageClass>("", &class("local", claims::NO_PROVISIONER, "WaitForFirstConsumer", "")).await;
    cluster.create::<StorageClass>("", &class("static", claims::NO_PROVISIONER, "Immediate", "")).await;
    cluster.create::<StorageClass>("", &class("made", "example.com/maker", "Immediate", "")).await;
    volume(&cluster, "v", "1Gi", r#","storageClassName":"local""#).await;
    volume_is(&cluster, "v", "Available").await;
    for name in ["local", "static", "made", "none"] {
        claim(&cluster, name, "1Gi", &format!(r#","storageClassName":"{name}""#)).await;
    }
    told(&cluster, "local", "WaitForFirstConsumer: waiting for first consumer to be created before binding").await;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}],
        "volumes":[{"name":"x","persistentVolumeClaim":{"claimName":"local"}}]}}"#;
    cluster.create::<Pod>("default", pod).await;
    told(&cluster, "local", "WaitForPodScheduled: waiting for pod p to be scheduled").await;
    let why = "ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner";
    told(&cluster, "static", why).await;
    told(&cluster, "none", r#"ProvisioningFailed: storageclass.storage.k8s.io "none" not found"#).await;
    told(&cluster, "made", "ExternalProvisioning: Waiting for a volume to be created either by the external").await;
    let asked = cluster.api::<PersistentVolumeClaim>("default").get("made").await.unwrap();
    let key = "volume.kubernetes.io/storage-provisioner";
    assert_eq!(claims::annotation(&asked.metadata, key), Some("example.com/maker"));
    // The scheduler chooses: it keeps the volume for the claim.
    let kept = r#"{"spec":{"claimRef":{"name":"local","namespace":"default"}}}"#;
    cluster.merge::<PersistentVolume>("", "v", kept).await;
    claim_is(&cluster, "local", "Bound").await;
    // A default class that comes later is given to claims without one.
    claim(&cluster, "late", "1Gi", "").await;
    told(&cluster, "late", "FailedBinding").await;
    let mark = r#","annotations":{"storageclass.kubernetes.io/is-default-class":"true"}"#;
    cluster.create::<StorageClass>("", &class("usual", "example.com/maker", "Immediate", mark)).await;
    until("the default class", async || {
        let claim = cluster.api::<PersistentVolumeClaim>("default").get("late").await.unwrap();
        (claims::class_of_claim(&claim) == "usual").then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ephemeral_volumes_get_claims_of_their_pods() {
    let cluster = cluster().await;
    volume(&cluster, "v", "1Gi", "").await;
    let template = r#"{"metadata":{"labels":{"a":"b"}},"spec":{"storageClassName":"","accessModes":["ReadWriteOnce"],
        "resources":{"requests":{"storage":"1Gi"}}}}"#;
    let pod = |name: &str, volume: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"c","image":"i"}}],
            "volumes":[{{"name":"{volume}","ephemeral":{{"volumeClaimTemplate":{template}}}}}]}}}}"#
        )
    };
    let made = cluster.create::<Pod>("default", &pod("p", "x")).await;
    let api = cluster.api::<PersistentVolumeClaim>("default");
    until("the claim", async || api.get_opt("p-x").await.unwrap()).await;
    let bound = claim_is(&cluster, "p-x", "Bound").await;
    assert_eq!(claims::check_owner(&made, &bound), Ok(()));
    assert_eq!(bound.metadata.labels.as_ref().unwrap()["a"], "b");
    claim(&cluster, "q-x", "1Gi", "").await;
    cluster.create::<Pod>("default", &pod("q", "x")).await;
    let why = "ephemeral volume x: PVC default/q-x was not created for pod default/q (pod is not owner)";
    told(&cluster, "q", &format!("FailedBinding: {why}")).await;
}
