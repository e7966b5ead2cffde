//! Validation of signing requests. What was wrong before may stay wrong, as upstream has it.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{keys, signer_name};
use crate::checks::repeats;
use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::Target;

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// All usages, in upstream's order.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Conditions that are true, or not there.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];
const EMPTY: Value = Value::Null;

/// All that is wrong with a request; `old` is what it was.
pub(super) fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (spec, at) = (object.get("spec").unwrap_or(&EMPTY), Place::root("spec"));
    let old_spec = old.map(|old| old.get("spec").unwrap_or(&EMPTY));
    if let Some(problem) = keys::request_problem(spec.text("request")) {
        errors.invalid(&at.field("request"), spec.text("request"), &problem);
    }
    validate_usages(spec, old_spec, &at.field("usages"), &mut errors);
    let signer = spec.text("signerName");
    if signer == LEGACY_SIGNER && old_spec.is_none_or(|old| old.text("signerName") != LEGACY_SIGNER) {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.invalid(&at.field("signerName"), signer, detail);
    } else {
        signer_name::validate(signer, &at.field("signerName"), &mut errors);
    }
    if let Some(seconds) = spec.int("expirationSeconds").filter(|seconds| *seconds < EXPIRATION_SECONDS_MIN) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&at.field("expirationSeconds"), seconds, detail);
    }
    let status = object.get("status").unwrap_or(&EMPTY);
    let old_status = old.map(|old| old.get("status").unwrap_or(&EMPTY));
    validate_conditions(status, old_status, &mut errors);
    validate_certificate(status, old_status, &mut errors);
    errors
}

fn validate_usages(spec: &Value, old: Option<&Value>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let usages: Vec<&str> = spec.texts("usages").collect();
    if usages.is_empty() {
        errors.required(list, "");
    }
    let before: Vec<&str> = old.map(|old| old.texts("usages").collect()).unwrap_or_default();
    if !before.iter().any(|usage| !USAGES.contains(usage)) {
        for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !USAGES.contains(usage)) {
            errors.unsupported(&list.index(index), *usage, &USAGES);
        }
    }
    if !repeats(&before).contains(&true) {
        for (index, _) in repeats(&usages).into_iter().enumerate().filter(|(_, repeated)| *repeated) {
            errors.duplicate(&list.index(index), usages[index]);
        }
    }
}

fn types(status: &Value) -> Vec<&str> {
    status.items("conditions").iter().map(|c| c.text("type")).collect()
}

fn validate_conditions(status: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let before = old.map(types).unwrap_or_default();
    let kinds = types(status);
    let repeated = repeats(&kinds);
    let may_be_empty = before.contains(&"");
    let may_repeat = repeats(&before).contains(&true);
    let may_contradict = before.contains(&"Approved") && before.contains(&"Denied");
    let first = |kind: &str| kinds.iter().position(|known| *known == kind);
    let (approved, denied) = (first("Approved"), first("Denied"));
    let list = Place::root("status.conditions");
    for (index, condition) in status.items("conditions").iter().enumerate() {
        let (at, kind) = (list.index(index), kinds[index]);
        if kind.is_empty() && !may_be_empty {
            errors.required(&at.field("type"), "");
        }
        let known: &[&str] = if DECISIONS.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        match condition.text("status") {
            "" => errors.required(&at.field("status"), ""),
            status if !known.contains(&status) => errors.unsupported(&at.field("status"), status, known),
            _ => {}
        }
        let opposite = if kind == "Approved" { denied } else { approved };
        let decides = matches!(kind, "Approved" | "Denied");
        if !may_contradict && decides && opposite.is_some_and(|other| other < index) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(&at.field("type"), kind, detail);
        }
        if !may_repeat && repeated[index] {
            errors.duplicate(&at.field("type"), kind);
        }
    }
}

fn validate_certificate(status: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let certificate = status.text("certificate");
    let may_be_wrong = old.is_some_and(|old| {
        old.text("certificate") == certificate || keys::certificates_problem(old.text("certificate")).is_some()
    });
    if let Some(problem) = keys::certificates_problem(certificate).filter(|_| !may_be_wrong) {
        errors.invalid(&Place::root("status.certificate"), "<certificate data>", &problem);
    }
}

/// All that is wrong with a change of a request, of what is decided about it, or of its certificate.
pub(super) fn validate_update(object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
    let mut errors = validate(object, Some(old));
    let (new, old) = (object.get("status").unwrap_or(&EMPTY), old.get("status").unwrap_or(&EMPTY));
    let at = Place::root("status.conditions");
    let of = |status: &Value, kind: &str| -> Vec<Value> {
        status.items("conditions").iter().filter(|c| c.text("type") == kind).cloned().collect()
    };
    for kind in DECISIONS {
        if of(new, kind).len() < of(old, kind).len() {
            errors.forbidden(&at, &format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    if target != Target::Subresource("approval") {
        for kind in ["Approved", "Denied"] {
            let (now, before) = (of(new, kind), of(old, kind));
            if now.len() > before.len() {
                errors.forbidden(&at, &format!("updates may not add a condition of type {kind:?}"));
            } else if now.len() == before.len() && now != before {
                errors.forbidden(&at, &format!("updates may not modify a condition of type {kind:?}"));
            }
        }
    }
    if new.text("certificate") != old.text("certificate") {
        let at = Place::root("status.certificate");
        if target != Target::Subresource("status") {
            errors.forbidden(&at, "updates may not set certificate content");
        } else if !old.text("certificate").is_empty() {
            errors.forbidden(&at, "updates may not modify existing certificate content");
        }
    }
    errors
}
