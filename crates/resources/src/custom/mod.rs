//! Custom resources: rows made at run time of a CustomResourceDefinition, one for each version that is served, and what the
//! definition's status says.

pub(crate) mod approval;
mod columns;
mod embedded;
pub(crate) mod rules;
mod status;
mod strategy;

use std::borrow::Cow;
use std::sync::Arc;

use machinery::gvk::GroupVersionKind;
use machinery::json::Value;
use machinery::object::ObjectExt;
use machinery::schema::custom::{self, Node};

pub(crate) use crate::custom_resource_definitions::violations as structural_violations;
pub(crate) use embedded::validate as validate_embedded;
pub(crate) use status::add_stored_version;
pub use status::status;

use crate::checks::has_condition;
use crate::read::Read;
use crate::row::{FieldValue, Resource, ScalePaths, SelectableField, Subresource};
use strategy::Custom;

/// The rows of a definition, one for each version that is served; none before its names are accepted and it is established.
pub fn rows(crd: &Value) -> Vec<Resource> {
    let status = crd.get("status").unwrap_or(&Value::Null);
    if !has_condition(status, "Established") {
        return Vec::new();
    }
    let spec = crd.get("spec").unwrap_or(&Value::Null);
    let schema = |version: &Value| Arc::new(schema_of(version).map(Node::new).unwrap_or_default());
    let versions = spec.items("versions");
    let schemas: Vec<Arc<Node>> = versions.iter().map(schema).collect();
    let storage = versions.iter().zip(&schemas).find(|(version, _)| version.flag("storage"));
    let storage = storage.map_or_else(Arc::default, |(_, schema)| schema.clone());
    let served = versions.iter().zip(schemas).filter(|(version, _)| version.flag("served"));
    served.map(|(version, schema)| row(crd, version, schema, storage.clone())).collect()
}

fn schema_of(version: &Value) -> Option<&Value> {
    version.at(&["schema", "openAPIV3Schema"]).filter(|schema| !schema.is_null())
}

fn row(crd: &Value, version: &Value, schema: Arc<Node>, storage_schema: Arc<Node>) -> Resource {
    let spec = crd.get("spec").unwrap_or(&Value::Null);
    let names = crd.at(&["status", "acceptedNames"]).unwrap_or(&Value::Null);
    let (group, kind, plural) = (spec.text("group"), names.text("kind"), names.text("plural"));
    let mut row = Resource::new(&format!("{group}/{}", version.text("name")), kind, plural);
    names.text("listKind").clone_into(&mut row.list_kind);
    names.text("singular").clone_into(&mut row.singular);
    row.short_names = names.texts("shortNames").map(|name| Cow::Owned(name.to_owned())).collect();
    row.categories = names.texts("categories").map(|name| Cow::Owned(name.to_owned())).collect();
    row.namespaced = spec.text("scope") == "Namespaced";
    row.storage = format!("{group}/{plural}");
    row.has_generation = true;
    row.type_name = definition_name(group, version.text("name"), kind);
    let preserves = spec.flag("preserveUnknownFields");
    let gvk = GroupVersionKind::new(group, version.text("name"), kind);
    let mut ty = custom::object_type(gvk, &row.type_name, schema_of(version));
    ty.preserve_unknown |= preserves;
    let ty = Arc::new(ty);
    row.schema = Some(ty.clone());
    row.columns = columns::columns(version.items("additionalPrinterColumns"));
    row.selectable_fields = version.items("selectableFields").iter().map(selectable).collect();
    let subresources = version.get("subresources").unwrap_or(&Value::Null);
    if subresources.has("status") {
        row.subresources.push(Subresource::Status);
    }
    if let Some(scale) = subresources.present("scale") {
        row.subresources.push(Subresource::Scale);
        row.scale = ScalePaths {
            spec_replicas: owned_path(scale.text("specReplicasPath")),
            status_replicas: owned_path(scale.text("statusReplicasPath")),
        };
    }
    row.deprecated = deprecation(spec, version, kind);
    row.strategy = Box::new(Custom::new(crd, version, ty, schema, storage_schema));
    row
}

/// What clients of a version are warned of, if its definition wants that; without words of its own, what to use instead.
fn deprecation(spec: &Value, version: &Value, kind: &str) -> Option<String> {
    if !version.flag("deprecated") {
        return None;
    }
    if let Some(text) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(text.to_owned());
    }
    let (group, own) = (spec.text("group"), version.text("name"));
    let is_better = |other: &&str| machinery::gvk::version_order(other, own).is_lt();
    let served = spec.items("versions").iter().filter(|other| other.flag("served") && !other.flag("deprecated"));
    let best =
        served.map(|other| other.text("name")).filter(is_better).min_by(|a, b| machinery::gvk::version_order(a, b));
    let instead = best.map(|best| format!("; use {group}/{best} {kind}")).unwrap_or_default();
    Some(format!("{group}/{own} {kind} is deprecated{instead}"))
}

/// What OpenAPI calls a custom resource's type: the group's labels reversed, the version and the kind.
fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

fn selectable(field: &Value) -> SelectableField {
    let path = field.text("jsonPath").trim_start_matches('.');
    let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
    SelectableField { name: Cow::Owned(path.to_owned()), value: FieldValue::Path(keys.into()) }
}

/// `.spec.replicas` as keys.
fn owned_path(path: &str) -> Vec<Cow<'static, str>> {
    path.strip_prefix('.').unwrap_or(path).split('.').map(|key| Cow::Owned(key.to_owned())).collect()
}

/// The version in which objects are stored.
pub fn storage_version(crd: &Value) -> &str {
    let versions = crd.get("spec").map_or(&[][..], |spec| spec.items("versions"));
    versions.iter().find(|version| version.flag("storage")).map_or("", |version| version.text("name"))
}

/// Whether the definition is being deleted, so that no more objects may be made.
pub fn is_terminating(crd: &Value) -> bool {
    crd.is_deleting() || has_condition(crd.get("status").unwrap_or(&Value::Null), "Terminating")
}
