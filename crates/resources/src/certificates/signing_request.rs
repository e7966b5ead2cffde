//! CertificateSigningRequests.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::{duration, time};

use super::signing_request_rules as rules;
use crate::cells;
use crate::read::{Read, items_mut, selectable, set_default};
use crate::row::{Column, NameRule, Resource, SelectableField, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests")
        .cluster_scoped()
        .short_names(&["csr"])
        .subresources(&[Subresource::Approval, Subresource::Status])
        .columns(vec![
            Column::age(),
            Column::text("SignerName", "Who is asked to sign.", |object, _| {
                cells::or_none(object.str_at(&["spec", "signerName"]).unwrap_or_default())
            }),
            Column::text("Requestor", "Who asks.", |object, _| {
                object.str_at(&["spec", "username"]).unwrap_or_default().into()
            }),
            Column::text("RequestedDuration", "How long the certificate shall last.", |object, _| {
                match object.i64_at(&["spec", "expirationSeconds"]) {
                    Some(seconds) => duration::human(seconds).into(),
                    None => cells::NONE.into(),
                }
            }),
            Column::text("Condition", "What became of it.", |object, _| condition(object).into()),
        ])
        .selectable(vec![SelectableField::new("spec.signerName", |object| selectable(object, &["spec", "signerName"]))])
        .strategy(SigningRequest)
}

/// `Approved,Issued`
fn condition(object: &Value) -> String {
    let empty = Value::Null;
    let status = object.get("status").unwrap_or(&empty);
    let has = |kind: &str| status.items("conditions").iter().any(|c| c.text("type") == kind);
    let mut words = vec![match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }];
    if has("Failed") {
        words.push("Failed");
    }
    if !status.text("certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

struct SigningRequest;

impl Strategy for SigningRequest {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
    }

    /// Requests do not change, but for what is decided about them.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        let wanted = object.remove_at(&["status", "conditions"]);
        for field in ["spec", "status"] {
            if target != Target::Subresource("status") || field == "spec" {
                object.set_at(&[field], old.get(field).cloned().unwrap_or_else(Value::object));
            }
        }
        if target == Target::Object {
            return;
        }
        match wanted {
            Some(conditions) => object.set_at(&["status", "conditions"], conditions),
            None => {
                object.remove_at(&["status", "conditions"]);
            }
        }
        if target == Target::Subresource("status") {
            for kind in ["Approved", "Denied"] {
                keep_conditions(object, old, kind);
            }
        }
        set_moments(object, old);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        rules::validate_update(object, old, target)
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }
}

/// Conditions of a type that are still there are what they were.
fn keep_conditions(object: &mut Value, old: &Value, kind: &str) {
    let is_kind = |c: &&Value| c.text("type") == kind;
    let before: Vec<Value> = old
        .get("status")
        .map(|status| status.items("conditions").iter().filter(is_kind).cloned().collect())
        .unwrap_or_default();
    let Some(status) = object.get_mut("status") else { return };
    if status.items("conditions").iter().filter(is_kind).count() != before.len() {
        return;
    }
    let now = items_mut(status, "conditions").iter_mut().filter(|c| c.text("type") == kind);
    for (condition, before) in now.zip(before) {
        *condition = before;
    }
}

/// Says when conditions were written and when they turned, where nobody said it.
fn set_moments(object: &mut Value, old: &Value) {
    let now = time::format(seams::clock::now());
    let empty = Value::Null;
    let before = old.get("status").unwrap_or(&empty).items("conditions");
    let Some(status) = object.get_mut("status") else { return };
    for condition in items_mut(status, "conditions") {
        set_default(condition, "lastUpdateTime", now.as_str());
        if condition.has("lastTransitionTime") {
            continue;
        }
        let same = before.iter().find(|old| {
            old.text("type") == condition.text("type")
                && old.text("status") == condition.text("status")
                && old.has("lastTransitionTime")
        });
        let turned = same.map_or(now.as_str(), |old| old.text("lastTransitionTime")).to_owned();
        condition.set_at(&["lastTransitionTime"], turned);
    }
}
