//! Certificates: requests say who made them, and signers have a say in what is done in their name
//! (CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest upstream).

use machinery::{ApiError, Map, Value};
use resources::Target;
use resources::certificates::requested_groups;

use super::{Operation, Plugin, Review};
use crate::pipeline::{Attributes, Decision};

const GROUP: &str = "certificates.k8s.io";
/// Its certificates are client certificates of the API server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

pub(super) struct Certificates;

impl Plugin for Certificates {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if is_request(review) && (review.operation, review.target) == (Operation::Create, Target::Object) {
            sign_with_user(review);
        }
        Ok(())
    }

    fn validate(&self, review: &Review<'_>) -> Result<(), ApiError> {
        if review.kind.row.group != GROUP || review.operation == Operation::Delete {
            return Ok(());
        }
        match (review.kind.row.plural.as_str(), review.target) {
            ("certificatesigningrequests", Target::Subresource("approval")) => {
                may(review, "approve", "approve requests with")
            }
            ("certificatesigningrequests", Target::Subresource("status")) if changes_answer(review) => {
                may(review, "sign", "sign requests with")
            }
            ("certificatesigningrequests", Target::Object) => restrict_subject(review),
            ("clustertrustbundles", Target::Object) if changes_trust(review) => may(review, "attest", "attest for"),
            _ => Ok(()),
        }
    }
}

fn is_request(review: &Review<'_>) -> bool {
    review.kind.row.group == GROUP && review.kind.row.plural == "certificatesigningrequests"
}

/// Writes the user into a new request, over what the request says of it.
fn sign_with_user(review: &mut Review<'_>) {
    let user = review.user;
    let spec = review.object.ensure_at(&["spec"]);
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove_at(&[field]);
    }
    for (field, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            spec.set_at(&[field], text.as_str());
        }
    }
    if !user.groups.is_empty() {
        spec.set_at(&["groups"], user.groups.clone());
    }
    if !user.extra.is_empty() {
        let extra: Map = user.extra.iter().map(|(key, values)| (key.clone(), values.clone())).collect();
        spec.set_at(&["extra"], extra);
    }
}

fn changes_answer(review: &Review<'_>) -> bool {
    let old = review.old.unwrap_or(&Value::Null);
    ["certificate", "conditions"].iter().any(|field| review.object.at(&["status", field]) != old.at(&["status", field]))
}

fn changes_trust(review: &Review<'_>) -> bool {
    let old = review.old.unwrap_or(&Value::Null);
    review.object.get("spec") != old.get("spec")
}

/// Whether the user may do something in a signer's name (or in that of any signer of its domain).
fn may(review: &Review<'_>, verb: &str, what: &str) -> Result<(), ApiError> {
    let signer = review.object.str_at(&["spec", "signerName"]).unwrap_or_default();
    if signer.is_empty() {
        return Ok(());
    }
    let any_of_domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    let allowed = [signer, &any_of_domain].into_iter().any(|name| {
        let question = Attributes {
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        review.authorizer.authorize(review.user, &question) == Decision::Allow
    });
    if allowed {
        return Ok(());
    }
    Err(review.forbidden(&format!("user not permitted to {what} signerName {signer:?}")))
}

/// Nobody becomes a master of the cluster by a certificate.
fn restrict_subject(review: &Review<'_>) -> Result<(), ApiError> {
    let spec = review.object.get("spec").unwrap_or(&Value::Null);
    if review.operation != Operation::Create || spec.str_at(&["signerName"]) != Some(CLIENT_SIGNER) {
        return Ok(());
    }
    let groups = requested_groups(spec.str_at(&["request"]).unwrap_or_default());
    if groups.iter().any(|group| group == MASTERS) {
        let detail = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
        return Err(review.forbidden(&detail));
    }
    Ok(())
}
