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
skiff server --data-dir /data --node-name machine --eviction-hard= --pod-max-pids 64 --log-level warn > /log 2>&1 &
until kubectl get nodes 2> /dev/null | grep ' Ready '; do sleep 0.2; done
skiff image import /files/shell.tar
kubectl apply -f /files/pods.yaml
phase() { kubectl get pod $1 -o 'jsonpath={.status.phase}'; }
until [ \"$(phase limited)\" = Running ] && [ \"$(phase hungry)\" = Failed ] && [ \"$(phase bomb)\" = Failed ]; do sleep 0.2; done
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
