//! IngressClasses.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::ingress_backends::validate_reference;
use crate::cells;
use crate::checks::{validate_domain_prefixed_path, validate_immutable};
use crate::place::{Place, Report};
use crate::read::{Read, present_mut, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Target};

const CONTROLLER_LENGTH_MAX: usize = 250;

/// The row.
pub fn row() -> Resource {
    Resource::new("networking.k8s.io/v1", "IngressClass", "ingressclasses")
        .cluster_scoped()
        .generation()
        .columns(vec![
            Column::text("Controller", "Who serves ingresses of the class.", |object, _| {
                object.str_at(&["spec", "controller"]).unwrap_or_default().into()
            }),
            Column::text("Parameters", "A resource with more parameters.", |object, _| parameters(object)),
            Column::age(),
        ])
        .strategy(IngressClass)
}

/// `Kind.group/name`
fn parameters(object: &Value) -> Value {
    let Some(parameters) = object.at(&["spec", "parameters"]).filter(|p| !p.is_null()) else {
        return cells::NONE.into();
    };
    let group =
        parameters.present("apiGroup").map_or_else(String::new, |_| format!(".{}", parameters.text("apiGroup")));
    format!("{}{group}/{}", parameters.text("kind"), parameters.text("name")).into()
}

struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        if let Some(parameters) = present_mut(object, "spec").and_then(|spec| present_mut(spec, "parameters")) {
            set_default(parameters, "scope", "Cluster");
        }
    }

    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        !same_at(object, old, &["spec"])
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        let controller = spec.text("controller");
        if controller.len() > CONTROLLER_LENGTH_MAX {
            errors.too_long(&at.field("controller"), CONTROLLER_LENGTH_MAX);
        }
        validate_domain_prefixed_path(controller, &at.field("controller"), &mut errors);
        if let Some(parameters) = spec.present("parameters") {
            validate_parameters(parameters, &at.field("parameters"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        validate_immutable(new, old, "controller", &Place::root("spec"), &mut errors);
        errors.extend(self.validate(object));
        errors
    }
}

fn validate_parameters(parameters: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_reference(parameters, at, errors);
    let namespace = parameters.present("namespace").and_then(Value::as_str);
    let field = at.field("namespace");
    match (parameters.present("scope").and_then(Value::as_str), namespace) {
        (None, _) => errors.required(&at.field("scope"), ""),
        (Some("Namespace"), None) => errors.required(&field, "`parameters.scope` is set to 'Namespace'"),
        (Some("Namespace"), Some(name)) => errors.invalid_each(&field, name, names::dns1123_label(name)),
        (Some("Cluster"), None) => {}
        (Some("Cluster"), Some(_)) => errors.forbidden(&field, "`parameters.scope` is set to 'Cluster'"),
        (Some(scope), _) => errors.unsupported(&at.field("scope"), scope, &["Cluster", "Namespace"]),
    }
}
