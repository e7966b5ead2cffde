//! A whole server where cgroups have version 2 only: in a virtual machine.

use std::time::Duration;

use testkit::images::shell_archive;
use testkit::vm::{POD_NETWORK, Vm};
use testkit::{kubectls, skiff};

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: limited, labels: {app: limited}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: localhost/shell:1
    command: [sh, -c, 'cd /sys/fs/cgroup; cat memory.max cpu.max memory.oom.group; mkdir /www; echo page > /www/index.html; exec httpd -f -h /www']
    resources: {limits: {memory: 64Mi, cpu: 500m}}
---
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: localhost/shell:1, command: [tail, /dev/zero], resources: {limits: {memory: 16Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: bomb}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: localhost/shell:1
    command: [sh, -c, 'i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo all $i run']
---
apiVersion: v1
kind: Service
metadata: {name: limited}
spec: {selector: {app: limited}, ports: [{port: 80}]}
";

const SCRIPT: &str = "
export KUBECONFIG=/data/kubeconfig PATH=/files:/bin
skiff server --data-dir /data --node-name machine --eviction-hard= --pod-max-pids 64 --system-reserved memory=256Mi \\
  --log-level warn > /log 2>&1 &
until kubectl get nodes 2> /dev/null | grep ' Ready '; do sleep 0.2; done
skiff image import /files/shell.tar
kubectl apply -f /files/pods.yaml
phase() { kubectl get pod $1 -o 'jsonpath={.status.phase}'; }
until [ \"$(phase limited)\" = Running ] && [ \"$(phase hungry)\" = Failed ] && [ \"$(phase bomb)\" = Failed ]; do sleep 0.2; done
total=$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
echo \"kept from pods: $((total * 1024 - $(cat /sys/fs/cgroup/kubepods/memory.max)))\"
echo \"limits: $(kubectl logs limited | tr '\\n' ' ')\"
echo \"hungry: $(kubectl get pod hungry -o 'jsonpath={.status.containerStatuses[0].state.terminated}')\"
echo \"bomb: $(kubectl logs bomb | tail -n 1)\"
address=$(kubectl get service limited -o 'jsonpath={.spec.clusterIP}')
until wget -q -O /dev/null http://$address 2> /dev/null; do sleep 0.2; done
echo \"service: $(wget -q -O - http://$address)\"
kubectl get --raw /api/v1/nodes/machine/proxy/metrics/resource | grep '^container_memory.*limited'
kubectl get --raw /api/v1/nodes/machine/proxy/metrics/cadvisor | grep 'cfs_periods_total.*container=\"main\"'
kubectl delete pod limited hungry bomb
groups() { ls -d /sys/fs/cgroup/kubepods/pod* /sys/fs/cgroup/kubepods/*/pod* 2> /dev/null; }
for i in 1 2 3 4 5 6 7 8 9; do [ -z \"$(groups)\" ] || sleep 1; done
echo \"left: $(groups | wc -l)\"
kill %1
wait %1
cat /log
";

#[test]
fn a_server_works_on_cgroup_version_2() {
    let Some(mut vm) = Vm::new() else { return };
    POD_NETWORK.iter().for_each(|module| vm.module(module));
    vm.program("skiff", &skiff());
    vm.file("kubectl", 0o755, &std::fs::read(kubectls().remove(0)).unwrap());
    vm.file("shell.tar", 0o644, &shell_archive("localhost/shell:1"));
    vm.file("pods.yaml", 0o644, PODS.as_bytes());
    let text = vm.run(2048, SCRIPT, Duration::from_secs(400));
    for wanted in [
        "kept from pods: 268435456",
        "limits: 67108864 50000 100000 ",
        "\"exitCode\":137",
        "\"reason\":\"OOMKilled\"",
        "bomb: sh: can't fork: Resource temporarily unavailable",
        "service: page",
        "container_memory_working_set_bytes{container=\"main\",namespace=\"default\",pod=\"limited\"} ",
        "container_cpu_cfs_periods_total{container=\"main\"",
        "left: 0",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
}

/// An AppArmor profile of a test's own, as apparmor_parser would load it.
const PROFILE: &str = "abi <abi/3.0>,
profile no-secrets flags=(attach_disconnected, mediate_deleted) {
  file,
  capability,
  network,
  signal,
  deny /secret rw,
}
";

const KERNEL_PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: default}
spec:
  restartPolicy: Never
  containers: [{name: main, image: localhost/shell:1, command: [cat, /proc/self/attr/current]}]
---
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  restartPolicy: Never
  securityContext: {appArmorProfile: {type: Localhost, localhostProfile: no-secrets}}
  containers: [{name: main, image: localhost/shell:1, command: [sh, -c, 'cat /proc/self/attr/current; echo x > /secret']}]
---
apiVersion: v1
kind: Pod
metadata: {name: none}
spec:
  restartPolicy: Never
  securityContext: {appArmorProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: localhost/shell:1
    command: [cat, /proc/self/attr/current]
    securityContext: {appArmorProfile: {type: Unconfined}}
---
apiVersion: v1
kind: Pod
metadata: {name: missing}
spec:
  restartPolicy: Never
  securityContext: {appArmorProfile: {type: Localhost, localhostProfile: nowhere}}
  containers: [{name: main, image: localhost/shell:1, command: [sleep, '1000']}]
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: share}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  storageClassName: ''
  mountOptions: [vers=4.1, noexec]
  nfs: {server: 127.0.0.1, path: /}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: share}
spec: {accessModes: [ReadWriteMany], storageClassName: '', resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: localhost/shell:1
    command: [sh, -c, 'echo written > /share/file; grep /share /proc/mounts; sleep 1000']
    volumeMounts: [{name: share, mountPath: /share}]
  volumes: [{name: share, persistentVolumeClaim: {claimName: share}}]
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: localhost/shell:1
    command: [sh, -c, 'until grep written /share/file 2> /dev/null; do sleep 0.1; done; echo no > /share/other; true']
    volumeMounts: [{name: share, mountPath: /share}]
  volumes: [{name: share, nfs: {server: 127.0.0.1, path: /, readOnly: true}}]
";

/// A server of NFS without its helpers: what mountd would tell the kernel is told by hand. Without a place for what it knows of
/// clients it lets nobody write for 90 seconds.
const KERNEL_SCRIPT: &str = "
export KUBECONFIG=/data/kubeconfig PATH=/files:/bin
mount -t securityfs securityfs /sys/kernel/security
for profile in skiff-default no-secrets; do dd if=/files/$profile of=/sys/kernel/security/apparmor/.load bs=1M 2> /dev/null; done
mkdir -p /export /var/lib/nfs/v4recovery
mount -t nfsd nfsd /proc/fs/nfsd
echo '-2 -3 +4 +4.1 +4.2' > /proc/fs/nfsd/versions
echo 'tcp 2049' > /proc/fs/nfsd/portlist
echo 4 > /proc/fs/nfsd/threads
echo Y > /proc/fs/nfsd/v4_end_grace
echo 'nfsd 127.0.0.1 2147483647 *' > /proc/net/rpc/auth.unix.ip/channel
echo '* /export 2147483647 9218 65534 65534 0' > /proc/net/rpc/nfsd.export/channel
echo '* 1 \\x00000000 2147483647 /export' > /proc/net/rpc/nfsd.fh/channel
skiff server --data-dir /data --node-name machine --eviction-hard= --log-level warn > /log 2>&1 &
until kubectl get nodes 2> /dev/null | grep ' Ready '; do sleep 0.2; done
skiff image import /files/shell.tar
kubectl apply -f /files/pods.yaml
phase() { kubectl get pod $1 -o 'jsonpath={.status.phase}'; }
waits() { for i in $(seq 200); do [ \"$(phase $1)\" != $2 ] || return 0; sleep 0.3; done; kubectl describe pod $1; return 1; }
for name in default none reader; do waits $name Succeeded; done
waits own Failed
waits writer Running
for name in default own none reader; do echo \"$name: $(kubectl logs $name | tr '\\n' ' ')\"; done
until kubectl get pod missing -o 'jsonpath={.status.containerStatuses[0]}' | grep 'apparmor profile not found nowhere'; do sleep 0.3; done
echo \"file: $(cat /export/file), others: $(ls /export | grep -c other)\"
echo \"mount: $(kubectl logs writer)\"
echo 'the server goes'
echo 0 > /proc/fs/nfsd/threads
kubectl exec writer -- timeout 2 cat /share/file > /dev/null 2>&1 &
kubectl run late --image=localhost/shell:1 --restart=Never --overrides='{\"spec\":{\"volumes\":[{\"name\":\"share\",\"persistentVolumeClaim\":{\"claimName\":\"share\"}}],
  \"containers\":[{\"name\":\"late\",\"image\":\"localhost/shell:1\",\"command\":[\"sleep\",\"1000\"],\"volumeMounts\":[{\"name\":\"share\",\"mountPath\":\"/share\"}]}]}}'
kubectl run beside --image=localhost/shell:1 --restart=Never -- echo beside
waits beside Succeeded
echo \"beside: $(kubectl logs beside), late: $(phase late)\"
kubectl delete pod writer late --timeout=60s
for i in $(seq 60); do grep -q '/data/.*nfs' /proc/mounts || break; sleep 1; done
echo \"mounts left: $(grep -c '/data/.*nfs' /proc/mounts)\"
kill %1
cat /log
";

/// An AppArmor profile as the kernel takes it.
fn compiled(name: &str, text: &str) -> Vec<u8> {
    use std::io::Write;
    let root = testkit::tool("apparmor", "");
    let mut command = std::process::Command::new(root.join("sbin/apparmor_parser"));
    let rules = root.join("etc/apparmor.d");
    for (flag, path) in [("--policy-features", "abi/3.0"), ("--kernel-features", "abi/3.0"), ("-I", "")] {
        command.arg(flag).arg(rules.join(path));
    }
    command.args(["--skip-kernel-load", "--skip-cache", "--stdout"]);
    let (input, output) = (std::process::Stdio::piped(), std::process::Stdio::piped());
    let mut parser = command.stdin(input).stdout(output).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = parser.wait_with_output().unwrap();
    assert!(done.status.success() && !done.stdout.is_empty(), "{name}");
    done.stdout
}

#[test]
fn profiles_and_shares_hold_on_a_kernel_that_has_them() {
    let Some(mut vm) = Vm::new() else { return };
    POD_NETWORK.iter().chain(&["nfsd", "nfs", "nfsv4"]).for_each(|module| vm.module(module));
    vm.program("skiff", &skiff());
    vm.file("kubectl", 0o755, &std::fs::read(kubectls().remove(0)).unwrap());
    vm.file("shell.tar", 0o644, &shell_archive("localhost/shell:1"));
    vm.file("pods.yaml", 0o644, KERNEL_PODS.as_bytes());
    let default = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/skiff-default.apparmor");
    for (name, text) in
        [("skiff-default", std::fs::read_to_string(default).unwrap()), ("no-secrets", PROFILE.to_owned())]
    {
        vm.file(name, 0o644, &compiled(name, &text));
    }
    let text = vm.run(2048, KERNEL_SCRIPT, Duration::from_secs(500));
    for wanted in [
        "default: skiff-default (enforce) ",
        "own: no-secrets (enforce) sh: can't create /secret: Permission denied",
        "none: unconfined ",
        "apparmor profile not found nowhere",
        "file: written, others: 0",
        "reader: written sh: can't create /share/other: Read-only file system",
        "beside: beside, late: Pending",
        "mounts left: 0",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
    let mount = text.lines().find(|line| line.starts_with("mount: 127.0.0.1:/ /share nfs4")).unwrap_or_default();
    assert!(mount.contains("noexec") && mount.contains("vers=4.1"), "{mount:?} in:\n{text}");
}
