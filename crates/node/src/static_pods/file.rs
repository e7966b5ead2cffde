//! Manifests of static pods, as upstream's file source reads them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use machinery::json::from_value;
use ring::digest::{Context, SHA256};

use super::{Pods, SOURCE};

/// The UID of a static pod, which its contents give.
const HASH: &str = "kubernetes.io/config.hash";
/// The longest manifest.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The pods of a directory's files, or of one file. What cannot be read is told and left out.
pub fn read(path: &Path, node: &str) -> Pods {
    let mut pods = Pods::new();
    for file in files(path) {
        match std::fs::metadata(&file) {
            Ok(data) if data.is_file() && data.len() <= FILE_BYTES_MAX => {}
            _ => continue,
        }
        let made = std::fs::read(&file).map_err(|e| e.to_string()).and_then(|bytes| pod(&bytes, &file, node));
        match made {
            Ok(pod) => {
                pods.insert(pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pod));
            }
            Err(error) => tracing::warn!(path = %file.display(), error, "a static pod was not read"),
        }
    }
    pods
}

fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let hidden = |p: &PathBuf| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|p| !hidden(p)).collect();
    files.sort();
    files
}

/// A file's pod with what a static pod has: its node's name behind its own, a UID from its contents, its source.
fn pod(bytes: &[u8], file: &Path, node: &str) -> Result<Pod, String> {
    let tree = machinery::yaml::parse(bytes).map_err(|e| e.to_string())?;
    if (tree.str_at(&["apiVersion"]), tree.str_at(&["kind"])) != (Some("v1"), Some("Pod")) {
        return Err("not a Pod of v1".to_owned());
    }
    let mut pod: Pod = from_value(&tree).map_err(|e| e.to_string())?;
    let name = pod.metadata.name.take().filter(|n| !n.is_empty()).ok_or("metadata.name is missing")?;
    let spec = pod.spec.as_mut().ok_or("spec is missing")?;
    if let Some(what) = api_reference(spec) {
        return Err(format!("static pods may not reference {what}"));
    }
    spec.node_name = Some(node.to_owned());
    let tolerates = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    spec.tolerations.get_or_insert_default().push(tolerates);
    pod.status = None;
    let meta = &mut pod.metadata;
    meta.name = Some(format!("{name}-{node}"));
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    let uid = meta.uid.take().filter(|u| !u.is_empty()).unwrap_or_else(|| hash(bytes, file, node));
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    annotations.insert(HASH.to_owned(), uid.clone());
    meta.uid = Some(uid);
    Ok(pod)
}

/// 32 digits, as long as upstream's.
fn hash(bytes: &[u8], file: &Path, node: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    context.update(format!("host:{node}file:{}", file.display()).as_bytes());
    context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What a pod refers to that only the API has: nobody grants a static pod the right to read it.
fn api_reference(spec: &PodSpec) -> Option<&'static str> {
    let volumes = || spec.volumes.iter().flatten();
    let sources = || volumes().filter_map(|v| v.projected.as_ref()).flat_map(|p| p.sources.iter().flatten());
    let lists = [Some(&spec.containers), spec.init_containers.as_ref()];
    let containers = || lists.iter().flatten().flat_map(|list| list.iter());
    let from = || containers().flat_map(|c| c.env_from.iter().flatten());
    let env = || containers().flat_map(|c| c.env.iter().flatten()).filter_map(|e| e.value_from.as_ref());
    let config_maps = volumes().any(|v| v.config_map.is_some())
        || sources().any(|s| s.config_map.is_some())
        || from().any(|e| e.config_map_ref.is_some())
        || env().any(|e| e.config_map_key_ref.is_some());
    let secrets = volumes().any(|v| v.secret.is_some())
        || sources().any(|s| s.secret.is_some())
        || from().any(|e| e.secret_ref.is_some())
        || env().any(|e| e.secret_key_ref.is_some());
    let accounts = spec.service_account_name.as_ref().is_some_and(|name| !name.is_empty())
        || sources().any(|s| s.service_account_token.is_some());
    let claims = volumes().any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some());
    let resources = spec.resource_claims.as_ref().is_some_and(|list| !list.is_empty());
    let pulls = spec.image_pull_secrets.as_ref().is_some_and(|list| !list.is_empty());
    let found = [
        (config_maps, "configmaps"),
        (secrets || pulls, "secrets"),
        (accounts, "serviceaccounts"),
        (claims, "persistentvolumeclaims"),
        (resources, "resourceclaims"),
        (sources().any(|s| s.cluster_trust_bundle.is_some()), "clustertrustbundles"),
    ];
    found.into_iter().find(|(has, _)| *has).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_pods_of_this_node() {
        let directory = tempfile::Builder::new().prefix("skiff-node-").tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let manifest = |more: &str| {
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {{containers: [{{name: a}}]{more}}}\n")
        };
        write("web.yaml", &manifest(""));
        write(".hidden.yaml", &manifest(""));
        write("broken.yaml", "kind: [");
        write("other.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n");
        write("account.yaml", &manifest(", serviceAccountName: x"));
        let pods = read(directory.path(), "node1");
        assert_eq!(pods.len(), 1);
        let (uid, pod) = pods.first_key_value().unwrap();
        assert_eq!((uid.len(), pod.metadata.name.as_deref()), (32, Some("web-node1")));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("node1"));
        assert_eq!(read(directory.path(), "node1").keys().collect::<Vec<_>>(), [uid]);
        write("web.yaml", &manifest(", hostNetwork: true"));
        assert!(!read(directory.path(), "node1").contains_key(uid));
        assert_eq!(read(&directory.path().join("web.yaml"), "node1").len(), 1);
    }

    #[test]
    fn what_only_the_api_has_is_refused() {
        for (spec, what) in [
            (r#"{"containers":[]}"#, None),
            (r#"{"containers":[],"volumes":[{"name":"v","configMap":{"name":"m"}}]}"#, Some("configmaps")),
            (r#"{"containers":[{"name":"a","envFrom":[{"secretRef":{"name":"s"}}]}]}"#, Some("secrets")),
            (r#"{"containers":[],"serviceAccountName":"x"}"#, Some("serviceaccounts")),
        ] {
            assert_eq!(api_reference(&serde_json::from_str(spec).unwrap()), what, "{spec}");
        }
    }
}
