//! PodCertificateRequests: what nodes ask signers for in the name of their pods.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{keys, pod_certificate_status, signer_name};
use crate::checks::{IMMUTABLE, has_condition};
use crate::metadata::validate_annotations;
use crate::place::{Json, Place, Report};
use crate::read::{Read, present_mut, same_at, selectable, set_default};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, SelectableField, Strategy, Subresource, Target};

const EXPIRATION_SECONDS_DEFAULT: i64 = 86_400;
const EXPIRATION_SECONDS_MIN: i64 = 3600;
/// Of upstream's own signers.
const KUBERNETES_EXPIRATION_SECONDS_MAX: i64 = 86_400;
const EXPIRATION_SECONDS_MAX: i64 = 91 * 86_400;
const UID_LENGTH_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 10 * 1024;

/// The row.
pub fn row() -> Resource {
    let field = |name: &'static str, value| SelectableField::new(name, value);
    Resource::new("certificates.k8s.io/v1beta1", "PodCertificateRequest", "podcertificaterequests")
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("PodName", "The pod.", |object, _| selectable(object, &["spec", "podName"]).into()),
            Column::text("ServiceAccountName", "The pod's service account.", |object, _| {
                selectable(object, &["spec", "serviceAccountName"]).into()
            }),
            Column::text("NodeName", "The pod's node.", |object, _| selectable(object, &["spec", "nodeName"]).into()),
            Column::text("SignerName", "Who is asked to sign.", |object, _| {
                selectable(object, &["spec", "signerName"]).into()
            }),
            Column::text("State", "What became of it.", |object, _| {
                let empty = Value::Null;
                let status = object.get("status").unwrap_or(&empty);
                let state = ["Issued", "Denied", "Failed"].into_iter().find(|kind| has_condition(status, kind));
                state.unwrap_or("Pending").into()
            }),
        ])
        .selectable(vec![
            field("spec.signerName", |object| selectable(object, &["spec", "signerName"])),
            field("spec.podName", |object| selectable(object, &["spec", "podName"])),
            field("spec.nodeName", |object| selectable(object, &["spec", "nodeName"])),
        ])
        .strategy(PodCertificateRequest)
}

struct PodCertificateRequest;

impl Strategy for PodCertificateRequest {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        if let Some(spec) = present_mut(object, "spec") {
            set_default(spec, "maxExpirationSeconds", EXPIRATION_SECONDS_DEFAULT);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        signer_name::validate(spec.text("signerName"), &at.field("signerName"), &mut errors);
        validate_user_annotations(spec, &at.field("unverifiedUserAnnotations"), &mut errors);
        for (name, uid) in [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")]
        {
            errors.invalid_each(&at.field(name), spec.text(name), names::dns1123_subdomain(spec.text(name)));
            if spec.text(uid).is_empty() {
                errors.invalid(&at.field(uid), "", "must not be empty");
            }
            if spec.text(uid).len() > UID_LENGTH_MAX {
                errors.too_long(&at.field(uid), UID_LENGTH_MAX);
            }
        }
        validate_expiration(spec, &at.field("maxExpirationSeconds"), &mut errors);
        validate_key(spec, &at, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return pod_certificate_status::validate(object, old);
        }
        let mut errors = Vec::new();
        if !same_at(object, old, &["spec"]) {
            errors.invalid(&Place::root("spec"), Json(object.get("spec").unwrap_or(&Value::Null)), IMMUTABLE);
        }
        errors
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

fn validate_user_annotations(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut metadata = Value::object();
    for (key, value) in spec.entries("unverifiedUserAnnotations").iter() {
        metadata.set_at(&["annotations", key], value.clone());
        if !key.contains('/') {
            errors.invalid(at, key, "must be a domain-prefixed key (such as \"acme.io/foo\")");
        }
    }
    validate_annotations(&metadata, at, errors);
}

fn validate_expiration(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let seconds = spec.int("maxExpirationSeconds").unwrap_or(0);
    let domain = spec.text("signerName").split('/').next().unwrap_or_default();
    let is_kubernetes = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let max = if is_kubernetes { KUBERNETES_EXPIRATION_SECONDS_MAX } else { EXPIRATION_SECONDS_MAX };
    if !(EXPIRATION_SECONDS_MIN..=max).contains(&seconds) {
        errors.invalid(at, seconds, &format!("must be in the range [{EXPIRATION_SECONDS_MIN}, {max}]"));
    }
}

/// A request, or (as it was at first) a key and a proof that its owner asks.
fn validate_key(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let old_way = ["pkixPublicKey", "proofOfPossession"];
    for field in old_way.iter().chain(&["stubPKCS10Request"]) {
        if keys::bytes(spec.text(field)).len() > KEY_BYTES_MAX {
            errors.too_long(&at.field(field), KEY_BYTES_MAX);
            return;
        }
    }
    let request = spec.text("stubPKCS10Request");
    if request.is_empty() && spec.text("pkixPublicKey").is_empty() {
        errors.required(&at.field("stubPKCS10Request"), "must be set");
        return;
    }
    if request.is_empty() {
        validate_possession(spec, at, errors);
        return;
    }
    for field in old_way.iter().filter(|field| !spec.text(field).is_empty()) {
        errors.forbidden(&at.field(field), "must be empty when stubPKCS10Request is set");
    }
    let at = at.field("stubPKCS10Request");
    let der = keys::bytes(request);
    match keys::key_of_request(&der).and_then(|key| keys::kind(&key)) {
        None => errors.invalid(&at, request, "must be a valid PKCS#10 certificate signing request"),
        Some(kind) => match (kind.problem(), keys::signed_request_problem(&der)) {
            (Some((value, detail)), _) => errors.invalid(&at, value, detail),
            (None, Some(_)) => errors.invalid_together(&at, "could not verify the signature of the request"),
            (None, None) => {}
        },
    }
}

fn validate_possession(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let field = at.field("pkixPublicKey");
    let key = keys::bytes(spec.text("pkixPublicKey"));
    let Some(kind) = keys::kind(&key) else {
        errors.invalid(&field, spec.text("pkixPublicKey"), "must be a valid PKIX-serialized public key");
        return;
    };
    if let Some((value, detail)) = kind.problem() {
        errors.invalid(&field, value, detail);
    } else if !kind.has_signed(&key, spec.text("podUID").as_bytes(), &keys::bytes(spec.text("proofOfPossession"))) {
        errors.invalid_together(&at.field("proofOfPossession"), "could not verify proof-of-possession signature");
    }
}
