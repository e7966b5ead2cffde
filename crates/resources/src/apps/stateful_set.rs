//! StatefulSets.

use machinery::field::FieldError;
use machinery::json::Value;

use super::template::{self as shared, validate_int_or_percent};
use crate::cells;
use crate::place::{Json, Place, Report};
use crate::pod_spec::{self, defaults};
use crate::read::{Read, items_mut, present_mut, same_at, set_default};
use crate::row::{Column, NameRule, Resource, Strategy, Subresource, Target};

/// What updates of the spec may change, in the order in which upstream's message has it.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const FORBIDDEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                         'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                         'minReadySeconds' are forbidden";

/// The row.
pub fn row() -> Resource {
    Resource::new("apps/v1", "StatefulSet", "statefulsets")
        .short_names(&["sts"])
        .categories(&["all"])
        .subresources(&[Subresource::Scale, Subresource::Status])
        .columns(vec![
            Column::text("Ready", "Replicas ready, of those wanted.", |object, _| {
                let ready = cells::number(object, &["status", "readyReplicas"]);
                format!("{ready}/{}", cells::number(object, &["spec", "replicas"])).into()
            }),
            Column::age(),
            Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
            Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
        ])
        .generation()
        .strategy(StatefulSet)
}

struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        set_default(spec, "podManagementPolicy", "OrderedReady");
        set_default(spec, "replicas", 1);
        set_default(spec, "revisionHistoryLimit", 10);
        set_default(spec, "updateStrategy", Value::object());
        if let Some(strategy) = present_mut(spec, "updateStrategy") {
            set_default(strategy, "type", "RollingUpdate");
            if strategy.text("type") == "RollingUpdate" {
                strategy.default_at(&["rollingUpdate", "partition"], 0);
            }
        }
        for event in ["whenDeleted", "whenScaled"] {
            spec.default_at(&["persistentVolumeClaimRetentionPolicy", event], "Retain");
        }
        for claim in items_mut(spec, "volumeClaimTemplates") {
            set_default(claim, "apiVersion", "v1");
            set_default(claim, "kind", "PersistentVolumeClaim");
            claim.default_at(&["spec", "volumeMode"], "Filesystem");
            claim.default_at(&["status", "phase"], "Pending");
        }
        if let Some(template) = present_mut(spec, "template") {
            defaults::template(template);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        let at = Place::root("spec");
        validate_policies(spec, &at, &mut errors);
        shared::validate_not_negative(spec, "replicas", &at, &mut errors);
        shared::validate_not_negative(spec, "minReadySeconds", &at, &mut errors);
        if let Some(ordinals) = spec.present("ordinals") {
            shared::validate_not_negative(ordinals, "start", &at.field("ordinals"), &mut errors);
        }
        shared::validate_selector(spec, &at, "statefulset", &mut errors);
        shared::validate_selected(spec, &at, &mut errors);
        if let Some(template) = spec.present("template") {
            // Claims become volumes of the pods, so mounts may name them.
            let whole = with_claims(template, spec);
            pod_spec::validate_template(&whole, &at.field("template"), &mut errors);
        }
        shared::validate_always_restarts(spec, "StatefulSet", &at, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return validate_status(object, old);
        }
        let mut errors = self.validate(object);
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        let keys = new.as_object().into_iter().chain(old.as_object()).flat_map(|spec| spec.keys());
        let mut fixed = keys.filter(|key| !MUTABLE.contains(key));
        if fixed.any(|key| !same_at(new, old, &[key])) {
            errors.forbidden(&Place::root("spec"), FORBIDDEN);
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn scale_selector(&self, object: &Value) -> String {
        object.at(&["spec", "selector"]).map(cells::selector_text).unwrap_or_default()
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        shared::warnings(object)
    }
}

fn with_claims(template: &Value, spec: &Value) -> Value {
    let mut whole = template.clone();
    let claims = spec.items("volumeClaimTemplates").iter().filter_map(|claim| claim.str_at(&["metadata", "name"]));
    for name in claims {
        let mut volume = Value::object();
        volume.set_at(&["name"], name);
        volume.set_at(&["persistentVolumeClaim", "claimName"], name);
        let volumes = whole.ensure_at(&["spec", "volumes"]);
        match volumes {
            Value::Array(list) if list.iter().any(|v| v.text("name") == name) => {}
            Value::Array(list) => list.push(volume),
            other => *other = Value::Array(vec![volume]),
        }
    }
    whole
}

fn validate_policies(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let field = at.field("podManagementPolicy");
    match spec.text("podManagementPolicy") {
        "" => errors.required(&field, ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(&field, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    let empty = Value::object();
    let strategy = spec.get("updateStrategy").unwrap_or(&empty);
    let field = at.field("updateStrategy");
    match (strategy.text("type"), strategy.present("rollingUpdate")) {
        ("", _) => errors.required(&field, ""),
        ("OnDelete", Some(rolling)) => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid(&field.field("rollingUpdate"), Json(rolling), detail);
        }
        ("RollingUpdate", Some(rolling)) => {
            let at = field.field("rollingUpdate");
            shared::validate_not_negative(rolling, "partition", &at, errors);
            validate_int_or_percent(rolling.get("maxUnavailable"), &at.field("maxUnavailable"), errors);
            if rolling.has("maxUnavailable") && shared::is_zero(rolling.get("maxUnavailable")) {
                let value = Json(rolling.get("maxUnavailable").unwrap_or(&Value::Null));
                errors.invalid(&at.field("maxUnavailable"), value, "cannot be 0");
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => errors.invalid(&field, Json(strategy), "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let policy = spec.get("persistentVolumeClaimRetentionPolicy").unwrap_or(&empty);
    for event in ["whenDeleted", "whenScaled"] {
        let text = policy.text(event);
        if !matches!(text, "Delete" | "Retain") {
            let field = at.field("persistentVolumeClaimRetentionPolicy");
            errors.unsupported(&field.field(event), text, &["Delete", "Retain"]);
        }
    }
}

fn validate_status(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    for field in counts.iter().chain(&["observedGeneration", "collisionCount"]) {
        shared::validate_not_negative(status, field, &at, &mut errors);
    }
    let number = |field: &str| status.int(field).unwrap_or(0);
    for field in &counts[1..] {
        if number(field) > number("replicas") {
            errors.invalid(&at.field(field), number(field), "cannot be greater than status.replicas");
        }
    }
    if number("availableReplicas") > number("readyReplicas") {
        let detail = "cannot be greater than status.readyReplicas";
        errors.invalid(&at.field("availableReplicas"), number("availableReplicas"), detail);
    }
    if number("collisionCount") < old.i64_at(&["status", "collisionCount"]).unwrap_or(0) {
        errors.invalid(&at.field("collisionCount"), number("collisionCount"), "cannot be decremented");
    }
    errors
}
