//! customresourcedefinitions: what custom resources are made of (apiextensions' `registry/customresourcedefinition`).

mod columns;
mod conversion;
mod defaults;
mod field_path;
mod names;
mod rules;
mod schema;
mod spec;
mod structural;
mod subresources;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::object::ObjectExt;
use machinery::schema::custom::Format;

use crate::checks::has_condition;
use crate::custom::approval::{self, ANNOTATION, Approval};
use crate::custom::{add_stored_version, storage_version};
use crate::place::{Json, Place, Report};
use crate::read::{Read, items_mut, present_mut, set_default};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

pub(crate) use field_path::find as find_field;
pub(crate) use structural::violations;

/// The row.
pub fn row() -> Resource {
    let mut row = Resource::new("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
        .cluster_scoped()
        .short_names(&["crd", "crds"])
        .categories(&["api-extensions"])
        .subresources(&[Subresource::Status])
        .columns(vec![Column::created_at()])
        .generation()
        .strategy(CustomResourceDefinition);
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition".clone_into(&mut row.type_name);
    row
}

struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn default(&self, object: &mut Value) {
        let Some(spec) = present_mut(object, "spec") else { return };
        let kind = spec.str_at(&["names", "kind"]).unwrap_or_default().to_owned();
        if let Some(names) = present_mut(spec, "names") {
            if names.text("singular").is_empty() && !kind.is_empty() {
                names.set_at(&["singular"], kind.to_lowercase());
            }
            if names.text("listKind").is_empty() && !kind.is_empty() {
                names.set_at(&["listKind"], format!("{kind}List"));
            }
        }
        if !spec.has("conversion") {
            spec.set_at(&["conversion", "strategy"], "None");
        }
        if let Some(service) =
            spec.at_mut(&["conversion", "webhook", "clientConfig", "service"]).filter(|s| !s.is_null())
        {
            set_default(service, "port", 443);
        }
        for version in items_mut(spec, "versions") {
            if let Some(schema) = version.at_mut(&["schema", "openAPIV3Schema"]) {
                schema::normalize(schema);
            }
        }
        let version = storage_version(object).to_owned();
        if let Some(status) = present_mut(object, "status")
            && status.items("storedVersions").is_empty()
        {
            add_stored_version(status, &version);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let version = storage_version(object).to_owned();
        let mut status = Value::object();
        add_stored_version(&mut status, &version);
        object.set_at(&["status"], status);
    }

    fn prepare_for_update(&self, object: &mut Value, _old: &Value, target: Target) {
        if target == Target::Object {
            let version = storage_version(object).to_owned();
            add_stored_version(object.ensure_at(&["status"]), &version);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let wanted = format!("{}.{}", spec.str_at(&["names", "plural"]).unwrap_or_default(), spec.text("group"));
        if object.name() != wanted {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid(&Place::root("metadata.name"), object.name(), detail);
        }
        spec::validate(spec, None, &mut errors);
        validate_status(object, &mut errors);
        validate_approval(object, None, &mut errors);
        validate_preserving(object, None, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if target == Target::Subresource("status") {
            let status = object.get("status").unwrap_or(&Value::Null);
            let accepted = status.get("acceptedNames").unwrap_or(&Value::Null);
            names::validate(accepted, &Place::root("status.acceptedNames"), &mut errors);
            return errors;
        }
        let spec = object.get("spec").unwrap_or(&Value::Null);
        spec::validate(spec, Some(old), &mut errors);
        validate_status(object, &mut errors);
        validate_approval(object, Some(old), &mut errors);
        validate_preserving(object, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        let versions = object.get("spec").map_or(&[][..], |spec| spec.items("versions"));
        for (index, version) in versions.iter().enumerate() {
            let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) else { continue };
            let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
            schema::each(schema, &Place::root(&path), &mut |schema, at| {
                let format = schema.text("format");
                if !format.is_empty() && !is_known_format(format) {
                    warnings.push(format!("{at}.format: unrecognized format {format:?}"));
                }
            });
        }
        warnings
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

/// Formats of numbers and of int-or-string say something to readers only.
fn is_known_format(format: &str) -> bool {
    Format::named(format).is_some() || ["int32", "int64", "float", "double", "int-or-string"].contains(&format)
}

/// What is established does not change its names.
fn is_established(crd: &Value) -> bool {
    has_condition(crd.get("status").unwrap_or(&Value::Null), "Established")
}

fn validate_status(object: &Value, errors: &mut Vec<FieldError>) {
    let status = object.get("status").unwrap_or(&Value::Null);
    let accepted = status.get("acceptedNames").unwrap_or(&Value::Null);
    names::validate(accepted, &Place::root("status.acceptedNames"), errors);
    let at = Place::root("status.storedVersions");
    let stored: Vec<&str> = status.texts("storedVersions").collect();
    let list = status.get("storedVersions").unwrap_or(&Value::Null);
    if stored.is_empty() {
        errors.invalid(&at, Json(list), "must have at least one stored version");
        return;
    }
    let versions = object.get("spec").map_or(&[][..], |spec| spec.items("versions"));
    let storage = storage_version(object);
    if !storage.is_empty() && !stored.contains(&storage) {
        errors.invalid(&at, Json(list), &format!("must have the storage version {storage}"));
    }
    for (index, stored) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version.text("name") == *stored) {
            errors.invalid(&at.index(index), *stored, "must appear in spec.versions");
        }
    }
}

/// An API of the community's groups needs approval; a state that was there stays allowed.
fn validate_approval(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if !approval::is_protected(object.str_at(&["spec", "group"]).unwrap_or_default()) {
        return;
    }
    let (state, detail) = approval::read(object);
    let same = |old: &Value| std::mem::discriminant(&approval::read(old).0) == std::mem::discriminant(&state);
    if old.is_some_and(same) {
        return;
    }
    let annotations = Place::root("metadata.annotations");
    let at = annotations.key(ANNOTATION);
    match state {
        Approval::Missing => errors.required(&at, &detail),
        Approval::Invalid => errors.invalid(&at, object.annotation(ANNOTATION).unwrap_or_default(), &detail),
        Approval::Approved | Approval::Bypassed => {}
    }
}

fn validate_preserving(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let preserves = |crd: &Value| crd.get("spec").is_some_and(|spec| spec.flag("preserveUnknownFields"));
    if preserves(object) && !old.is_some_and(preserves) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
            spec.versions[*].schema instead";
        errors.invalid(&Place::root("spec.preserveUnknownFields"), true, detail);
    }
}
