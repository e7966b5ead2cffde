//! What containers have for themselves: devices of plugins, and CPUs.

use node::device_plugin::{ContainerAllocateResponse, DeviceSpec, Empty, Mount};
use node::fake_plugin::{FakePlugin, device};
use node::pod_resources::ListResponse;
use testkit::{Cluster, REGISTRY};

const RESOURCE: &str = "example.com/device";

fn pod(name: &str, rest: &str, resources: &str) -> String {
    let container = format!(
        "{{name: main, image: '{REGISTRY}/shell:1', command: [sleep, '1000'], resources: {{limits: {resources}}}}}"
    );
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n{rest}  containers: [{container}]\n---\n"
    )
}

fn answer(c: &Cluster) -> ContainerAllocateResponse {
    std::fs::write(c.path("library"), "of the device\n").unwrap();
    ContainerAllocateResponse {
        envs: [("DEVICE".to_owned(), "ID".to_owned())].into(),
        mounts: vec![Mount {
            container_path: "/lib/device".to_owned(),
            host_path: c.path("library").display().to_string(),
            read_only: true,
        }],
        devices: vec![DeviceSpec {
            container_path: "/dev/device".to_owned(),
            host_path: "/dev/zero".to_owned(),
            permissions: "r".to_owned(),
        }],
        ..ContainerAllocateResponse::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_the_device_that_it_asks_for() {
    let mut c = Cluster::start();
    tokio::task::block_in_place(|| c.start_registry());
    let directory = c.path("data/kubelet/device-plugins");
    let devices = ["one", "two"].map(|id| device(id, true, None)).to_vec();
    let plugin = FakePlugin::start(&directory, RESOURCE, devices, answer(&c)).unwrap();
    plugin.register().await.unwrap();
    tokio::task::block_in_place(|| {
        let amount = ".status.allocatable.example\\.com/device";
        c.wait_field("node/node", amount, "2");
        let one = format!("{{{RESOURCE}: 1}}");
        c.apply(&pod("user", "", &one));
        c.wait_field("pod/user", ".status.phase", "Running");
        let script = "echo $DEVICE; cat /lib/device; head -c 2 /dev/device | wc -c";
        let said = c.kubectl(&["exec", "user", "--", "sh", "-c", script]);
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["two", "of", "the", "device", "2"]);
        let health = ".status.containerStatuses[0].allocatedResourcesStatus[0].resources[0]";
        c.wait_field("pod/user", &format!("{health}.health"), "Healthy");
        assert_eq!(c.field("pod/user", &format!("{health}.resourceID")), "two");
        // The scheduler keeps the second one out; bound past it, the node does.
        let two = format!("{{{RESOURCE}: 2}}");
        c.apply(&(pod("waits", "", &two) + &pod("bound", "  nodeName: node\n", &two)));
        c.wait_field("pod/bound", ".status.reason", "UnexpectedAdmissionError");
        c.wait_field("pod/waits", ".status.conditions[?(@.type==\"PodScheduled\")].reason", "Unschedulable");
    });
    let channel = grpc::Channel::new(&c.path("data/kubelet/pod-resources/kubelet.sock"));
    let all: ListResponse = channel.call("v1.PodResourcesLister/List", &Empty {}, None).await.unwrap();
    let user = all.pod_resources.iter().find(|pod| pod.name == "user").unwrap();
    assert_eq!(user.containers[0].devices[0].device_ids, ["two"]);
    plugin.set(vec![device("one", true, None), device("two", false, None)]);
    tokio::task::block_in_place(|| {
        c.wait_field(
            "pod/user",
            ".status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health",
            "Unhealthy",
        );
        c.kubectl(&["delete", "pod", "waits", "bound", "user"]);
        drop(c);
    });
}

#[test]
fn a_container_has_its_cpus_for_itself() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    if cpus < 2 {
        // The last one is never given away: the machine of `make test-vm` has but one.
        return;
    }
    let arguments = ["--cpu-manager-policy=static", "--reserved-cpus=0"];
    let mut c = Cluster::with(&arguments);
    c.start_registry();
    let last = cpus - 1;
    let of = |c: &Cluster, name: &str| {
        c.kubectl(&["exec", name, "--", "sh", "-c", "grep Cpus_allowed_list /proc/1/status | cut -f 2"])
    };
    let all = format!("0-{last}");
    c.apply(&pod("owns", "", &format!("{{cpu: {last}, memory: 16Mi}}")));
    c.apply(&pod("modest", "", "{}"));
    c.wait_field("pod/owns", ".status.phase", "Running");
    c.wait_field("pod/modest", ".status.phase", "Running");
    let own = if last == 1 { "1".to_owned() } else { format!("1-{last}") };
    assert_eq!(of(&c, "owns"), own);
    c.wait("the other to leave these CPUs", || (of(&c, "modest") == "0").then_some(()));
    let state = std::fs::read_to_string(c.path("data/kubelet/cpu_manager_state")).unwrap();
    assert!(state.contains(r#""policyName":"static","defaultCpuSet":"0""#), "{state}");
    c.stop_server(nix::sys::signal::Signal::SIGKILL);
    c.start_server();
    c.wait_ready();
    assert_eq!((of(&c, "owns"), of(&c, "modest")), (own, "0".to_owned()));
    c.kubectl(&["delete", "pod", "owns"]);
    c.wait("the other to have all CPUs", || (of(&c, "modest") == all).then_some(()));
}
