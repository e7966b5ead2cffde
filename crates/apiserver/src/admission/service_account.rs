//! ServiceAccount: every pod acts as an account of its namespace, with a token that is bound to the pod.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, Value};
use std::sync::Arc;

use super::{Operation, Plugin, Review};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const DEFAULT: &str = "default";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Lifetime of the tokens that pods get, in seconds (upstream's `WarnOnlyBoundTokenExpiration`).
const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How long a pod waits for the account of a namespace that was just made.
const ACCOUNT_WAIT: Duration = Duration::from_secs(1);

pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn ready<'a>(&self, review: &Review<'a>) -> Option<BoxFuture<'a, ()>> {
        if !applies(review) || !matches!(account_name(review.object), "" | DEFAULT) {
            return None;
        }
        let accounts = review.kinds.core("serviceaccounts").ok()?;
        let namespace = review.namespace;
        if accounts.find(namespace, DEFAULT).is_some()
            || review.kinds.core("namespaces").ok()?.find("", namespace).is_none()
        {
            return None;
        }
        let wait = async move {
            let mut changed = accounts.cache.subscribe();
            let found = async {
                while accounts.find(namespace, DEFAULT).is_none() {
                    if changed.changed().await.is_err() {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(ACCOUNT_WAIT, found).await;
        };
        Some(wait.boxed())
    }

    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if !applies(review) {
            return Ok(());
        }
        if review.object.annotation(MIRROR).is_some() {
            return check_mirror(review);
        }
        if account_name(review.object).is_empty() {
            review.object.set_at(&["spec", "serviceAccountName"], DEFAULT);
        }
        let account = account(review)?;
        let name = account_name(review.object).to_owned();
        review.object.set_at(&["spec", "serviceAccount"], name);
        if wants_token(review.object, account.tree()) {
            mount_token(review.object);
        }
        copy_pull_secrets(review.object, account.tree());
        Ok(())
    }

    fn validate(&self, review: &Review<'_>) -> Result<(), ApiError> {
        if !applies(review) || review.object.annotation(MIRROR).is_some() {
            return Ok(());
        }
        account(review).map(|_| ())
    }
}

fn applies(review: &Review<'_>) -> bool {
    review.is(Operation::Create, "pods")
}

fn account_name(pod: &Value) -> &str {
    pod.str_at(&["spec", "serviceAccountName"]).unwrap_or_default()
}

fn account(review: &Review<'_>) -> Result<Arc<Entry>, ApiError> {
    let name = account_name(review.object);
    let found = review.kinds.core("serviceaccounts")?.find(review.namespace, name);
    found.ok_or_else(|| {
        let detail =
            format!("error looking up service account {}/{name}: serviceaccount {name:?} not found", review.namespace);
        review.forbidden(&detail)
    })
}

/// A mirror pod acts as nobody.
fn check_mirror(review: &Review<'_>) -> Result<(), ApiError> {
    if !account_name(review.object).is_empty() {
        return Err(review.forbidden("a mirror pod may not reference service accounts"));
    }
    let volumes = review.object.at(&["spec", "volumes"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if volumes.iter().any(|v| v.get("secret").is_some_and(|s| !s.is_null())) {
        return Err(review.forbidden("a mirror pod may not reference secrets"));
    }
    let projected = volumes.iter().filter_map(|v| v.at(&["projected", "sources"])?.as_array()).flatten();
    if projected.filter(|s| s.get("serviceAccountToken").is_some()).count() > 0 {
        return Err(review.forbidden("a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

/// The pod's own word comes before the account's.
fn wants_token(pod: &Value, account: &Value) -> bool {
    let flag = |tree: &Value, path: &[&str]| tree.at(path).and_then(Value::as_bool);
    flag(pod, &["spec", "automountServiceAccountToken"])
        .or_else(|| flag(account, &["automountServiceAccountToken"]))
        .unwrap_or(true)
}

fn copy_pull_secrets(pod: &mut Value, account: &Value) {
    let has_own = pod.at(&["spec", "imagePullSecrets"]).and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    if let Some(secrets) = account.get("imagePullSecrets").filter(|s| s.as_array().is_some_and(|l| !l.is_empty()))
        && !has_own
    {
        pod.set_at(&["spec", "imagePullSecrets"], secrets.clone());
    }
}

/// Mounts the token volume into every container that has nothing at its place.
fn mount_token(pod: &mut Value) {
    let volumes = pod.at(&["spec", "volumes"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let known = volumes.iter().find_map(|v| v.str_at(&["name"]).filter(|n| n.starts_with(VOLUME_PREFIX)));
    let (name, is_new) = match known {
        Some(name) => (name.to_owned(), false),
        None => (format!("{VOLUME_PREFIX}{}", seams::random::name_suffix(5)), true),
    };
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod.at_mut(&["spec", list]).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            mounted |= mount(container, &name);
        }
    }
    if mounted && is_new {
        push(pod.ensure_at(&["spec", "volumes"]), token_volume(&name));
    }
}

fn mount(container: &mut Value, volume: &str) -> bool {
    let mounts = container.ensure_at(&["volumeMounts"]);
    let taken = mounts.as_array().is_some_and(|l| l.iter().any(|m| m.str_at(&["mountPath"]) == Some(MOUNT_PATH)));
    if taken {
        return false;
    }
    let mut mount = Value::object();
    mount.set_at(&["name"], volume);
    mount.set_at(&["readOnly"], true);
    mount.set_at(&["mountPath"], MOUNT_PATH);
    push(mounts, mount);
    true
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

/// A token, the cluster's certificates and the namespace's name.
fn token_volume(name: &str) -> Value {
    let mut token = Value::object();
    token.set_at(&["serviceAccountToken", "expirationSeconds"], TOKEN_SECONDS);
    token.set_at(&["serviceAccountToken", "path"], "token");
    let mut certificates = Value::object();
    certificates.set_at(&["configMap", "name"], "kube-root-ca.crt");
    let mut item = Value::object();
    item.set_at(&["key"], "ca.crt");
    item.set_at(&["path"], "ca.crt");
    certificates.set_at(&["configMap", "items"], vec![item]);
    let mut namespace = Value::object();
    namespace.set_at(&["path"], "namespace");
    namespace.set_at(&["fieldRef", "apiVersion"], "v1");
    namespace.set_at(&["fieldRef", "fieldPath"], "metadata.namespace");
    let mut downward = Value::object();
    downward.set_at(&["downwardAPI", "items"], vec![namespace]);
    let mut volume = Value::object();
    volume.set_at(&["name"], name);
    volume.set_at(&["projected", "defaultMode"], 0o644);
    volume.set_at(&["projected", "sources"], vec![token, certificates, downward]);
    volume
}
