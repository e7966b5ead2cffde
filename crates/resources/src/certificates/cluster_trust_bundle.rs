//! ClusterTrustBundles: certificates of authorities, for everybody.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{pem, signer_name};
use crate::cells;
use crate::checks::validate_immutable;
use crate::place::{Place, Report};
use crate::read::{same_at, selectable};
use crate::row::{Column, NameRule, Resource, SelectableField, Strategy, Target};

const OMITTED: &str = "<value omitted>";

/// The row of a version.
pub fn row(version: &str) -> Resource {
    Resource::new(&format!("certificates.k8s.io/{version}"), "ClusterTrustBundle", "clustertrustbundles")
        .cluster_scoped()
        .columns(vec![Column::text("SignerName", "Whose authorities they are.", |object, _| {
            cells::or_none(object.str_at(&["spec", "signerName"]).unwrap_or_default())
        })])
        .selectable(vec![SelectableField::new("spec.signerName", |object| selectable(object, &["spec", "signerName"]))])
        .strategy(ClusterTrustBundle)
}

struct ClusterTrustBundle;

impl Strategy for ClusterTrustBundle {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validate_names(object);
        let bundle = object.str_at(&["spec", "trustBundle"]).unwrap_or_default();
        validate_bundle(bundle, &Place::root("spec.trustBundle"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let same = same_at(object, old, &["spec", "trustBundle"]);
        let mut errors = if same { validate_names(object) } else { self.validate(object) };
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        validate_immutable(new, old, "signerName", &Place::root("spec"), &mut errors);
        errors
    }

    /// The name depends on the signer: see [`validate_names`].
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }
}

/// The bundle's own name, which starts with its signer's, and that.
fn validate_names(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    let signer = object.str_at(&["spec", "signerName"]).unwrap_or_default();
    let at = Place::root("metadata.name");
    let prefix = format!("{}:", signer.replace('/', ":"));
    match (signer.is_empty(), name.strip_prefix(&prefix)) {
        (true, _) if name.contains(':') => {
            errors.invalid(&at, name, "ClusterTrustBundle without signer name must not have \":\" in its name");
        }
        (true, _) => errors.invalid_each(&at, name, names::dns1123_subdomain(name)),
        (false, Some(rest)) => errors.invalid_each(&at, name, names::dns1123_subdomain(rest)),
        (false, None) => {
            let detail = format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
            errors.invalid(&at, name, &detail);
        }
    }
    if !signer.is_empty() {
        signer_name::validate(signer, &Place::root("spec.signerName"), &mut errors);
    }
    errors
}

fn validate_bundle(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let blocks = pem::blocks(text);
    let before = errors.len();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(problem) = anchor_problem(block) {
            errors.invalid(at, OMITTED, &format!("entry {index} {problem}"));
        }
    }
    if errors.len() > before {
        return;
    }
    if blocks.is_empty() {
        errors.invalid(at, OMITTED, "at least one trust anchor must be provided");
    }
    for (index, block) in blocks.iter().enumerate() {
        let same: Vec<String> =
            (0..blocks.len()).filter(|other| blocks[*other].der == block.der).map(|i| i.to_string()).collect();
        if same.len() > 1 && same[0] == index.to_string() {
            errors.invalid(at, OMITTED, &format!("duplicate trust anchor (indices [{}])", same.join(" ")));
        }
    }
}

fn anchor_problem(block: &pem::Block) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    if block.has_headers {
        return Some("has PEM block headers".to_owned());
    }
    let Ok((_, certificate)) = X509Certificate::from_der(&block.der) else {
        return Some("does not parse as X.509".to_owned());
    };
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => None,
        Ok(_) => Some("does not have the CA bit set".to_owned()),
        Err(_) => Some("has invalid basic constraints".to_owned()),
    }
}
