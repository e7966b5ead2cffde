//! Validation of metadata, alike for all objects (`apimachinery/pkg/api/validation/objectmeta.go`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::addresses;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};
use crate::row::NameRule;

/// Bytes that all keys and values of annotations may have together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Finalizers without a domain that are known.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

impl NameRule {
    /// What is wrong with a name.
    pub fn check(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => names::dns1123_subdomain(name),
            Self::Label => names::dns1123_label(name),
            Self::PathSegment => names::path_segment_name(name),
            Self::IpAddress => addresses::canonical_ip(name),
            Self::ConfigMapKey => names::config_map_key(name),
        }
    }

    /// What is wrong with the start of a name that gets generated.
    pub fn check_prefix(self, prefix: &str) -> Vec<String> {
        match self {
            Self::PathSegment => names::path_segment_name(prefix),
            _ => names::as_prefix(prefix, |name| self.check(name)),
        }
    }
}

/// All that is wrong with a new object's metadata; names are generated before.
pub fn validate_metadata(object: &Value, namespaced: bool, rule: NameRule) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = Place::root("metadata");
    let empty = Value::object();
    let metadata = object.get("metadata").unwrap_or(&empty);
    let (name, prefix, namespace) = (metadata.text("name"), metadata.text("generateName"), metadata.text("namespace"));
    if !prefix.is_empty() {
        errors.invalid_each(&at.field("generateName"), prefix, rule.check_prefix(prefix));
    }
    if name.is_empty() {
        errors.required(&at.field("name"), "name or generateName is required");
    } else {
        errors.invalid_each(&at.field("name"), name, rule.check(name));
    }
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&at.field("namespace"), ""),
        (true, false) => errors.invalid_each(&at.field("namespace"), namespace, names::dns1123_label(namespace)),
        (false, false) => errors.forbidden(&at.field("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    common(object, metadata, &at, &mut errors);
    errors
}

/// All that is wrong with a changed object's metadata.
pub fn validate_metadata_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = Place::root("metadata");
    let empty = Value::object();
    let metadata = new.get("metadata").unwrap_or(&empty);
    let old_metadata = old.get("metadata").unwrap_or(&empty);
    if old_metadata.has("deletionTimestamp") {
        no_new_finalizers(metadata, old_metadata, &at, &mut errors);
    }
    if metadata.int("generation").unwrap_or(0) < old_metadata.int("generation").unwrap_or(0) {
        let generation = metadata.int("generation").unwrap_or(0);
        errors.invalid(&at.field("generation"), generation, "must not be decremented");
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !same_at(metadata, old_metadata, &[field]) {
            let value = metadata.get(field).unwrap_or(&Value::Null);
            errors.invalid(&at.field(field), Json(value), "field is immutable");
        }
    }
    common(new, metadata, &at, &mut errors);
    errors
}

fn no_new_finalizers(metadata: &Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut added: Vec<&str> =
        metadata.texts("finalizers").filter(|f| !old.texts("finalizers").any(|known| known == *f)).collect();
    if !added.is_empty() {
        added.sort_unstable();
        let list: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            list.join(", ")
        );
        errors.forbidden(&at.field("finalizers"), &detail);
    }
}

fn common(object: &Value, metadata: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(generation @ ..0) = metadata.int("generation") {
        errors.invalid(&at.field("generation"), generation, "must be greater than or equal to 0");
    }
    validate_labels(metadata, "labels", &at.field("labels"), errors);
    validate_annotations(metadata, &at.field("annotations"), errors);
    validate_owners(metadata, &at.field("ownerReferences"), errors);
    validate_finalizers(object, metadata, &at.field("finalizers"), errors);
}

/// Keys and values of a map of labels.
pub(crate) fn validate_labels(owner: &Value, key: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (label, value) in owner.entries(key).iter() {
        errors.invalid_each(at, label, names::qualified_name(label));
        let value = value.as_str().unwrap_or_default();
        errors.invalid_each(at, value, names::label_value(value));
    }
}

/// Keys of annotations (in any case), and their size.
pub(crate) fn validate_annotations(metadata: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut bytes = 0;
    for (key, value) in metadata.entries("annotations").iter() {
        let wrong = if key.bytes().any(|b| b.is_ascii_uppercase()) {
            names::qualified_name(&key.to_lowercase())
        } else {
            names::qualified_name(key)
        };
        errors.invalid_each(at, key, wrong);
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(at, ANNOTATIONS_BYTES_MAX);
    }
}

fn validate_owners(metadata: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut controller: Option<String> = None;
    for owner in metadata.items("ownerReferences") {
        validate_owner(owner, at, errors);
        if !owner.flag("controller") {
            continue;
        }
        let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
        match &controller {
            None => controller = Some(this),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.invalid(at, Json(metadata.get("ownerReferences").unwrap_or(&Value::Null)), &detail);
            }
        }
    }
}

fn validate_owner(owner: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let api_version = owner.text("apiVersion");
    let parts: Vec<&str> = api_version.split('/').collect();
    if parts.len() > 2 || parts.last().is_none_or(|version| version.is_empty()) {
        errors.invalid(&at.field("apiVersion"), api_version, "version must not be empty");
    }
    for field in ["kind", "name", "uid"] {
        if owner.text(field).is_empty() {
            errors.invalid(&at.field(field), "", &format!("{field} must not be empty"));
        }
    }
    if api_version == "v1" && owner.text("kind") == "Event" {
        errors.invalid(at, Json(owner), "/v1, Kind=Event is disallowed from being an owner");
    }
}

fn validate_finalizers(object: &Value, metadata: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let group = object.text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    // Upstream's other servers (of definitions and their objects, and of API services) ask for no domain.
    // So do events.
    let others = ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&group) || object.text("kind") == "Event";
    for (index, finalizer) in metadata.texts("finalizers").enumerate() {
        errors.invalid_each(at, finalizer, names::qualified_name(finalizer));
        if !others && is_built_in(group) {
            validate_finalizer_domain(finalizer, &at.index(index), errors);
        }
    }
    let has = |name: &str| metadata.texts("finalizers").any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let list = Json(metadata.get("finalizers").unwrap_or(&Value::Null));
        errors.invalid(at, list, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// Whether a group is one of the table: definitions may add others with Kubernetes' own domain.
fn is_built_in(group: &str) -> bool {
    static GROUPS: LazyLock<BTreeSet<String>> =
        LazyLock::new(|| crate::table().iter().map(|row| row.group.clone()).collect());
    GROUPS.contains(group)
}

/// A finalizer of a built-in kind has a domain or is one of those known.
pub(crate) fn validate_finalizer_domain(finalizer: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(at, finalizer, detail);
    }
}

/// A `metav1.LabelSelector`.
pub(crate) fn validate_label_selector(selector: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_labels(selector, "matchLabels", &at.field("matchLabels"), errors);
    for (index, requirement) in selector.items("matchExpressions").iter().enumerate() {
        let list = at.field("matchExpressions");
        validate_requirement(requirement, &list.index(index), errors);
    }
}

fn validate_requirement(requirement: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let operator = requirement.text("operator");
    let empty = requirement.items("values").is_empty();
    match operator {
        "In" | "NotIn" if empty => {
            errors.required(&at.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !empty => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&at.field("values"), detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.invalid(&at.field("operator"), operator, "not a valid selector operator"),
    }
    let key = requirement.text("key");
    errors.invalid_each(&at.field("key"), key, names::qualified_name(key));
    for (index, value) in requirement.texts("values").enumerate() {
        errors.invalid_each(&at.field("values").index(index), value, names::label_value(value));
    }
}
