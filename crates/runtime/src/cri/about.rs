//! What the runtime tells of itself: whether it is ready, what it can do, where it looks for networks.

use std::path::PathBuf;

use serde_json::Value;

use super::translate::Abilities;
use super::{CriRuntime, Inner, proto};
use crate::api::*;

/// Where a runtime looks for network configurations and for the plugins that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniDirectories {
    /// Usually /etc/cni/net.d.
    pub configurations: PathBuf,
    /// Usually /opt/cni/bin; Debian has /usr/lib/cni.
    pub plugins: PathBuf,
}

/// The runtime, as it last told.
#[derive(Debug, Default)]
pub struct About {
    /// Whether this was asked since the connection was last lost.
    fresh: bool,
    /// `containerd://1.6.20`
    pub version: String,
    /// What it can do.
    pub abilities: Abilities,
    /// The same by handler, as it tells it.
    pub handlers: Vec<Handler>,
    /// Where networks are configured.
    pub cni: Option<CniDirectories>,
    /// The image that its sandboxes are made of.
    pub sandbox_image: Option<String>,
    /// Whether it leaves cgroups to systemd.
    systemd: bool,
}

impl CriRuntime {
    /// Whether pods can be run now.
    pub(super) async fn look(&self) -> Result<()> {
        let inner = &self.0;
        let verbose = !inner.about().fresh;
        let asked = inner.runtime::<proto::StatusResponse>("Status", &proto::StatusRequest { verbose }).await;
        let status = match asked {
            Ok(status) => status,
            Err(error) => {
                inner.about.write().unwrap_or_else(std::sync::PoisonError::into_inner).fresh = false;
                return Err(error);
            }
        };
        if verbose {
            inner.learn(&status).await?;
        }
        if inner.about().systemd {
            return Err(RuntimeError::Failed(
                "container runtime not ready: it leaves cgroups to systemd (SystemdCgroup = true), which is not supported"
                    .to_owned(),
            ));
        }
        conditions(&status)
    }
}

/// The sentence of upstream's kubelet for the first condition that does not hold.
fn conditions(status: &proto::StatusResponse) -> Result<()> {
    let all = status.status.as_ref().map_or(&[][..], |s| &s.conditions);
    for (kind, what) in
        [("RuntimeReady", "container runtime not ready"), ("NetworkReady", "container runtime network not ready")]
    {
        let Some(found) = all.iter().find(|c| c.r#type == kind) else {
            return Err(RuntimeError::Failed(format!("{what}: it does not tell {kind}")));
        };
        if !found.status {
            let (reason, message) = (&found.reason, &found.message);
            return Err(RuntimeError::Failed(format!("{what}: {kind}=false reason:{reason} message:{message}")));
        }
    }
    Ok(())
}

impl Inner {
    async fn learn(&self, status: &proto::StatusResponse) -> Result<()> {
        let request = proto::VersionRequest { version: "v1".to_owned() };
        let version: proto::VersionResponse = self.runtime("Version", &request).await?;
        let driver =
            self.runtime::<proto::RuntimeConfigResponse>("RuntimeConfig", &proto::RuntimeConfigRequest {}).await;
        let config: Value =
            status.info.get("config").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let systemd = match driver.ok().and_then(|answer| answer.linux) {
            Some(told) => told.cgroup_driver == 0,
            None => systemd_configured(&config),
        };
        let default = status.runtime_handlers.iter().find(|h| h.name.is_empty());
        let handler = default.and_then(|h| h.features.clone()).unwrap_or_default();
        let told = About {
            fresh: true,
            version: format!("{}://{}", version.runtime_name, version.runtime_version.trim_start_matches('v')),
            abilities: Abilities {
                recursive_read_only: handler.recursive_read_only_mounts,
                users: handler.user_namespaces,
                image_volumes: has_image_volumes(&version.runtime_name, &version.runtime_version),
                strict_groups: status.features.as_ref().is_some_and(|f| f.supplemental_groups_policy),
            },
            handlers: status.runtime_handlers.iter().map(handler_of).collect(),
            cni: Some(cni(&config)),
            sandbox_image: config["sandboxImage"].as_str().and_then(|name| crate::image::normalize(name).ok()),
            systemd,
        };
        tracing::info!(version = told.version, "the container runtime answers");
        *self.about.write().unwrap_or_else(std::sync::PoisonError::into_inner) = told;
        Ok(())
    }
}

fn handler_of(told: &proto::RuntimeHandler) -> Handler {
    let features = told.features.clone().unwrap_or_default();
    Handler {
        name: told.name.clone(),
        recursive_read_only: features.recursive_read_only_mounts,
        user_namespaces: features.user_namespaces,
    }
}

/// What containerd tells of its configuration; others get the usual places.
fn cni(config: &Value) -> CniDirectories {
    let of = |names: &[&str], usual: &str| {
        let told = names.iter().filter_map(|name| {
            let value = &config["cni"][*name];
            value.as_str().or_else(|| value.get(0)?.as_str())
        });
        PathBuf::from(told.into_iter().find(|text| !text.is_empty()).unwrap_or(usual))
    };
    CniDirectories {
        configurations: of(&["confDir"], "/etc/cni/net.d"),
        plugins: of(&["binDirs", "binDir"], "/opt/cni/bin"),
    }
}

/// The one thing that no runtime tells of itself: containerd has had it since 2.1.
fn has_image_volumes(name: &str, version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    name != "containerd" || (numbers.next(), numbers.next()) >= (Some(2), Some(1))
}

fn systemd_configured(config: &Value) -> bool {
    let containerd = &config["containerd"];
    let default = containerd["defaultRuntimeName"].as_str().unwrap_or("runc");
    containerd["runtimes"][default]["options"]["SystemdCgroup"].as_bool().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerds_own_words_are_read() {
        let config: Value = serde_json::from_str(
            r#"{"cni":{"binDir":"/usr/lib/cni","confDir":"/etc/cni/net.d"},
                "containerd":{"defaultRuntimeName":"x","runtimes":{"x":{"options":{"SystemdCgroup":true}}}}}"#,
        )
        .expect("JSON");
        assert_eq!(cni(&config).plugins, PathBuf::from("/usr/lib/cni"));
        assert!(systemd_configured(&config));
        let newer = serde_json::json!({"cni": {"binDirs": ["/a", "/b"]}});
        assert_eq!(cni(&newer).plugins, PathBuf::from("/a"));
        assert_eq!(cni(&Value::Null).configurations, PathBuf::from("/etc/cni/net.d"));
        assert!(!systemd_configured(&Value::Null));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (name, version, has) in [
            ("containerd", "1.6.20~ds1", false),
            ("containerd", "v2.0.5", false),
            ("containerd", "v2.1.0", true),
            ("containerd", "3.0.0", true),
            ("cri-o", "1.31.0", true),
        ] {
            assert_eq!(has_image_volumes(name, version), has, "{name} {version}");
        }
    }

    #[test]
    fn conditions_are_told_as_upstream_does() {
        let condition = |kind: &str, status| proto::RuntimeCondition {
            r#type: kind.to_owned(),
            status,
            reason: "NetworkPluginNotReady".to_owned(),
            message: "cni plugin not initialized".to_owned(),
        };
        let of = |network| {
            let conditions = vec![condition("RuntimeReady", true), condition("NetworkReady", network)];
            let status = Some(proto::RuntimeStatus { conditions });
            conditions_of(status)
        };
        fn conditions_of(status: Option<proto::RuntimeStatus>) -> Result<()> {
            conditions(&proto::StatusResponse { status, ..proto::StatusResponse::default() })
        }
        assert!(of(true).is_ok());
        assert_eq!(
            of(false).expect_err("no network").to_string(),
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni plugin not initialized"
        );
        assert!(conditions_of(None).is_err());
    }
}
