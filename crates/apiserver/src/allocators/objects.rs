//! IPAddress objects: every address of a service has one, made before the service and deleted after it.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use client::{Action, Backend, DeleteOptions, Options, Request, User};
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::{ApiError, GroupVersionResource, Value};
use tokio::sync::Notify;

use super::{Allocation, Taken, addresses_of, lock, ranges};
use crate::kinds::Kinds;
use crate::pipeline::Pipeline;
use crate::verbs::Call;

const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
const PLURAL: &str = "ipaddresses";

/// Follows the objects. One that is gone although a service needs it is amiss.
pub(super) fn follow(taken: &Arc<Mutex<Taken>>, amiss: &Arc<Notify>, kinds: &Kinds) {
    let Some(kind) = kinds.get(ranges::GROUP, "v1", PLURAL) else { return };
    let (followed, amiss) = (taken.clone(), amiss.clone());
    kind.cache.observe(Box::new(move |old, new| {
        let mut taken = lock(&followed);
        if let Some(address) = new.and_then(|entry| address_of(entry.tree())) {
            taken.named.insert(address);
        } else if let Some(address) = old.and_then(|entry| address_of(entry.tree())) {
            taken.named.remove(&address);
            if taken.addresses.contains_key(&address) {
                amiss.notify_one();
            }
        }
    }));
}

/// The address that an object names, if it is of IPv4.
pub(super) fn address_of(object: &Value) -> Option<Ipv4Addr> {
    object.name().parse().ok()
}

/// Whether the allocator made an object.
pub(super) fn is_managed(object: &Value) -> bool {
    object.str_at(&["metadata", "labels", MANAGED_LABEL]) == Some(MANAGER)
}

/// Whether an object has the allocator's labels.
pub(super) fn is_labelled(object: &Value) -> bool {
    is_managed(object) && object.str_at(&["metadata", "labels", FAMILY_LABEL]) == Some("IPv4")
}

/// The service that an object says has the address: its namespace and name.
pub(super) fn parent(object: &Value) -> Option<(&str, &str)> {
    let text = |field: &str| object.str_at(&["spec", "parentRef", field]).unwrap_or_default();
    (text("group").is_empty() && text("resource") == "services").then(|| (text("namespace"), text("name")))
}

fn is_of(object: &Value, (namespace, name): &(String, String)) -> bool {
    parent(object) == Some((namespace, name))
}

fn user() -> User {
    User::component("system:apiserver", &["system:masters"])
}

fn request(action: Action, name: &str) -> Request {
    Request {
        action,
        resource: GroupVersionResource::new(ranges::GROUP, "v1", PLURAL),
        namespace: None,
        name: Some(name.to_owned()),
        subresource: None,
        options: Options::default(),
    }
}

/// Makes the object of an address of a service.
pub(super) async fn make(
    pipeline: &Pipeline,
    address: Ipv4Addr,
    (namespace, service): (&str, &str),
) -> Result<(), ApiError> {
    let name = address.to_string();
    let mut object = Value::object();
    object.set_at(&["apiVersion"], format!("{}/v1", ranges::GROUP));
    object.set_at(&["kind"], "IPAddress");
    object.set_at(&["metadata", "name"], name.as_str());
    object.set_at(&["metadata", "labels", FAMILY_LABEL], "IPv4");
    object.set_at(&["metadata", "labels", MANAGED_LABEL], MANAGER);
    object.set_at(&["spec", "parentRef", "group"], "");
    object.set_at(&["spec", "parentRef", "resource"], "services");
    object.set_at(&["spec", "parentRef", "namespace"], namespace);
    object.set_at(&["spec", "parentRef", "name"], service);
    pipeline.call(&user(), request(Action::Create(object), &name)).await.map(|_| ())
}

/// Deletes the object of an address, if it is still this one.
pub(super) async fn delete(pipeline: &Pipeline, object: &Value) -> Result<(), ApiError> {
    let options = DeleteOptions { uid: Some(object.uid().to_owned()), ..DeleteOptions::default() };
    match pipeline.call(&user(), request(Action::Delete(options), object.name())).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// Makes the objects of the addresses that a write takes; comes right before it. An object of this very service is what an
/// attempt before left behind.
pub(crate) async fn record(call: &Call<'_>, allocation: &Allocation) -> Result<(), ApiError> {
    let Some(kind) = call.pipeline.kinds.get(ranges::GROUP, "v1", PLURAL) else { return Ok(()) };
    if call.options.dry_run {
        return Ok(());
    }
    let (namespace, service) = &allocation.service;
    for address in &allocation.addresses {
        let name = address.to_string();
        match make(call.pipeline, *address, (namespace, service)).await {
            Err(error) if error.is_already_exists() => {
                if !kind.find("", &name).is_some_and(|entry| is_of(entry.tree(), &allocation.service)) {
                    return Err(taken_by_another(&name, service));
                }
            }
            other => other?,
        }
    }
    Ok(())
}

fn taken_by_another(address: &str, service: &str) -> ApiError {
    let detail = format!("failed to allocate IP {address}: provided IP is already allocated");
    let error = FieldError::invalid(&Path::new("spec").child("clusterIPs"), &Value::from(vec![address]), &detail);
    ApiError::invalid("", "Service", service, vec![error])
}

/// Takes them back when the write came to nothing.
pub(crate) async fn forget(call: &Call<'_>, allocation: &Allocation) {
    if !call.options.dry_run {
        delete_all(call.pipeline, &allocation.addresses, &allocation.service).await;
    }
}

/// Deletes the objects of addresses that a service had and has no more; comes right after its write or deletion.
pub(crate) async fn release(call: &Call<'_>, old: &Value, new: Option<&Value>) {
    let row = &call.kind.row;
    if !row.group.is_empty() || row.plural != "services" || call.options.dry_run {
        return;
    }
    let kept = new.map(addresses_of).unwrap_or_default();
    let gone: Vec<Ipv4Addr> = addresses_of(old).into_iter().filter(|address| !kept.contains(address)).collect();
    delete_all(call.pipeline, &gone, &(old.namespace().to_owned(), old.name().to_owned())).await;
}

/// What cannot be deleted now is left to the repair.
async fn delete_all(pipeline: &Pipeline, addresses: &[Ipv4Addr], service: &(String, String)) {
    let Some(kind) = pipeline.kinds.get(ranges::GROUP, "v1", PLURAL) else { return };
    for address in addresses {
        let Some(entry) = kind.find("", &address.to_string()) else { continue };
        if !is_of(entry.tree(), service) {
            continue;
        }
        if let Err(error) = delete(pipeline, entry.tree()).await {
            tracing::warn!(%address, %error, "the object of an address that is free again was not deleted");
        }
    }
}
