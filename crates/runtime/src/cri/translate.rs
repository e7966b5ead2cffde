//! From the trait's words to CRI's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::proto;
use crate::api::*;

/// What skiff wrote of a sandbox, so that a later life of the node knows it: its configuration as JSON. Sandboxes without
/// it belong to somebody else.
pub const SANDBOX_ANNOTATION: &str = "io.skiff.sandbox-config";
/// The same of a container: [`Kept`] as JSON.
pub const CONTAINER_ANNOTATION: &str = "io.skiff.container";
/// All of ours: nobody outside this backend sees them.
pub const OWN_ANNOTATIONS: [&str; 2] = [SANDBOX_ANNOTATION, CONTAINER_ANNOTATION];

/// What CRI does not tell of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Id of its image.
    pub image_id: String,
    /// The image's name as the user wrote it.
    pub image_name: String,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// The signals in the order of the API's enumeration, which begins at 1.
const SIGNALS: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP \
SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMINPLUS1 RTMINPLUS2 RTMINPLUS3 RTMINPLUS4 \
RTMINPLUS5 RTMINPLUS6 RTMINPLUS7 RTMINPLUS8 RTMINPLUS9 RTMINPLUS10 RTMINPLUS11 RTMINPLUS12 RTMINPLUS13 RTMINPLUS14 \
RTMINPLUS15 RTMAXMINUS14 RTMAXMINUS13 RTMAXMINUS12 RTMAXMINUS11 RTMAXMINUS10 RTMAXMINUS9 RTMAXMINUS8 RTMAXMINUS7 \
RTMAXMINUS6 RTMAXMINUS5 RTMAXMINUS4 RTMAXMINUS3 RTMAXMINUS2 RTMAXMINUS1 RTMAX";

/// The runtime's own default seccomp filter.
const SECCOMP_DEFAULT: i32 = 0;

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| RuntimeError::Failed(error.to_string()))
}

fn path(path: &std::path::Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| RuntimeError::Invalid(format!("{} is not UTF-8", path.display())))?;
    Ok(text.to_owned())
}

fn mode(mode: NamespaceMode) -> i32 {
    match mode {
        NamespaceMode::Pod => 0,
        NamespaceMode::Container => 1,
        NamespaceMode::Node => 2,
    }
}

fn namespaces(sandbox: &SandboxConfig, target: Option<&str>) -> proto::NamespaceOption {
    proto::NamespaceOption {
        network: mode(sandbox.network),
        pid: target.map_or(mode(sandbox.pid), |_| 3),
        ipc: mode(sandbox.ipc),
        target_id: target.unwrap_or_default().to_owned(),
        userns_options: sandbox.users.map(|users| proto::UserNamespace {
            mode: mode(NamespaceMode::Pod),
            uids: vec![mapping(users)],
            gids: vec![mapping(users)],
        }),
    }
}

fn mapping(users: IdRange) -> proto::IdMapping {
    proto::IdMapping { host_id: users.first, container_id: 0, length: users.length }
}

fn port(port: &PortMapping) -> Result<proto::PortMapping> {
    let protocol = match port.protocol.as_str() {
        "TCP" => 0,
        "UDP" => 1,
        "SCTP" => 2,
        other => return Err(RuntimeError::Invalid(format!("unknown protocol {other}"))),
    };
    Ok(proto::PortMapping {
        protocol,
        container_port: port.container_port.into(),
        host_port: port.host_port.into(),
        host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    })
}

/// A sandbox's whole configuration. `cgroup` is the pod's group with the node's root before it.
pub fn sandbox(config: &SandboxConfig, cgroup: &str) -> Result<proto::PodSandboxConfig> {
    let own = SandboxConfig { labels: BTreeMap::new(), annotations: BTreeMap::new(), ..config.clone() };
    let mut annotations = config.annotations.clone();
    annotations.insert(SANDBOX_ANNOTATION.to_owned(), json(&own)?);
    let security = proto::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(config, None)),
        privileged: config.privileged,
        seccomp: Some(proto::SecurityProfile { profile_type: SECCOMP_DEFAULT, localhost_ref: String::new() }),
    };
    Ok(proto::PodSandboxConfig {
        metadata: Some(proto::PodSandboxMetadata {
            name: config.name.clone(),
            uid: config.uid.clone(),
            namespace: config.namespace.clone(),
            attempt: config.attempt,
        }),
        // On the host's network the name is the host's: asking for one is an error there.
        hostname: if config.network == NamespaceMode::Node { String::new() } else { config.hostname.clone() },
        log_directory: path(&config.log_directory)?,
        port_mappings: config.host_ports.iter().map(port).collect::<Result<_>>()?,
        labels: config.labels.clone(),
        annotations,
        linux: Some(proto::LinuxPodSandboxConfig {
            cgroup_parent: cgroup.to_owned(),
            security_context: Some(security),
            sysctls: config.sysctls.clone(),
            resources: Some(resources(&config.resources, false)),
        }),
    })
}

/// What a runtime can do beyond the first version of the API. What it cannot is refused: it would be ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Mounts that are read-only with all below them.
    pub recursive_read_only: bool,
    /// `supplementalGroupsPolicy: Strict`
    pub strict_groups: bool,
    /// User namespaces.
    pub users: bool,
    /// Images as volumes.
    pub image_volumes: bool,
}

impl Abilities {
    /// Refuses what a sandbox asks for and cannot get.
    pub fn check(self, sandbox: &SandboxConfig) -> Result<()> {
        match sandbox.users {
            Some(_) if !self.users => Err(unsupported("hostUsers false")),
            _ => Ok(()),
        }
    }
}

/// A container's whole configuration. `unified` says that the machine has cgroup version 2.
pub fn container(
    config: &ContainerConfig,
    sandbox: &SandboxConfig,
    abilities: Abilities,
    unified: bool,
) -> Result<proto::ContainerConfig> {
    if config.security.supplemental_groups_strict && !abilities.strict_groups {
        return Err(unsupported("supplementalGroupsPolicy Strict"));
    }
    if config.resources.pids_limit.is_some() && !unified {
        return Err(unsupported("a limit of processes for one container on cgroup version 1"));
    }
    let mut annotations = config.annotations.clone();
    let (image_id, image_name) = (config.image.clone(), config.image_reference.clone());
    annotations.insert(CONTAINER_ANNOTATION.to_owned(), json(&Kept { image_id, image_name, tty: config.tty })?);
    let variable = |(key, value): &(String, String)| proto::KeyValue { key: key.clone(), value: value.clone().into() };
    Ok(proto::ContainerConfig {
        metadata: Some(proto::ContainerMetadata { name: config.name.clone(), attempt: config.attempt }),
        image: Some(proto::ImageSpec {
            image: config.image.clone(),
            user_specified_image: config.image_reference.clone(),
            ..proto::ImageSpec::default()
        }),
        command: config.command.clone(),
        args: config.args.clone(),
        working_dir: config.working_dir.clone().unwrap_or_default(),
        envs: config.env.iter().map(variable).collect(),
        mounts: config.mounts.iter().map(|m| mount(m, sandbox, abilities)).collect::<Result<_>>()?,
        devices: config.devices.iter().map(device).collect::<Result<_>>()?,
        cdi_devices: config.cdi_devices.iter().map(|name| proto::CdiDevice { name: name.clone() }).collect(),
        labels: config.labels.clone(),
        annotations,
        log_path: path(&config.log_path)?,
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        linux: Some(proto::LinuxContainerConfig {
            resources: Some(resources(&config.resources, unified)),
            security_context: Some(security(&config.security, sandbox, config.pid_target.as_deref())?),
        }),
        stop_signal: config.stop_signal.as_deref().map_or(Ok(0), signal)?,
    })
}

fn unsupported(what: &str) -> RuntimeError {
    RuntimeError::Invalid(format!("{what} is not supported by the container runtime"))
}

/// `SIGTERM` by the API's number.
fn signal(name: &str) -> Result<i32> {
    let short = name.strip_prefix("SIG").unwrap_or(name);
    let place = SIGNALS.split(' ').position(|known| known == short);
    let number = place.and_then(|place| i32::try_from(place + 1).ok());
    number.ok_or_else(|| RuntimeError::Invalid(format!("unknown signal {name}")))
}

fn mount(mount: &Mount, sandbox: &SandboxConfig, abilities: Abilities) -> Result<proto::Mount> {
    if mount.recursive_read_only && !abilities.recursive_read_only {
        return Err(unsupported("recursiveReadOnly"));
    }
    if mount.image.is_some() && !abilities.image_volumes {
        return Err(unsupported("an image as a volume"));
    }
    let mappings: Vec<proto::IdMapping> = sandbox.users.map(mapping).into_iter().collect();
    Ok(proto::Mount {
        container_path: mount.container_path.clone(),
        host_path: path(&mount.host_path)?,
        readonly: mount.read_only,
        recursive_read_only: mount.recursive_read_only,
        propagation: match mount.propagation {
            Propagation::Private => 0,
            Propagation::HostToContainer => 1,
            Propagation::Bidirectional => 2,
        },
        uid_mappings: mappings.clone(),
        gid_mappings: mappings,
        image: mount.image.as_ref().map(|id| proto::ImageSpec { image: id.clone(), ..proto::ImageSpec::default() }),
        image_sub_path: mount.image_sub_path.clone(),
    })
}

fn device(device: &Device) -> Result<proto::Device> {
    Ok(proto::Device {
        container_path: device.container_path.clone(),
        host_path: path(&device.host_path)?,
        permissions: device.permissions.clone(),
    })
}

/// Limits. `unified` says that the machine has cgroup version 2, whose own files say what CRI has no field for.
pub fn resources(resources: &Resources, unified: bool) -> proto::LinuxContainerResources {
    let number = |value: Option<u64>| value.and_then(|v| i64::try_from(v).ok()).unwrap_or(0);
    let files = [
        ("memory.min", resources.memory_request),
        ("memory.high", resources.memory_high),
        ("pids.max", resources.pids_limit),
    ];
    let files = files.into_iter().filter_map(|(file, value)| Some((file.to_owned(), value?.to_string())));
    proto::LinuxContainerResources {
        cpu_period: number(resources.cpu_period),
        cpu_quota: resources.cpu_quota.unwrap_or(0),
        cpu_shares: number(resources.cpu_shares),
        memory_limit_in_bytes: resources.memory_limit.unwrap_or(0),
        oom_score_adj: resources.oom_score_adj.unwrap_or(0).into(),
        cpuset_cpus: resources.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: resources.cpuset_mems.clone().unwrap_or_default(),
        hugepage_limits: resources
            .hugepage_limits
            .iter()
            .map(|(size, limit)| proto::HugepageLimit { page_size: size.clone(), limit: *limit })
            .collect(),
        unified: if unified { files.collect() } else { BTreeMap::new() },
    }
}

fn security(
    security: &Security,
    sandbox: &SandboxConfig,
    target: Option<&str>,
) -> Result<proto::LinuxContainerSecurityContext> {
    let id = |value: Option<i64>| value.map(|value| proto::Int64Value { value });
    let paths = |list: &[&str]| match security.unmasked_proc || security.privileged {
        true => Vec::new(),
        false => list.iter().map(|path| (*path).to_owned()).collect(),
    };
    let (profile_type, localhost_ref) = match &security.seccomp {
        Seccomp::RuntimeDefault => (SECCOMP_DEFAULT, String::new()),
        Seccomp::Unconfined => (1, String::new()),
        Seccomp::Localhost(file) => (2, path(file)?),
    };
    Ok(proto::LinuxContainerSecurityContext {
        capabilities: Some(proto::Capability {
            add_capabilities: security.add_capabilities.clone(),
            drop_capabilities: security.drop_capabilities.clone(),
        }),
        privileged: security.privileged,
        namespace_options: Some(namespaces(sandbox, target)),
        run_as_user: id(security.run_as_user),
        run_as_username: String::new(),
        run_as_group: id(security.run_as_group),
        readonly_rootfs: security.read_only_rootfs,
        supplemental_groups: security.supplemental_groups.clone(),
        supplemental_groups_policy: security.supplemental_groups_strict.into(),
        no_new_privs: security.no_new_privileges,
        masked_paths: paths(&crate::shim::MASKED),
        readonly_paths: paths(&crate::shim::READ_ONLY),
        seccomp: Some(proto::SecurityProfile { profile_type, localhost_ref }),
        apparmor: security.app_armor.as_ref().map(app_armor),
    })
}

fn app_armor(profile: &AppArmor) -> proto::SecurityProfile {
    let (profile_type, localhost_ref) = match profile {
        AppArmor::RuntimeDefault => (0, String::new()),
        AppArmor::Unconfined => (1, String::new()),
        AppArmor::Localhost(name) => (2, name.clone()),
    };
    proto::SecurityProfile { profile_type, localhost_ref }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities =
        Abilities { recursive_read_only: true, strict_groups: true, users: true, image_volumes: true };

    fn refused(config: &ContainerConfig) -> String {
        let made = container(config, &SandboxConfig::default(), Abilities::default(), false);
        made.expect_err("it is refused").to_string()
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let mounts = vec![Mount { recursive_read_only: true, ..Mount::default() }];
        let mounts = ContainerConfig { mounts, ..ContainerConfig::default() };
        let volume = Mount { image: Some("sha256:1".to_owned()), ..Mount::default() };
        let volume = ContainerConfig { mounts: vec![volume], ..ContainerConfig::default() };
        let security = Security { supplemental_groups_strict: true, ..Security::default() };
        let security = ContainerConfig { security, ..ContainerConfig::default() };
        let resources = Resources { pids_limit: Some(5), ..Resources::default() };
        let resources = ContainerConfig { resources, ..ContainerConfig::default() };
        let stop_signal = Some("SIGNOTHING".to_owned());
        let signal = ContainerConfig { stop_signal, ..ContainerConfig::default() };
        for (config, part) in
            [(&mounts, "recursiveReadOnly"), (&security, "Strict"), (&resources, "processes"), (&signal, "SIGNOTHING")]
        {
            assert!(refused(config).contains(part), "{part}");
        }
        assert!(refused(&volume).contains("image as a volume"));
        for config in [&mounts, &volume, &security, &resources] {
            assert!(container(config, &SandboxConfig::default(), ALL, true).is_ok());
        }
        let users = Some(IdRange { first: 65_536, length: 65_536 });
        let sandbox = SandboxConfig { users, ..SandboxConfig::default() };
        assert!(Abilities::default().check(&sandbox).is_err() && ALL.check(&sandbox).is_ok());
        let told = namespaces(&sandbox, None).userns_options.expect("set");
        assert_eq!((told.mode, told.uids[0].host_id, told.gids[0].length), (0, 65_536, 65_536));
    }

    #[test]
    fn signals_have_the_apis_numbers() {
        for (name, number) in [("SIGABRT", 1), ("SIGINT", 10), ("SIGTERM", 23), ("SIGUSR1", 29), ("SIGRTMAX", 65)] {
            assert_eq!(signal(name).expect("known"), number, "{name}");
        }
    }

    #[test]
    fn a_sandbox_remembers_what_it_was_made_of() {
        let config = SandboxConfig {
            name: "p".to_owned(),
            hostname: "h".to_owned(),
            cgroup_parent: "/kubepods/podu".to_owned(),
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            ..SandboxConfig::default()
        };
        let made = sandbox(&config, "/root/kubepods/podu").expect("valid");
        assert_eq!(made.hostname, "h");
        assert_eq!(made.linux.expect("set").cgroup_parent, "/root/kubepods/podu");
        let kept: SandboxConfig = serde_json::from_str(&made.annotations[SANDBOX_ANNOTATION]).expect("our own JSON");
        assert_eq!((kept.cgroup_parent, kept.annotations.len()), (config.cgroup_parent.clone(), 0));
        let host = sandbox(&SandboxConfig { network: NamespaceMode::Node, ..config }, "/").expect("valid");
        assert_eq!(host.hostname, "");
    }

    #[test]
    fn limits_and_security_are_told() {
        let limits = Resources {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            memory_limit: Some(1 << 20),
            memory_request: Some(1 << 19),
            oom_score_adj: Some(-997),
            ..Resources::default()
        };
        let told = resources(&limits, true);
        assert_eq!(
            (told.cpu_shares, told.cpu_quota, told.memory_limit_in_bytes, told.oom_score_adj),
            (512, 50_000, 1 << 20, -997)
        );
        assert_eq!(told.unified["memory.min"], "524288");
        assert!(resources(&limits, false).unified.is_empty());
        let sandbox = SandboxConfig { pid: NamespaceMode::Container, ..SandboxConfig::default() };
        let told =
            security(&Security { run_as_user: Some(0), ..Security::default() }, &sandbox, Some("c")).expect("valid");
        let namespaces = told.namespace_options.expect("set");
        assert_eq!((namespaces.pid, namespaces.target_id.as_str()), (3, "c"));
        assert_eq!(told.run_as_user.map(|id| id.value), Some(0));
        assert!(told.masked_paths.contains(&"/proc/kcore".to_owned()));
        let open = Security { unmasked_proc: true, ..Security::default() };
        assert!(security(&open, &sandbox, None).expect("valid").masked_paths.is_empty());
    }
}
