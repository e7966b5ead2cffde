//! IPAddresses: which addresses are taken, and by whom.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::cells;
use crate::checks::{validate_immutable, validate_required_name};
use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::{Column, NameRule, Resource, Strategy, Target};

/// The row of a version.
pub fn row(version: &str) -> Resource {
    Resource::new(&format!("networking.k8s.io/{version}"), "IPAddress", "ipaddresses")
        .cluster_scoped()
        .short_names(&["ip"])
        .columns(vec![Column::text("ParentRef", "Who has the address.", |object, _| parent(object))])
        .strategy(IpAddress)
}

/// `services/default/kubernetes`
fn parent(object: &Value) -> Value {
    let Some(parent) = object.at(&["spec", "parentRef"]).filter(|p| !p.is_null()) else { return cells::NONE.into() };
    let (group, resource) = (parent.text("group"), parent.text("resource"));
    let mut text =
        if group.is_empty() { resource.to_lowercase() } else { format!("{resource}.{group}").to_lowercase() };
    for part in ["namespace", "name"] {
        let name = parent.text(part);
        if part == "name" || !name.is_empty() {
            text = format!("{text}/{name}");
        }
    }
    text.into()
}

struct IpAddress;

impl Strategy for IpAddress {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at = Place::root("spec.parentRef");
        let Some(parent) = object.get("spec").and_then(|spec| spec.present("parentRef")) else {
            errors.required(&at, "");
            return errors;
        };
        let (group, namespace) = (parent.text("group"), parent.text("namespace"));
        if !group.is_empty() {
            errors.invalid_each(&at.field("group"), group, names::dns1123_subdomain(group));
        }
        for field in ["resource", "name"] {
            let segment = names::path_segment_name;
            validate_required_name(parent.text(field), "", segment, &at.field(field), &mut errors);
        }
        if !namespace.is_empty() {
            errors.invalid_each(&at.field("namespace"), namespace, names::path_segment_name(namespace));
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        validate_immutable(new, old, "parentRef", &Place::root("spec"), &mut errors);
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::IpAddress
    }
}
