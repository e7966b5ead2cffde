//! Validation of what signers answer to requests of pods.

use jiff::Timestamp;
use machinery::duration;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::time;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{keys, pem};
use crate::checks::has_condition;
use crate::conditions;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};

const AT: Place<'static> = Place::root("status");
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];
const CHAIN_BYTES_MAX: usize = 100 * 1024;
/// How far the certificate's start may be from now, in seconds.
const START_SECONDS_MAX: i64 = 5 * 60;
const LIFETIME_SECONDS_MIN: i64 = 3600;
/// Between the certificate's ends and the moment to renew it, in seconds.
const MARGIN_SECONDS: i64 = 10 * 60;
const EMPTY: Value = Value::Null;

/// All that is wrong with a new status.
pub(super) fn validate(object: &Value, old_object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (new, old) = (object.get("status").unwrap_or(&EMPTY), old_object.get("status").unwrap_or(&EMPTY));
    validate_ends(new, &mut errors);
    conditions::validate(new.items("conditions"), &AT.field("conditions"), &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    let same = same_at(object, old_object, &["status"]);
    let ended = |status: &Value, kinds: &[&str]| kinds.iter().any(|kind| has_condition(status, kind));
    if ended(old, &ENDS) {
        if !same {
            errors.invalid_together(&AT, "immutable after PodCertificateRequest is issued, denied, or failed");
        }
    } else if ended(new, &["Denied", "Failed"]) {
        let others = ["certificateChain", "notBefore", "notAfter", "beginRefreshAt"];
        if others.iter().any(|field| new.present(field).is_some_and(|value| value.as_str() != Some(""))) {
            let detail = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
            errors.invalid_together(&AT, detail);
        }
    } else if ended(new, &["Issued"]) {
        if let Err(error) = validate_issued(object, new) {
            errors.extend(error);
        }
    } else if !same {
        errors.invalid_together(&AT, r#"status is immutable unless transitioning to "Issued", "Denied", or "Failed""#);
    }
    errors
}

/// At most one condition says how it ended, and there are no others.
fn validate_ends(status: &Value, errors: &mut Vec<FieldError>) {
    let mut seen = false;
    for (index, condition) in status.items("conditions").iter().enumerate() {
        // Upstream writes a dot before the index here.
        let index = format!("[{index}]");
        let list = AT.field("conditions");
        let at = list.field(&index);
        let kind = condition.text("type");
        if !ENDS.contains(&kind) {
            errors.unsupported(&at.field("type"), kind, &ENDS);
            continue;
        }
        if seen {
            let detail = r#"There may be at most one condition with type "Issued", "Denied", or "Failed""#;
            errors.invalid(&at.field("type"), kind, detail);
        }
        seen = true;
        if condition.text("status") != "True" {
            errors.unsupported(&at.field("status"), condition.text("status"), &["True"]);
        }
    }
}

/// The first thing that is wrong with what was issued (or the moments that are missing, all of them).
fn validate_issued(object: &Value, status: &Value) -> Result<(), Vec<FieldError>> {
    let chain_at = AT.field("certificateChain");
    let chain = status.text("certificateChain");
    let mut errors = Vec::new();
    if chain.len() > CHAIN_BYTES_MAX {
        errors.too_long(&chain_at, CHAIN_BYTES_MAX);
        return Err(errors);
    }
    let blocks = pem::blocks(chain);
    let wrong = |detail: &str| {
        let mut errors = Vec::new();
        errors.invalid(&chain_at, chain, detail);
        Err(errors)
    };
    let Some((leaf, others)) = blocks.split_first() else {
        return wrong("issued certificate chain must contain at least one certificate");
    };
    if leaf.label != "CERTIFICATE" {
        return wrong("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    let Ok((_, leaf)) = X509Certificate::from_der(&leaf.der) else {
        return wrong("leaf certificate does not parse as valid X.509");
    };
    validate_alternative_names(&leaf, &chain_at, &mut errors);
    if asked_key(object).is_some_and(|key| key != leaf.public_key().raw) {
        return wrong("leaf certificate was not issued to the requested public key");
    }
    validate_moments(object, status, &leaf, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    for block in others {
        if block.label != "CERTIFICATE" {
            return wrong("issued certificate chain must consist entirely of CERTFICATE PEM blocks");
        }
        if X509Certificate::from_der(&block.der).is_err() {
            return wrong("intermediate certificate does not parse as valid X.509");
        }
    }
    Ok(())
}

/// The key that the request is about.
fn asked_key(object: &Value) -> Option<Vec<u8>> {
    let spec = object.get("spec")?;
    match spec.text("stubPKCS10Request") {
        "" => Some(keys::bytes(spec.text("pkixPublicKey"))),
        request => keys::key_of_request(&keys::bytes(request)),
    }
}

fn validate_alternative_names(leaf: &X509Certificate<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return };
    for name in &names.value.general_names {
        match name {
            GeneralName::DNSName(name) => {
                if name.is_empty() {
                    errors.invalid(at, *name, "leaf certificate should not contain empty DNSName");
                }
                if name.contains("..") {
                    errors.invalid(at, *name, "leaf certificate's DNSName should not contain '..'");
                }
                if name.starts_with('.') || name.ends_with('.') {
                    errors.invalid(at, *name, "leaf certificate's DNSName should not start or end with '.'");
                }
            }
            GeneralName::RFC822Name(name) if !name.contains('@') => {
                errors.invalid(at, *name, "leaf certificate should not contain invalid EmailAddress");
            }
            _ => {}
        }
    }
}

/// The moments in the status are the certificate's, and sensible.
fn validate_moments(object: &Value, status: &Value, leaf: &X509Certificate<'_>, errors: &mut Vec<FieldError>) {
    let moment = |field: &str| time::parse(status.text(field)).ok().map(Timestamp::as_second);
    let required = [
        ("notBefore", "must be present and consistent with the issued certificate"),
        ("notAfter", "must be present and consistent with the issued certificate"),
        ("beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]"),
    ];
    for (field, detail) in required.iter().filter(|(field, _)| moment(field).is_none()) {
        errors.required(&AT.field(field), detail);
    }
    let (Some(start), Some(end), Some(refresh)) = (moment("notBefore"), moment("notAfter"), moment("beginRefreshAt"))
    else {
        return;
    };
    let max = object.i64_at(&["spec", "maxExpirationSeconds"]).unwrap_or(0);
    let lifetime = end - start;
    let (of_leaf, now) = (leaf.validity(), seams::clock::now().as_second());
    let too_long = format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({max})");
    let rules: [(bool, &str, &str); 7] = [
        (
            start == of_leaf.not_before.timestamp(),
            "notBefore",
            "must be set to the NotBefore time encoded in the leaf certificate",
        ),
        (
            (start - now).abs() < START_SECONDS_MAX,
            "notBefore",
            "must be set to within 5 minutes of kube-apiserver's current time",
        ),
        (
            end == of_leaf.not_after.timestamp(),
            "notAfter",
            "must be set to the NotAfter time encoded in the leaf certificate",
        ),
        (lifetime >= LIFETIME_SECONDS_MIN, "certificateChain", "leaf certificate lifetime must be >= 1 hour"),
        (lifetime <= max, "certificateChain", &too_long),
        (refresh >= start + MARGIN_SECONDS, "beginRefreshAt", "must be at least 10 minutes after status.notBefore"),
        (refresh <= end - MARGIN_SECONDS, "beginRefreshAt", "must be at least 10 minutes before status.notAfter"),
    ];
    let Some((_, field, detail)) = rules.into_iter().find(|(holds, ..)| !holds) else { return };
    if field == "certificateChain" {
        errors.invalid(&AT.field(field), duration::format_go(lifetime * 1_000_000_000), detail);
    } else {
        errors.invalid(&AT.field(field), Json(status.get(field).unwrap_or(&EMPTY)), detail);
    }
}
