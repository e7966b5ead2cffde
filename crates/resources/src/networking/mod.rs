//! networking.k8s.io.

mod ingress;
mod ingress_backends;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

use crate::row::Resource;

/// The rows; what is stored in v1 stands before its older form.
pub fn rows() -> Vec<Resource> {
    vec![
        ingress_class::row(),
        ingress::row(),
        ip_address::row("v1"),
        network_policy::row(),
        service_cidr::row("v1"),
        ip_address::row("v1beta1").stored_as("v1"),
        service_cidr::row("v1beta1").stored_as("v1"),
    ]
}
