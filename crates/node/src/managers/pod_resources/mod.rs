//! The pod-resources API v1 (upstream: "Monitoring device plugin resources"): who has which devices, CPUs and memory, for
//! programs on this node.

#[allow(missing_docs, reason = "names and field numbers are the API's")]
pub mod proto;

use std::sync::Arc;

use bytes::Bytes;
use grpc::{Code, Replies, Status};
use tokio::net::UnixListener;

use self::proto::*;
use super::devices::proto::{Empty, TopologyInfo};
use super::memory::{Block, Memory};
use super::{CpuSet, Cpus, Managers};
use crate::agent::Agent;
use crate::lock;
use crate::wanted::{Role, Wanted};

/// The socket, below the node's root.
const SOCKET: &str = "pod-resources/kubelet.sock";

fn ids(cpus: &CpuSet) -> Vec<i64> {
    cpus.0.iter().filter_map(|cpu| i64::try_from(*cpu).ok()).collect()
}

fn memory(block: &Block) -> ContainerMemory {
    let nodes = block.numa_affinity.iter().filter_map(|node| i64::try_from(*node).ok());
    ContainerMemory { memory_type: block.kind.clone(), size: block.size, topology: TopologyInfo::of(nodes) }
}

impl Managers {
    /// Makes the sockets, in the place of those of an earlier life.
    pub fn listen(&self) -> std::io::Result<super::follow::Sockets> {
        let plugins = self.devices.listen()?;
        let path = self.root.join(SOCKET);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(super::follow::Sockets { plugins, pod_resources: UnixListener::bind(path)? })
    }

    fn of_pod(&self, wanted: &Wanted) -> PodResources {
        let members = wanted.members.iter().filter(|member| matches!(member.role, Role::Main | Role::Sidecar));
        PodResources {
            name: wanted.name().to_owned(),
            namespace: wanted.namespace().to_owned(),
            containers: members.map(|member| self.of_container(wanted.uid(), member.name())).collect(),
        }
    }

    /// Devices on different NUMA nodes are told apart.
    fn of_container(&self, uid: &str, name: &str) -> ContainerResources {
        let devices = self.devices.held(uid, name).into_iter().flat_map(|(resource_name, allocation)| {
            allocation.devices.into_iter().map(move |(node, device_ids)| ContainerDevices {
                resource_name: resource_name.clone(),
                device_ids,
                topology: TopologyInfo::of((node >= 0).then_some(node)),
            })
        });
        let devices = devices.collect();
        let local = lock(&self.local);
        let own = local.cpus.as_ref().and_then(|cpus| cpus.own(uid, name));
        let blocks = local.memory.as_ref().map(|all| all.of(uid, name)).unwrap_or_default();
        ContainerResources {
            name: name.to_owned(),
            devices,
            cpu_ids: own.map(ids).unwrap_or_default(),
            memory: blocks.iter().map(memory).collect(),
        }
    }

    fn allocatable(&self) -> AllocatableResponse {
        let all = self.devices.allocatable().into_iter().flat_map(|(resource_name, devices)| {
            devices.into_iter().map(move |(id, known)| ContainerDevices {
                resource_name: resource_name.clone(),
                device_ids: vec![id],
                topology: TopologyInfo::of(known.nodes),
            })
        });
        let devices = all.collect();
        let local = lock(&self.local);
        AllocatableResponse {
            devices,
            cpu_ids: local.cpus.as_ref().map(Cpus::allocatable).as_ref().map(ids).unwrap_or_default(),
            memory: local.memory.as_ref().map(Memory::allocatable).unwrap_or_default().iter().map(memory).collect(),
        }
    }
}

/// Answers, for ever.
pub async fn serve(agent: Arc<Agent>, listener: UnixListener) {
    grpc::serve(listener, move |method, request| answer(&agent, method, request)).await;
}

fn answer(agent: &Arc<Agent>, method: &str, request: Bytes) -> Option<Replies> {
    let agent = agent.clone();
    Some(match method {
        "v1.PodResourcesLister/List" => grpc::reply(async move {
            grpc::decode::<Empty>(request)?;
            let pods = agent.pods();
            let running = pods.iter().filter(|pod| !pod.is_terminal());
            Ok(ListResponse { pod_resources: running.map(|pod| agent.managers.of_pod(pod)).collect() })
        }),
        "v1.PodResourcesLister/Get" => grpc::reply(async move {
            let GetRequest { pod_name: name, pod_namespace: namespace } = grpc::decode(request)?;
            let pods = agent.pods();
            let found =
                pods.iter().find(|pod| pod.name() == name && pod.namespace() == namespace && !pod.is_terminal());
            let missing = || Status::new(Code::Unknown, format!("pod {name} in namespace {namespace} not found"));
            Ok(GetResponse { pod_resources: Some(agent.managers.of_pod(found.ok_or_else(missing)?)) })
        }),
        "v1.PodResourcesLister/GetAllocatableResources" => grpc::reply(async move {
            grpc::decode::<Empty>(request)?;
            Ok(agent.managers.allocatable())
        }),
        _ => return None,
    })
}
