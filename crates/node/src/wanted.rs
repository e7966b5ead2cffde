//! A pod as the agent reads it: its containers of all kinds in one list, with the policies that hold for each.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, EphemeralContainer, ObjectReference, Pod, PodSpec, Probe,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::static_pods::{MIRROR, SOURCE};

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts in order, runs as long as the pod (KEP-753).
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// Added while the pod runs, never restarted.
    Ephemeral,
}

impl Role {
    /// What upstream's metrics call it.
    pub fn container_type(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "init_container",
            Self::Main => "container",
            Self::Ephemeral => "ephemeral_container",
        }
    }
}

/// When an ended container starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    Always,
    /// When its exit code is not 0.
    OnFailure,
    /// Never.
    Never,
}

impl RestartPolicy {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text? {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// One container of a pod.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it is for.
    pub role: Role,
    /// Its spec; an ephemeral container's is turned into this form.
    pub spec: Container,
    /// Of an ephemeral container: whose processes it sees.
    pub target: Option<String>,
    /// Its own restart policy, or the pod's.
    pub restart_policy: RestartPolicy,
    /// Changes when a running container must be replaced: name and image.
    pub hash: String,
    /// Changes when a resource changes whose resize policy asks for a restart.
    pub resize_hash: String,
}

impl Member {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Whether it starts again after `exit_code`: its restart policy and its rules (KEP-5307).
    pub fn restarts_after(&self, exit_code: i32) -> bool {
        if self.role == Role::Ephemeral {
            return false;
        }
        if self.rule(exit_code).is_some() {
            return true;
        }
        match self.restart_policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }

    /// Whether its end with `exit_code` starts all containers of the pod anew (KEP-5532).
    pub fn restarts_all_after(&self, exit_code: i32) -> bool {
        self.role != Role::Ephemeral && self.rule(exit_code) == Some("RestartAllContainers")
    }

    /// The action of the first rule that fits an exit code.
    fn rule(&self, exit_code: i32) -> Option<&str> {
        let fits = |rule: &&ContainerRestartRule| {
            let Some(codes) = &rule.exit_codes else { return false };
            let listed = codes.values.as_ref().is_some_and(|v| v.contains(&exit_code));
            if codes.operator == "NotIn" { !listed } else { listed }
        };
        self.spec.restart_policy_rules.iter().flatten().find(fits).map(|rule| rule.action.as_str())
    }

    /// Where events about it point: `spec.containers{name}`.
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.spec.name)
    }

    /// Its probes, with what each is called.
    pub fn has_readiness_probe(&self) -> bool {
        self.spec.readiness_probe.is_some()
    }
}

/// A pod that should run here.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The object.
    pub pod: Arc<Pod>,
    /// All its containers: init containers in order, then main ones, then ephemeral ones.
    pub members: Vec<Member>,
}

impl Wanted {
    /// Reads a pod. One without a spec has no containers.
    pub fn new(pod: Arc<Pod>) -> Self {
        let members = pod.spec.as_ref().map(members).unwrap_or_default();
        Self { pod, members }
    }

    /// Its spec. A pod without one never comes from the API; an empty one stands in.
    pub fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::OnceLock<PodSpec> = std::sync::OnceLock::new();
        self.pod.spec.as_ref().unwrap_or_else(|| EMPTY.get_or_init(PodSpec::default))
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// `name_namespace(uid)`, as upstream names pods in messages.
    pub fn full_name(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    /// The members of one role, in order.
    pub fn of_role(&self, role: Role) -> impl DoubleEndedIterator<Item = &Member> {
        self.members.iter().filter(move |m| m.role == role)
    }

    /// Init containers and sidecars, in the order of the spec.
    pub fn initial(&self) -> impl DoubleEndedIterator<Item = &Member> {
        self.members.iter().filter(|m| matches!(m.role, Role::Init | Role::Sidecar))
    }

    /// The container of this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.spec.name == name)
    }

    /// The pod's restart policy.
    pub fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy::parse(self.spec().restart_policy.as_deref()).unwrap_or(RestartPolicy::Always)
    }

    /// Whether it uses the host's network.
    pub fn host_network(&self) -> bool {
        self.spec().host_network == Some(true)
    }

    /// How long its containers get to stop when nobody says otherwise.
    pub fn grace(&self) -> Duration {
        seconds(self.spec().termination_grace_period_seconds.unwrap_or(30))
    }

    /// Whether it comes from a file and not from the API.
    pub fn is_static(&self) -> bool {
        let annotations = self.pod.metadata.annotations.as_ref();
        annotations.is_some_and(|a| a.contains_key(SOURCE) && !a.contains_key(MIRROR))
    }

    /// Whether the API already says that it ended for good.
    pub fn is_terminal(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|s| s.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// A reference for events about the pod.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: self.pod.metadata.name.clone(),
            namespace: self.pod.metadata.namespace.clone(),
            uid: self.pod.metadata.uid.clone(),
            resource_version: self.pod.metadata.resource_version.clone(),
            field_path: None,
        }
    }

    /// A reference for events about one of its containers.
    pub fn member_reference(&self, name: &str) -> ObjectReference {
        ObjectReference { field_path: self.member(name).map(Member::field_path), ..self.reference() }
    }
}

/// A duration of whole seconds; negative ones count as none.
pub fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The three probes of a container with their kinds' names.
pub fn probes(spec: &Container) -> [(&'static str, Option<&Probe>); 3] {
    [
        ("Startup", spec.startup_probe.as_ref()),
        ("Readiness", spec.readiness_probe.as_ref()),
        ("Liveness", spec.liveness_probe.as_ref()),
    ]
}

fn members(spec: &PodSpec) -> Vec<Member> {
    let pod_policy = RestartPolicy::parse(spec.restart_policy.as_deref()).unwrap_or(RestartPolicy::Always);
    let own = |c: &Container| RestartPolicy::parse(c.restart_policy.as_deref());
    let initial = spec.init_containers.iter().flatten().map(|c| {
        let role = if own(c) == Some(RestartPolicy::Always) { Role::Sidecar } else { Role::Init };
        // An init container that succeeded never runs again, whatever the pod's policy.
        let policy = own(c).unwrap_or(match pod_policy {
            RestartPolicy::Always => RestartPolicy::OnFailure,
            other => other,
        });
        member(role, c.clone(), policy)
    });
    let main = spec.containers.iter().map(|c| member(Role::Main, c.clone(), own(c).unwrap_or(pod_policy)));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|e| Member {
        target: e.target_container_name.clone().filter(|t| !t.is_empty()),
        ..member(Role::Ephemeral, from_ephemeral(e), RestartPolicy::Never)
    });
    initial.chain(main).chain(ephemeral).collect()
}

fn member(role: Role, spec: Container, restart_policy: RestartPolicy) -> Member {
    let hash = hash([spec.name.as_str(), spec.image.as_deref().unwrap_or_default()]);
    let resize_hash = resize_hash(&spec);
    Member { role, spec, target: None, restart_policy, hash, resize_hash }
}

/// Over the requests and limits of the resources with the resize policy `RestartContainer`; empty without any.
fn resize_hash(spec: &Container) -> String {
    let policies = spec.resize_policy.iter().flatten().filter(|p| p.restart_policy == "RestartContainer");
    let mut words = Vec::new();
    for policy in policies {
        let of = |map: Option<&std::collections::BTreeMap<String, Quantity>>| {
            map.and_then(|m| m.get(&policy.resource_name)).map_or(0, crate::quantity::milli).to_string()
        };
        let resources = spec.resources.as_ref();
        words.push(policy.resource_name.clone());
        words.push(of(resources.and_then(|r| r.requests.as_ref())));
        words.push(of(resources.and_then(|r| r.limits.as_ref())));
    }
    if words.is_empty() { String::new() } else { hash(words.iter().map(String::as_str)) }
}

/// FNV-1a over words.
fn hash<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in words.into_iter().flat_map(|word| word.bytes().chain([0])) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{state:x}")
}

fn from_ephemeral(e: &EphemeralContainer) -> Container {
    let e = e.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        liveness_probe: e.liveness_probe,
        name: e.name,
        ports: e.ports,
        readiness_probe: e.readiness_probe,
        resize_policy: e.resize_policy,
        resources: e.resources,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        security_context: e.security_context,
        startup_probe: e.startup_probe,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
    }
}
