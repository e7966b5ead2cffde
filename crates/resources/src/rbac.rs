//! rbac.authorization.k8s.io: roles and bindings.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;
use machinery::selector::LabelSelector;

use crate::cells;
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::{Read, items_mut, same_at, set_default};
use crate::row::{Column, NameRule, Resource, Strategy, Target};

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

/// The rows.
pub fn rows() -> Vec<Resource> {
    let created = || vec![Column::text("Created At", "When the role was made.", created_at)];
    vec![
        Resource::new(API_VERSION, "ClusterRole", "clusterroles")
            .cluster_scoped()
            .columns(created())
            .strategy(Role { namespaced: false }),
        Resource::new(API_VERSION, "ClusterRoleBinding", "clusterrolebindings")
            .cluster_scoped()
            .columns(binding_columns())
            .strategy(Binding { namespaced: false }),
        Resource::new(API_VERSION, "Role", "roles").columns(created()).strategy(Role { namespaced: true }),
        Resource::new(API_VERSION, "RoleBinding", "rolebindings")
            .columns(binding_columns())
            .strategy(Binding { namespaced: true }),
    ]
}

fn created_at(object: &Value, _now: Timestamp) -> Value {
    object.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default().into()
}

fn binding_columns() -> Vec<Column> {
    vec![
        Column::text("Role", "The role that is bound.", |object, _| {
            let role = object.get("roleRef").unwrap_or(&Value::Null);
            format!("{}/{}", role.text("kind"), role.text("name")).into()
        }),
        Column::age(),
        Column::text("Users", "Users that get it.", |object, _| subjects(object, "User")).wide(),
        Column::text("Groups", "Groups that get it.", |object, _| subjects(object, "Group")).wide(),
        Column::text("ServiceAccounts", "Service accounts that get it.", |object, _| {
            subjects(object, "ServiceAccount")
        })
        .wide(),
    ]
}

fn subjects(object: &Value, kind: &str) -> Value {
    let text = |subject: &Value| match subject.text("namespace") {
        namespace if kind == "ServiceAccount" && !namespace.is_empty() => {
            format!("{namespace}/{}", subject.text("name"))
        }
        _ => subject.text("name").to_owned(),
    };
    let all: Vec<String> = object.items("subjects").iter().filter(|s| s.text("kind") == kind).map(text).collect();
    cells::join(&all)
}

struct Role {
    namespaced: bool,
}

impl Strategy for Role {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let list = Place::root("rules");
        for (index, rule) in object.items("rules").iter().enumerate() {
            validate_rule(rule, self.namespaced, &list.index(index), &mut errors);
        }
        if let Some(aggregation) = object.present("aggregationRule") {
            let root = Place::root("aggregationRule");
            let list = root.field("clusterRoleSelectors");
            let selectors = aggregation.items("clusterRoleSelectors");
            if selectors.is_empty() {
                errors.required(&list, "at least one clusterRoleSelector required if aggregationRule is non-nil");
            }
            for (index, selector) in selectors.iter().enumerate() {
                validate_label_selector(selector, &list.index(index), &mut errors);
                if LabelSelector::from_object(Some(selector)).is_err() {
                    errors.invalid(&list.index(index), Json(selector), "invalid label selector.");
                }
            }
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_rule(rule: &Value, namespaced: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = |field: &str| rule.items(field).is_empty();
    if empty("verbs") {
        errors.required(&at.field("verbs"), "verbs must contain at least one value");
    }
    if !empty("nonResourceURLs") {
        let (field, urls) = (at.field("nonResourceURLs"), Json(rule.get("nonResourceURLs").unwrap_or(&Value::Null)));
        if namespaced {
            errors.invalid(&field, urls, "namespaced rules cannot apply to non-resource URLs");
        } else if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
            errors.invalid(&field, urls, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if empty("apiGroups") {
        errors.required(&at.field("apiGroups"), "resource rules must supply at least one api group");
    }
    if empty("resources") {
        errors.required(&at.field("resources"), "resource rules must supply at least one resource");
    }
}

struct Binding {
    namespaced: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        if object.str_at(&["roleRef", "apiGroup"]).unwrap_or_default().is_empty() {
            object.set_at(&["roleRef", "apiGroup"], GROUP);
        }
        for subject in items_mut(object, "subjects") {
            if matches!(subject.text("kind"), "User" | "Group") {
                set_default(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let role = object.get("roleRef").unwrap_or(&empty);
        let at = Place::root("roleRef");
        if role.text("apiGroup") != GROUP {
            errors.unsupported(&at.field("apiGroup"), role.text("apiGroup"), &[GROUP]);
        }
        let kinds: &[&str] = if self.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
        if !kinds.contains(&role.text("kind")) {
            errors.unsupported(&at.field("kind"), role.text("kind"), kinds);
        }
        if role.text("name").is_empty() {
            errors.required(&at.field("name"), "");
        } else {
            errors.invalid_each(&at.field("name"), role.text("name"), names::path_segment_name(role.text("name")));
        }
        let list = Place::root("subjects");
        for (index, subject) in object.items("subjects").iter().enumerate() {
            validate_subject(subject, self.namespaced, &list.index(index), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        if !same_at(object, old, &["roleRef"]) {
            let role = object.get("roleRef").unwrap_or(&Value::Null);
            errors.invalid(&Place::root("roleRef"), Json(role), "cannot change roleRef");
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_subject(subject: &Value, namespaced: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (kind, name, group) = (subject.text("kind"), subject.text("name"), subject.text("apiGroup"));
    if name.is_empty() {
        errors.required(&at.field("name"), "");
    }
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.invalid_each(&at.field("name"), name, names::dns1123_subdomain(name));
            }
            if !group.is_empty() {
                errors.unsupported(&at.field("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.text("namespace").is_empty() {
                errors.required(&at.field("namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => errors.unsupported(&at.field("apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        _ => errors.unsupported(&at.field("kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}
