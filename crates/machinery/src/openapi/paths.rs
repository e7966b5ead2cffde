//! Paths of resources.

use super::operations::{Operation, Target};
use super::{Form, Resource};
use crate::json::Map;

/// All paths of the resources.
pub(super) fn paths(resources: &[Resource], form: Form) -> Map {
    let mut paths = Map::new();
    for resource in resources {
        collection(&mut paths, resource, form);
        object(&mut paths, resource, form);
        for subresource in &resource.subresources {
            let target = Target::Subresource(subresource);
            let path = format!("{}/{{name}}/{}", base(resource, resource.namespaced), subresource.name);
            add(&mut paths, &path, resource, target, &subresource.verbs, form);
        }
    }
    paths
}

/// `/apis/GROUP/VERSION/namespaces/{namespace}/PLURAL`
fn base(resource: &Resource, in_namespace: bool) -> String {
    let (group, version) = (&resource.kind.group, &resource.kind.version);
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = if in_namespace { "/namespaces/{namespace}" } else { "" };
    format!("{root}{namespace}/{}", resource.plural)
}

fn collection(paths: &mut Map, resource: &Resource, form: Form) {
    let verbs = |wanted: &[&str]| pick(resource, wanted);
    let path = base(resource, resource.namespaced);
    add(paths, &path, resource, Target::Collection, &verbs(&["list", "create", "deletecollection"]), form);
    if resource.namespaced {
        add(paths, &base(resource, false), resource, Target::AllNamespaces, &verbs(&["list"]), form);
    }
}

fn object(paths: &mut Map, resource: &Resource, form: Form) {
    let path = format!("{}/{{name}}", base(resource, resource.namespaced));
    let verbs = pick(resource, &["get", "update", "patch", "delete"]);
    add(paths, &path, resource, Target::Object, &verbs, form);
}

fn pick(resource: &Resource, wanted: &[&str]) -> Vec<String> {
    resource.verbs.iter().filter(|v| wanted.contains(&v.as_str())).cloned().collect()
}

fn add(paths: &mut Map, path: &str, resource: &Resource, target: Target<'_>, verbs: &[String], form: Form) {
    let mut item = Map::new();
    for verb in verbs {
        for method in methods(verb) {
            let operation = Operation { resource, target, verb, method, path, form };
            item.insert(*method, operation.value());
        }
    }
    if !item.is_empty() {
        item.insert("parameters", super::operations::path_parameters(path, form));
        paths.insert(path, item);
    }
}

fn methods(verb: &str) -> &'static [&'static str] {
    match verb {
        "get" | "list" => &["get"],
        "create" => &["post"],
        "update" => &["put"],
        "patch" => &["patch"],
        "delete" | "deletecollection" => &["delete"],
        "connect" => &["get", "post"],
        _ => &[],
    }
}
