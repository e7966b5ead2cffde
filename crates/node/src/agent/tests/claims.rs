//! Claims: what a pod waits for, and what it gets.

use super::*;

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap()
}

/// A claim that is bound to the volume of its name.
fn bind(world: &World, name: &str, mode: &str, source: &str) {
    let claim = format!(
        r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"{name}","namespace":"n","uid":"{name}"}},
        "spec":{{"volumeName":"{name}"}},"status":{{"phase":"Bound"}}}}"#
    );
    let volume = format!(
        r#"{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"{name}","annotations":
        {{"pv.beta.kubernetes.io/gid":"77"}}}},"spec":{{"volumeMode":"{mode}",
        "claimRef":{{"name":"{name}","namespace":"n","uid":"{name}"}},{source}}}}}"#
    );
    world.api.put("persistentvolumes", "", name, parse(&volume));
    world.api.put("persistentvolumeclaims", "n", name, parse(&claim));
}

fn pod_with(world: &World, name: &str, claim: &str, how: &str) {
    let spec = format!(
        r#"{{"nodeName":"node1","containers":[{{"name":"a","image":"app",{how}}}],
        "volumes":[{{"name":"v","persistentVolumeClaim":{{"claimName":"{claim}","readOnly":true}}}}]}}"#
    );
    world.pod(name, &spec);
}

const MOUNTED: &str = r#""volumeMounts":[{"name":"v","mountPath":"/v"}]"#;
const DEVICE: &str = r#""volumeDevices":[{"name":"v","devicePath":"/dev/v"}]"#;

async fn told(world: &World, text: &str) {
    let wait = async {
        while !world.api.events().iter().any(|e| e.contains(text)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(waited.is_ok(), "{text} is not in {:#?}", world.api.events());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_had_is_told_in_upstreams_words() {
    let world = World::new();
    let elsewhere = r#""nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":
        [{"key":"host","operator":"In","values":["other"]}]}]}}"#;
    bind(&world, "elsewhere", "Filesystem", &format!(r#""hostPath":{{"path":"/tmp"}},{elsewhere}"#));
    bind(&world, "driver", "Filesystem", r#""csi":{"driver":"d.example.com","volumeHandle":"h"}"#);
    bind(&world, "fc", "Filesystem", r#""fc":{"lun":1}"#);
    bind(&world, "gone", "Filesystem", r#""local":{"path":"/none/x"}"#);
    bind(&world, "options", "Filesystem", r#""hostPath":{"path":"/tmp"},"mountOptions":["ro"]"#);
    bind(&world, "raw", "Block", r#""local":{"path":"/tmp"}"#);
    bind(&world, "leaving", "Filesystem", r#""hostPath":{"path":"/tmp"}"#);
    let mut leaving = world.api.get("persistentvolumeclaims", "n", "leaving").unwrap();
    leaving.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
    world.api.put("persistentvolumeclaims", "n", "leaving", leaving);
    let unbound = r#"{"metadata":{"name":"unbound","namespace":"n","uid":"u"},"spec":{},"status":{"phase":"Pending"}}"#;
    world.api.put("persistentvolumeclaims", "n", "unbound", parse(unbound));
    let whole = "FailedMount: Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to \
                 process volumes=[v]: ";
    let cases = [
        ("missing", MOUNTED, format!("{whole}error processing PVC n/missing: failed to fetch PVC from API server: ")),
        ("unbound", MOUNTED, format!("{whole}error processing PVC n/unbound: PVC is not bound")),
        ("leaving", MOUNTED, format!("{whole}error processing PVC n/leaving: PVC is being deleted")),
        ("raw", MOUNTED, format!("{whole}volume v has volumeMode Block, but is specified in volumeMounts")),
        ("gone", DEVICE, format!("{whole}volume v has volumeMode Filesystem, but is specified in volumeDevices")),
        ("raw", DEVICE, r#"MapVolume.MapBlockVolume failed for volume "raw" : path "/tmp" is not a block device"#.into()),
        ("elsewhere", MOUNTED,
            r#"MountVolume.NodeAffinity check failed for volume "elsewhere" : no matching NodeSelectorTerms"#.into()),
        ("driver", MOUNTED, r#"MountVolume.MountDevice failed for volume "driver" : kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: driver name d.example.com not found in the list of registered CSI drivers"#.into()),
        ("fc", MOUNTED, r#"MountVolume.FindPluginBySpec failed for volume "fc" : no volume plugin matched"#.into()),
        ("gone", MOUNTED,
            r#"MountVolume.NewMounter initialization failed for volume "gone" : path "/none/x" does not exist"#.into()),
        ("options", MOUNTED, r#"MountVolume.MountOptionSupport check failed for volume "options" : mount options are not supported for this volume type"#.into()),
    ];
    for (number, (claim, how, text)) in cases.iter().enumerate() {
        pod_with(&world, &format!("p{number}"), claim, how);
        told(&world, text).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claims_volume_reaches_the_container_and_is_kept() {
    let world = World::new();
    let place = world.directory.path().join("files");
    std::fs::create_dir(&place).unwrap();
    bind(&world, "c", "Filesystem", &format!(r#""hostPath":{{"path":"{}"}}"#, place.display()));
    pod_with(&world, "p", "c", MOUNTED);
    world.until("p", |s| phase(s) == "Running").await;
    let config = world.runtime.state.lock().unwrap().configs[0].clone();
    let mount = config.mounts.iter().find(|m| m.container_path == "/v").unwrap();
    assert!(mount.host_path == place && mount.read_only, "{mount:?}");
    assert_eq!(config.security.supplemental_groups, [77]);
    // A pod that runs keeps its volume, also when the claim is being deleted and its container starts anew.
    let mut claim = world.api.get("persistentvolumeclaims", "n", "c").unwrap();
    claim.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
    world.api.put("persistentvolumeclaims", "n", "c", claim);
    world.stop.send_replace(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop.send_replace(false);
    world.start();
    world.runtime.finish("a", 1);
    world.until("p", |s| container(s).i64_at(&["restartCount"]) == Some(1)).await;
    assert_eq!(
        world.runtime.state.lock().unwrap().configs[1].mounts.iter().filter(|m| m.host_path == place).count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn an_unused_claim_holds_nobody_up() {
    let world = World::new();
    pod_with(&world, "p", "missing", r#""env":[]"#);
    world.until("p", |s| phase(s) == "Running").await;
}
