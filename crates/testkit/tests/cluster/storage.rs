//! Claims and their volumes, from the class to the file.

use std::process::Command;

use nix::sys::signal::Signal;
use testkit::{Cluster, REGISTRY};

/// A disk made of a file; it goes with this.
struct Disk(String);

impl Disk {
    /// Nothing where the machine has no loop devices.
    fn new(c: &Cluster) -> Option<Self> {
        let file = c.path("disk");
        std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().ok()?;
        let name = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        (made.status.success() && !name.is_empty()).then_some(Self(name))
    }

    fn format(&self) {
        assert!(Command::new("mkfs.ext4").args(["-q", &self.0]).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

fn class(name: &str) -> String {
    format!(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {name}}}\nprovisioner: kubernetes.io/no-provisioner\n\
         volumeBindingMode: WaitForFirstConsumer\n"
    )
}

fn volume(c: &Cluster, name: &str, class: &str, path: &str, mode: &str) -> String {
    let host = c.field("nodes", ".items[0].metadata.labels.kubernetes\\.io/hostname");
    format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}}}\nspec:\n  capacity: {{storage: 1Gi}}\n  \
         accessModes: [ReadWriteOnce]\n  storageClassName: {class}\n  volumeMode: {mode}\n  local: {{path: {path}}}\n  nodeAffinity: \
         {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{host}]}}]}}]}}}}\n"
    )
}

fn claim(name: &str, class: &str, mode: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  accessModes: [ReadWriteOnce]\n  \
         storageClassName: {class}\n  volumeMode: {mode}\n  resources: {{requests: {{storage: 1Gi}}}}\n"
    )
}

fn pod(name: &str, claim: &str, script: &str, how: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  securityContext: {{fsGroup: 1234}}\n  \
         terminationGracePeriodSeconds: 0\n  containers:\n  - name: main\n    image: {REGISTRY}/shell:1\n    \
         command: [sh, -c, {script:?}]\n    {how}\n  volumes: [{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]\n"
    )
}

const MOUNTED: &str = "volumeMounts: [{name: data, mountPath: /data}, {name: data, mountPath: /part, subPath: part}]";

#[test]
fn a_local_volume_outlives_its_pods() {
    let mut c = Cluster::start();
    c.start_registry();
    let place = c.path("local");
    std::fs::create_dir(&place).unwrap();
    c.apply(&class("local"));
    c.apply(&claim("data", "local", "Filesystem"));
    c.apply(&pod("first", "data", "id -G; echo kept > /part/file; sleep 1000", MOUNTED));
    // Without a volume the pod waits, and says so.
    let why = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.";
    c.wait("the reason", || {
        let condition = c.field("pod/first", ".status.conditions[?(@.type==\"PodScheduled\")].message");
        condition.contains(why).then_some(())
    });
    c.apply(&volume(&c, "disk", "local", &place.display().to_string(), "Filesystem"));
    c.wait_field("pvc/data", ".status.phase", "Bound");
    c.wait_field("pod/first", ".status.phase", "Running");
    assert_eq!(c.field("pvc/data", ".spec.volumeName"), "disk");
    let file = place.join("part/file");
    c.wait("the file", || std::fs::read_to_string(&file).ok().filter(|text| text == "kept\n"));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&place).unwrap().gid(), 1234);
    assert!(c.kubectl(&["logs", "first"]).contains("1234"));
    let told = c.kubectl(&["get", "--raw", "/api/v1/nodes/node/proxy/metrics"]);
    let of_claim = "kubelet_volume_stats_capacity_bytes{namespace=\"default\",persistentvolumeclaim=\"data\"} ";
    assert!(told.contains(of_claim), "{told}");
    // Neither a restart nor a claim that is being deleted takes the volume from a pod that runs.
    c.kubectl(&["delete", "pvc", "data", "--wait=false"]);
    c.stop_server(Signal::SIGKILL);
    c.start_server();
    c.wait_ready();
    assert_eq!(c.kubectl(&["exec", "first", "--", "cat", "/data/part/file"]), "kept");
    assert!(!c.field("pvc/data", ".metadata.deletionTimestamp").is_empty());
    c.kubectl(&["delete", "pod", "first"]);
    c.wait("the claim to go", || c.try_kubectl(&["get", "pvc", "data"]).err());
    c.wait_field("pv/disk", ".status.phase", "Released");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\n", "the pod's end leaves the volume alone");
    // Given free by hand, it is had by the next claim: an ephemeral one, which goes with its pod.
    c.kubectl(&["patch", "pv", "disk", "-p", "{\"spec\":{\"claimRef\":null}}"]);
    let template = "volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], storageClassName: local, resources: {requests: {storage: 1Gi}}}}";
    let own = pod("second", "x", "cat /part/file; sleep 1000", MOUNTED)
        .replace("persistentVolumeClaim: {claimName: x}", &format!("ephemeral: {{{template}}}"));
    c.apply(&own);
    c.wait("the file", || c.try_kubectl(&["logs", "second"]).ok().filter(|log| log == "kept"));
    assert_eq!(c.field("pvc/second-data", ".status.phase"), "Bound");
    c.kubectl(&["delete", "pod", "second"]);
    c.wait("its claim to go", || c.try_kubectl(&["get", "pvc", "second-data"]).err());
}

#[test]
fn a_disk_is_mounted_or_passed_on_as_it_is() {
    let mut c = Cluster::start();
    c.start_registry();
    let Some(disk) = Disk::new(&c) else { return };
    for (name, mode) in [("raw", "Block"), ("files", "Filesystem")] {
        c.apply(&class(name));
        c.apply(&volume(&c, name, name, &disk.0, mode));
        c.apply(&claim(name, name, mode));
    }
    let script = "test -b /dev/raw && echo written | dd of=/dev/raw bs=512 seek=100 conv=sync && echo done; sleep 1000";
    c.apply(&pod("raw", "raw", script, "volumeDevices: [{name: data, devicePath: /dev/raw}]"));
    c.wait("the device", || c.try_kubectl(&["logs", "raw"]).ok().filter(|log| log.contains("done")));
    c.kubectl(&["delete", "pod", "raw"]);
    let bytes = std::fs::read(c.path("disk")).unwrap();
    assert!(bytes[51200..].starts_with(b"written\n"));
    // A disk without a file system is not formatted behind anybody's back.
    assert!(
        Command::new("dd")
            .args(["if=/dev/zero", "bs=1M", "count=1", &format!("of={}", disk.0)])
            .status()
            .unwrap()
            .success()
    );
    c.apply(&pod("files", "files", "echo kept > /data/file; sync; sleep 1000", MOUNTED));
    c.wait("the reason", || {
        let events = c.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        events.contains("the disk has no file system, and this node makes none").then_some(())
    });
    disk.format();
    c.wait_field("pod/files", ".status.phase", "Running");
    c.wait("the file", || {
        let seen = c.try_kubectl(&["exec", "files", "--", "cat", "/data/file"]);
        seen.ok().filter(|text| text == "kept")
    });
    c.kubectl(&["delete", "pod", "files"]);
}
