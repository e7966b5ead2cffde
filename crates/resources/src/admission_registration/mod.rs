//! The admissionregistration.k8s.io group.
//!
//! DIVERGES: webhooks are stored and checked, and not called yet; the README says so. Whoever makes a policy need not be allowed
//! to read its parameters.

mod bindings;
mod client_config;
mod expressions;
mod mutating_policy;
pub mod programs;
mod rules;
mod validating_policy;
mod webhooks;

pub(crate) use client_config::{validate_service, validate_url};

use crate::row::Resource;

const API_VERSION: &str = "admissionregistration.k8s.io/v1";
const BETA_VERSION: &str = "admissionregistration.k8s.io/v1beta1";
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

/// The rows.
pub fn rows() -> Vec<Resource> {
    vec![
        webhooks::mutating(),
        webhooks::validating(),
        validating_policy::row(),
        bindings::validating(),
        mutating_policy::row(API_VERSION),
        mutating_policy::row(BETA_VERSION).stored_as("v1"),
        bindings::mutating(API_VERSION),
        bindings::mutating(BETA_VERSION).stored_as("v1"),
    ]
}
