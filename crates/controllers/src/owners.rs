//! Owner references between controllers and what they make.

use client::{Api, Client};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::json::{Value, to_value};
use machinery::{ApiError, GroupResource, GroupVersionResource};

/// The owner that controls an object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` controls the object.
pub fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    controller_of(meta).is_some_and(|reference| Some(&reference.uid) == owner.uid.as_ref())
}

/// The reference by which `K` controls what it makes.
pub fn reference_to<K: client::Resource>(owner: &K) -> OwnerReference {
    let meta = owner.metadata();
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A strategic merge patch by which `owner` takes control of an object that nobody controls.
pub fn adopt_patch<K: client::Resource>(object: &ObjectMeta, owner: &K) -> Result<Value, ApiError> {
    let reference = to_value(&reference_to(owner)).map_err(|e| ApiError::Internal(e.to_string()))?;
    let mut patch = Value::object();
    patch.set_at(&["metadata", "ownerReferences"], vec![reference]);
    patch.set_at(&["metadata", "uid"], object.uid.clone());
    Ok(patch)
}

/// Asks the API whether an owner may still take control of something; a conflict when it may not. The copy of an owner lags
/// behind the copies of its dependents: what its deletion lets go would be taken back, and go with it.
pub async fn check_may_adopt<K: client::Resource>(client: &Client, owner: &K) -> Result<(), ApiError> {
    let meta = owner.metadata();
    let name = meta.name.as_deref().unwrap_or_default();
    let live = Api::<K>::namespaced(client, meta.namespace.as_deref().unwrap_or_default()).get_opt(name).await?;
    let is_same = |live: &ObjectMeta| live.uid == meta.uid && live.deletion_timestamp.is_none();
    if live.is_some_and(|live| is_same(live.metadata())) {
        return Ok(());
    }
    let GroupVersionResource { group, resource, .. } = Api::<K>::resource();
    Err(ApiError::conflict(&GroupResource { group, resource }, name, "it is gone, or on its way out"))
}

/// A strategic merge patch by which the owner with this UID lets go of an object.
pub fn release_patch(object: &ObjectMeta, owner_uid: &str) -> Value {
    let mut reference = Value::object();
    reference.set_at(&["$patch"], "delete");
    reference.set_at(&["uid"], owner_uid);
    let mut patch = Value::object();
    patch.set_at(&["metadata", "ownerReferences"], vec![reference]);
    patch.set_at(&["metadata", "uid"], object.uid.clone());
    patch
}

/// What a patch of an adopted or released object gave; `None` when the object is gone, or is another one by now.
pub fn unless_gone<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_not_found() || matches!(e, ApiError::Invalid { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}
