//! The resource.k8s.io group: devices, classes of them, and claims on them.

mod allocation;
mod attributes;
mod beta;
mod capacity;
mod claim;
mod claim_rules;
mod class;
mod device;
mod rules;
mod selectors;
mod slice;
mod taint_rule;
mod template;

use crate::row::Resource;

const API_VERSION: &str = "resource.k8s.io/v1";
/// The version that differs from v1 in its name only.
const BETA_2: &str = "resource.k8s.io/v1beta2";
/// The version in which requests and devices are shaped otherwise, see [`beta`].
const BETA_1: &str = "resource.k8s.io/v1beta1";

/// The rows. What is alpha in this group (v1alpha3, with requests for the status of pools) is left out.
pub fn rows() -> Vec<Resource> {
    let makers: [fn(&str) -> Resource; 4] = [class::row, claim::row, template::row, slice::row];
    let stored = makers.iter().map(|row| row(API_VERSION));
    let second = makers.iter().map(|row| row(BETA_2).stored_as("v1"));
    let first = makers.iter().map(|row| beta::reshaped(row(BETA_1)).stored_as("v1"));
    stored.chain(second).chain([taint_rule::row()]).chain(first).collect()
}
