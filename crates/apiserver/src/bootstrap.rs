//! What every cluster has from its first moment: the system namespaces, the objects of [`resources::bootstrap`], and the
//! `kubernetes` service with its endpoints.

use client::{Action, Backend, Options, PatchKind, Reply, Request, User};
use machinery::object::ObjectExt;
use machinery::{ApiError, GroupVersionResource, Value, time};
use resources::bootstrap::{Wanted, lets_be_kept_right, wanted};

use crate::allocators::DEFAULT_RANGE;
use crate::pipeline::Pipeline;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const SERVICE: &str = "kubernetes";
const PORT: i64 = 443;

/// Makes what is missing and puts right what has changed (the address where this server is found).
pub(crate) async fn run(pipeline: &Pipeline) -> Result<(), ApiError> {
    if pipeline.row("", "v1", "namespaces").is_none() {
        return Ok(());
    }
    let namespaces = NAMESPACES.map(|name| ensure_namespace(pipeline, name));
    futures_util::future::try_join_all(namespaces).await?;
    futures_util::future::try_join_all(wanted().iter().map(|wanted| ensure_wanted(pipeline, wanted))).await?;
    ensure_range(pipeline).await?;
    if pipeline.row("", "v1", "services").is_some() {
        ensure(pipeline, "", "v1", "services", service(pipeline)).await?;
    }
    if pipeline.row("", "v1", "endpoints").is_some() {
        ensure(pipeline, "", "v1", "endpoints", endpoints(pipeline)).await?;
    }
    if pipeline.row("discovery.k8s.io", "v1", "endpointslices").is_some() {
        ensure(pipeline, "discovery.k8s.io", "v1", "endpointslices", slice(pipeline)).await?;
    }
    Ok(())
}

fn user() -> User {
    User::component("system:apiserver", &["system:masters"])
}

fn request(group: &str, version: &str, plural: &str, namespace: Option<&str>, action: Action, name: &str) -> Request {
    Request {
        action,
        resource: GroupVersionResource::new(group, version, plural),
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        subresource: None,
        options: Options::default(),
    }
}

/// The ServiceCIDR of the range that the server was told, and that it is ready. One that says another range is left alone:
/// somebody has to decide.
async fn ensure_range(pipeline: &Pipeline) -> Result<(), ApiError> {
    /// Who says that it is ready, as upstream's server calls itself.
    const FIELD_MANAGER: &str = "kubernetes-service-cidr-controller";
    const GROUP: &str = "networking.k8s.io";
    let Some(kind) = pipeline.kinds.get(GROUP, "v1", "servicecidrs") else { return Ok(()) };
    let ask = |action| request(GROUP, "v1", "servicecidrs", None, action, DEFAULT_RANGE);
    let mut object = object("networking.k8s.io/v1", "ServiceCIDR", DEFAULT_RANGE);
    object.remove_at(&["metadata", "namespace"]);
    let cidr = pipeline.allocators.default_range();
    if kind.find("", DEFAULT_RANGE).is_none() {
        let mut wanted = object.clone();
        wanted.set_at(&["spec", "cidrs"], vec![cidr.as_str()]);
        match pipeline.call(&user(), ask(Action::Create(wanted))).await {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
    }
    let Some(found) = kind.find("", DEFAULT_RANGE) else { return Ok(()) };
    let conditions = found.tree().at(&["status", "conditions"]).and_then(Value::as_array);
    let told = conditions.is_some_and(|all| all.iter().any(|condition| condition.str_at(&["type"]) == Some("Ready")));
    let same = found.tree().at(&["spec", "cidrs"]) == Some(&Value::from(vec![cidr.as_str()]));
    if !same {
        pipeline.allocators.tell_mismatch();
    }
    if told || !same || found.tree().is_deleting() {
        return Ok(());
    }
    let mut condition = Value::object();
    condition.set_at(&["type"], "Ready");
    condition.set_at(&["status"], "True");
    condition.set_at(&["reason"], "");
    condition.set_at(&["message"], "Kubernetes default Service CIDR is ready");
    condition.set_at(&["lastTransitionTime"], time::format(seams::clock::now_seconds()));
    object.set_at(&["status", "conditions"], vec![condition]);
    let mut apply = ask(Action::Patch(PatchKind::Apply, object));
    apply.subresource = Some("status".to_owned());
    apply.options = Options { field_manager: FIELD_MANAGER.to_owned(), force: true, ..Options::default() };
    pipeline.call(&user(), apply).await.map(|_| ())
}

async fn ensure_namespace(pipeline: &Pipeline, name: &str) -> Result<(), ApiError> {
    if pipeline.kinds.core("namespaces")?.find("", name).is_some() {
        return Ok(());
    }
    let mut object = object("v1", "Namespace", name);
    object.remove_at(&["metadata", "namespace"]);
    let made = pipeline.call(&user(), request("", "v1", "namespaces", None, Action::Create(object), name)).await;
    match made {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

/// Makes an object that is missing; puts the spec of one right that is there and lets it.
async fn ensure_wanted(pipeline: &Pipeline, wanted: &Wanted) -> Result<(), ApiError> {
    let (group, version) = wanted.object.api_version().split_once('/').unwrap_or(("", wanted.object.api_version()));
    let Some(kind) = pipeline.kinds.get(group, version, &wanted.plural) else { return Ok(()) };
    let action = match kind.find("", wanted.object.name()) {
        None => Action::Create(wanted.object.clone()),
        Some(entry) if wanted.kept_right && lets_be_kept_right(entry.tree()) => {
            let spec = wanted.object.get("spec").unwrap_or(&Value::Null);
            if entry.tree().get("spec") == Some(spec) {
                return Ok(());
            }
            let mut object = Value::clone(entry.tree());
            object.set_at(&["spec"], spec.clone());
            Action::Update(object)
        }
        Some(_) => return Ok(()),
    };
    let name = wanted.object.name();
    match pipeline.call(&user(), request(group, version, &wanted.plural, None, action, name)).await {
        // Somebody else was quicker; the next look sees what came of it.
        Err(error) if error.is_already_exists() || error.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Makes an object, or puts what it says into the one there is.
async fn ensure(pipeline: &Pipeline, group: &str, version: &str, plural: &str, wanted: Value) -> Result<(), ApiError> {
    let ask = |action| request(group, version, plural, Some("default"), action, SERVICE);
    let user = user();
    match pipeline.call(&user, ask(Action::Get)).await {
        Ok(Reply::Object(entry)) => {
            let mut object = Value::clone(entry.tree());
            for (key, value) in wanted.as_object().into_iter().flat_map(|o| o.iter()) {
                if key != "metadata" && key != "spec" {
                    object.set_at(&[key], value.clone());
                }
            }
            pipeline.call(&user, ask(Action::Update(object))).await.map(|_| ())
        }
        Err(error) if error.is_not_found() => pipeline.call(&user, ask(Action::Create(wanted))).await.map(|_| ()),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

fn object(api_version: &str, kind: &str, name: &str) -> Value {
    let mut object = Value::object();
    object.set_at(&["apiVersion"], api_version);
    object.set_at(&["kind"], kind);
    object.set_at(&["metadata", "name"], name);
    object.set_at(&["metadata", "namespace"], "default");
    object
}

fn port(number: i64) -> Value {
    let mut port = Value::object();
    port.set_at(&["name"], "https");
    port.set_at(&["port"], number);
    port.set_at(&["protocol"], "TCP");
    port
}

fn service(pipeline: &Pipeline) -> Value {
    let mut service = object("v1", "Service", SERVICE);
    service.set_at(&["metadata", "labels", "component"], "apiserver");
    service.set_at(&["metadata", "labels", "provider"], SERVICE);
    service.set_at(&["spec", "type"], "ClusterIP");
    service.set_at(&["spec", "clusterIP"], pipeline.allocators.first_address().to_string());
    let mut port = port(PORT);
    port.set_at(&["targetPort"], i64::from(pipeline.config.advertise_port));
    service.set_at(&["spec", "ports"], vec![port]);
    service.set_at(&["spec", "sessionAffinity"], "None");
    service
}

fn endpoints(pipeline: &Pipeline) -> Value {
    let mut endpoints = object("v1", "Endpoints", SERVICE);
    endpoints.set_at(&["metadata", "labels", "endpointslice.kubernetes.io/skip-mirror"], "true");
    let mut address = Value::object();
    address.set_at(&["ip"], pipeline.config.advertise_address.to_string());
    let mut subset = Value::object();
    subset.set_at(&["addresses"], vec![address]);
    subset.set_at(&["ports"], vec![port(i64::from(pipeline.config.advertise_port))]);
    endpoints.set_at(&["subsets"], vec![subset]);
    endpoints
}

fn slice(pipeline: &Pipeline) -> Value {
    let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", SERVICE);
    slice.set_at(&["metadata", "labels", "kubernetes.io/service-name"], SERVICE);
    slice.set_at(&["addressType"], "IPv4");
    let mut endpoint = Value::object();
    endpoint.set_at(&["addresses"], vec![pipeline.config.advertise_address.to_string()]);
    endpoint.set_at(&["conditions", "ready"], true);
    slice.set_at(&["endpoints"], vec![endpoint]);
    slice.set_at(&["ports"], vec![port(i64::from(pipeline.config.advertise_port))]);
    slice
}
