//! certificates.k8s.io.

mod cluster_trust_bundle;
mod keys;
mod pem;
mod pod_certificate_request;
mod pod_certificate_status;
mod signer_name;
mod signing_request;
mod signing_request_rules;

use crate::row::Resource;

pub use keys::requested_groups;

/// The rows; what is stored stands before its older form.
pub fn rows() -> Vec<Resource> {
    vec![
        signing_request::row(),
        cluster_trust_bundle::row("v1beta1"),
        pod_certificate_request::row(),
        cluster_trust_bundle::row("v1alpha1").stored_as("v1beta1"),
    ]
}
