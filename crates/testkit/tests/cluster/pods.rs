//! What a pod's spec asks for is what its containers get.

use testkit::{Cluster, REGISTRY};

fn cluster() -> Cluster {
    let mut cluster = Cluster::start();
    cluster.start_registry();
    cluster
}

/// Each of these has a cluster of its own here; all of them in one cluster are run by `containerd`.
macro_rules! tests {
    ($($name:ident,)*) => {
        mod builtin {
            $(#[test] fn $name() { super::$name(&super::cluster()) })*
        }
        pub const ALL: &[fn(&Cluster)] = &[$($name),*];
    };
}
tests! {
    variables_and_volumes_hold_what_they_name,
    containers_start_in_order_and_restart_by_policy,
    a_pod_stays_ready_while_its_image_changes,
    memory_limits_hold,
    a_pod_removed_by_force_gives_its_place_at_once,
    probes_and_hooks_act,
    logs_are_told_as_asked,
    security_contexts_take_hold,
}

fn pod(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}, annotations: {{note: hello}}}}\nspec:\n{rest}"
    )
}

fn container(name: &str, script: &str) -> String {
    format!("  - name: {name}\n    image: {REGISTRY}/shell:1\n    command: [sh, -c, {script:?}]\n")
}

fn variables_and_volumes_hold_what_they_name(c: &Cluster) {
    c.kubectl(&["create", "configmap", "settings", "--from-literal=color=red", "--from-literal=shape=round"]);
    c.kubectl(&["create", "secret", "generic", "keys", "--from-literal=pin=1234"]);
    let script = "echo $COLOR $PIN $NAME $CPU $shape $COMBINED; cat /config/color /secret/pin /info/labels /own/token | head -c 300; \
        echo; echo kept > /scratch/x; cat /scratch/x /host/hostfile; stat -c %a /secret/..data/pin; sleep 1000";
    std::fs::write(c.path("hostfile"), "from the host\n").unwrap();
    let manifest = pod(
        "all",
        &format!(
            "  containers:\n{}    env:
    - {{name: COLOR, valueFrom: {{configMapKeyRef: {{name: settings, key: color}}}}}}
    - {{name: PIN, valueFrom: {{secretKeyRef: {{name: keys, key: pin}}}}}}
    - {{name: NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
    - {{name: CPU, valueFrom: {{resourceFieldRef: {{resource: limits.cpu, divisor: 1m}}}}}}
    - {{name: COMBINED, value: $(NAME)-$(COLOR)}}
    envFrom: [{{configMapRef: {{name: settings}}}}]
    resources: {{limits: {{cpu: 250m, memory: 64Mi}}}}
    volumeMounts:
    - {{name: config, mountPath: /config}}
    - {{name: secret, mountPath: /secret, readOnly: true}}
    - {{name: info, mountPath: /info}}
    - {{name: own, mountPath: /own}}
    - {{name: scratch, mountPath: /scratch}}
    - {{name: host, mountPath: /host}}
  volumes:
  - {{name: config, configMap: {{name: settings}}}}
  - {{name: secret, secret: {{secretName: keys, defaultMode: 0400}}}}
  - {{name: info, downwardAPI: {{items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]}}}}
  - {{name: own, projected: {{sources: [{{serviceAccountToken: {{path: token, expirationSeconds: 3600}}}}]}}}}
  - {{name: scratch, emptyDir: {{medium: Memory, sizeLimit: 8Mi}}}}
  - {{name: host, hostPath: {{path: {host}, type: Directory}}}}
",
            container("main", script),
            host = c.path("").display()
        ),
    );
    c.apply(&manifest);
    c.wait_field("pod/all", ".status.phase", "Running");
    let log = c.wait("the output", || Some(c.kubectl(&["logs", "all"])).filter(|l| l.contains("400")));
    for part in ["red 1234 all 250 round all-red", "red1234", "app=\"all\"", "eyJ", "kept", "from the host"] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    // What a config map says reaches the volume.
    c.kubectl(&["patch", "configmap", "settings", "-p", "{\"data\":{\"color\":\"blue\"}}"]);
    c.wait("the new color", || {
        c.try_kubectl(&["exec", "all", "--", "cat", "/config/color"]).ok().filter(|color| color == "blue")
    });
    assert_eq!(c.field("pod/all", ".status.qosClass"), "Guaranteed");
}

fn containers_start_in_order_and_restart_by_policy(c: &Cluster) {
    let manifest = pod(
        "order",
        &format!(
            "  restartPolicy: Never\n  terminationGracePeriodSeconds: 1\n  initContainers:\n{}{}    restartPolicy: Always\n    startupProbe: {{exec: {{command: [cat, /shared/sidecar]}}, periodSeconds: 1, timeoutSeconds: {limit}, failureThreshold: 60}}\n    volumeMounts: [{{name: shared, mountPath: /shared}}]\n  containers:\n{}    volumeMounts: [{{name: shared, mountPath: /shared}}]\n  volumes: [{{name: shared, emptyDir: {{}}}}]\n",
            container("first", "echo first"),
            container("sidecar", "echo up > /shared/sidecar; sleep 1000"),
            container("main", "cat /shared/sidecar; exit 7"),
            limit = testkit::slowness(),
        ),
    );
    c.apply(&manifest);
    c.wait_field("pod/order", ".status.phase", "Failed");
    assert_eq!(c.field("pod/order", ".status.containerStatuses[0].state.terminated.exitCode"), "7");
    assert_eq!(c.field("pod/order", ".status.initContainerStatuses[0].state.terminated.reason"), "Completed");
    assert_eq!(c.kubectl(&["logs", "order", "-c", "main"]), "up");

    c.apply(&pod("crash", &format!("  containers:\n{}", container("main", "echo run; exit 1"))));
    c.wait_field("pod/crash", ".status.containerStatuses[0].state.waiting.reason", "CrashLoopBackOff");
    assert_eq!(c.field("pod/crash", ".status.containerStatuses[0].lastState.terminated.reason"), "Error");
    assert!(
        c.kubectl(&["describe", "pod", "crash"]).contains("Back-off restarting failed container main in pod crash")
    );
    c.wait("a second run", || c.try_kubectl(&["logs", "crash", "--previous"]).ok().filter(|l| l == "run"));

    c.apply(&pod("done", &format!("  restartPolicy: OnFailure\n  containers:\n{}", container("main", "echo done"))));
    c.wait_field("pod/done", ".status.phase", "Succeeded");
    assert!(c.kubectl(&["get", "pod", "done"]).contains("Completed"));
}

/// Upstream's conformance suite expects that; a successor that takes more than a second, as on a slow machine, is told.
fn a_pod_stays_ready_while_its_image_changes(c: &Cluster) {
    // Both images are there before, so that no pull comes between.
    let first = format!("  initContainers: [{{name: first, image: '{REGISTRY}/pause:1', command: ['true']}}]\n");
    let main = container("main", "trap 'exit 0' TERM; sleep 1000 & wait");
    c.apply(&pod("swaps", &format!("{first}  containers:\n{main}")));
    let ready = ".status.conditions[?(@.type==\"Ready\")]";
    c.wait_field("pod/swaps", &format!("{ready}.status"), "True");
    let own = ".status.containerStatuses[0]";
    let fields = format!(
        "{{{ready}.status}},{{{ready}.lastTransitionTime}},{{{own}.state.terminated.finishedAt}}{{{own}.lastState.terminated.finishedAt}}"
    );
    let file = std::fs::File::create(c.path("swaps")).unwrap();
    let mut watch = c.command(&testkit::kubectls().pop().unwrap());
    watch.args(["get", "pod", "swaps", "--watch", "-o", &format!("jsonpath={fields}{{\"\\n\"}}")]);
    let mut watch = watch.stdout(file).spawn().unwrap();
    let lines = || std::fs::read_to_string(c.path("swaps")).unwrap();
    c.wait("the watch", || lines().contains('\n').then_some(()));
    c.kubectl(&["set", "image", "pod/swaps", &format!("main={REGISTRY}/pause:1")]);
    c.wait_field("pod/swaps", &format!("{own}.restartCount"), "1");
    c.wait_field("pod/swaps", &format!("{ready}.status"), "True");
    let seen = || lines().lines().last().is_some_and(|line| line.starts_with("True,") && line.ends_with('Z'));
    c.wait("the watch to see it", || seen().then_some(()));
    watch.kill().unwrap();
    watch.wait().unwrap();
    let second =
        |text: &str| text.parse::<k8s_openapi::jiff::Timestamp>().ok().map(k8s_openapi::jiff::Timestamp::as_second);
    for line in lines().lines().filter(|line| !line.starts_with("True,")) {
        let [_, since, ended] = line.splitn(3, ',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let waited = second(since).zip(second(ended)).is_some_and(|(since, ended)| since > ended);
        assert!(waited, "{}\n{}", lines(), c.log());
    }
}

fn memory_limits_hold(c: &Cluster) {
    let hungry = container("main", "tail /dev/zero");
    c.apply(&pod(
        "hungry",
        &format!("  restartPolicy: Never\n  containers:\n{hungry}    resources: {{limits: {{memory: 16Mi}}}}\n"),
    ));
    c.wait_field("pod/hungry", ".status.phase", "Failed");
    assert_eq!(c.field("pod/hungry", ".status.containerStatuses[0].state.terminated.reason"), "OOMKilled");
    assert_eq!(c.field("pod/hungry", ".status.containerStatuses[0].state.terminated.exitCode"), "137");
}

fn a_pod_removed_by_force_gives_its_place_at_once(c: &Cluster) {
    let cpus: u32 = c.field("nodes", ".items[0].status.allocatable.cpu").parse().unwrap();
    let most = |name: &str| {
        let stubborn = container("main", "trap '' TERM; while true; do sleep 1; done");
        pod(name, &format!("  containers:\n{stubborn}    resources: {{requests: {{cpu: {}m}}}}\n", cpus * 600))
    };
    c.apply(&most("first"));
    c.wait_field("pod/first", ".status.phase", "Running");
    c.kubectl(&["delete", "pod", "first", "--force", "--grace-period=0"]);
    c.apply(&most("second"));
    c.wait_field("pod/second", ".status.phase", "Running");
}

fn probes_and_hooks_act(c: &Cluster) {
    let script = "touch /tmp/alive; sleep 1000";
    let (limit, grace) = (testkit::slowness(), 5 * testkit::slowness());
    let manifest = pod(
        "probed",
        &format!(
            "  terminationGracePeriodSeconds: {grace}\n  containers:\n{}    lifecycle:\n      postStart: {{exec: {{command: [sh, -c, 'echo started > /tmp/hook']}}}}\n      preStop: {{exec: {{command: [sh, -c, 'echo stopping > /out/stopped']}}}}\n    readinessProbe: {{exec: {{command: [cat, /tmp/ready]}}, periodSeconds: 1, timeoutSeconds: {limit}}}\n    livenessProbe: {{exec: {{command: [cat, /tmp/alive]}}, periodSeconds: 1, timeoutSeconds: {limit}, failureThreshold: 1}}\n    volumeMounts: [{{name: out, mountPath: /out}}]\n  volumes: [{{name: out, hostPath: {{path: {}}}}}]\n",
            container("main", script),
            c.path("").display()
        ),
    );
    c.apply(&manifest);
    c.wait_field("pod/probed", ".status.phase", "Running");
    let ready = ".status.conditions[?(@.type==\"Ready\")].status";
    assert_eq!(c.field("pod/probed", ready), "False");
    assert_eq!(c.kubectl(&["exec", "probed", "--", "cat", "/tmp/hook"]), "started");
    c.kubectl(&["exec", "probed", "--", "touch", "/tmp/ready"]);
    c.wait_field("pod/probed", ready, "True");
    c.kubectl(&["exec", "probed", "--", "rm", "/tmp/alive"]);
    c.wait_field("pod/probed", ".status.containerStatuses[0].restartCount", "1");
    let told = c.kubectl(&["describe", "pod", "probed"]);
    assert!(
        told.contains("Liveness probe failed") && told.contains("failed liveness probe, will be restarted"),
        "{told}"
    );
    std::fs::remove_file(c.path("stopped")).ok();
    c.kubectl(&["delete", "pod", "probed"]);
    assert_eq!(std::fs::read_to_string(c.path("stopped")).unwrap(), "stopping\n");
}

fn logs_are_told_as_asked(c: &Cluster) {
    c.apply(&pod(
        "talker",
        &format!(
            "  containers:\n{}",
            container("main", "for i in 1 2 3 4 5; do echo line $i; done; sleep 1; echo late; sleep 1000")
        ),
    ));
    c.wait("all lines", || c.try_kubectl(&["logs", "talker"]).ok().filter(|l| l.contains("late")));
    assert_eq!(c.kubectl(&["logs", "talker", "--tail=2"]), "line 5\nlate");
    assert!(c.kubectl(&["logs", "talker", "--timestamps", "--tail=1"]).contains("T"));
    assert_eq!(c.kubectl(&["logs", "talker", "--since=1h"]).lines().count(), 6);
    assert_eq!(c.kubectl(&["logs", "-l", "app=talker", "--tail=1"]), "late");
    let kubectl = testkit::kubectls().pop().unwrap();
    let mut follow = c.command(std::path::Path::new("timeout"));
    let followed = follow
        .arg((2 * testkit::slowness()).to_string())
        .arg(kubectl)
        .args(["logs", "-f", "--tail=1", "talker"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&followed.stdout), "late\n", "it goes on until it is cut off");
    assert_eq!(followed.status.code(), Some(124));
}

fn security_contexts_take_hold(c: &Cluster) {
    let script = "id -u; id -g; grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; touch /x 2>&1; sleep 1000";
    let manifest = pod(
        "safe",
        &format!(
            "  securityContext: {{runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, seccompProfile: {{type: RuntimeDefault}}}}\n  containers:\n{}    securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}\n",
            container("main", script)
        ),
    );
    c.apply(&manifest);
    let log = c.wait("the output", || c.try_kubectl(&["logs", "safe"]).ok().filter(|l| l.contains("touch")));
    for part in ["1000", "2000", "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "Read-only file system"]
    {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    let root = container("main", "sleep 1000");
    c.apply(&pod("root", &format!("  containers:\n{root}    securityContext: {{runAsNonRoot: true}}\n")));
    c.wait_field("pod/root", ".status.containerStatuses[0].state.waiting.reason", "CreateContainerConfigError");
}
