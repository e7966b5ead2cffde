//! Names of resources as limit ranges and quotas use them.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;

/// Objects that quotas count, besides `count/…`.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const COMPUTED: [&str; 9] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE_PAGES: &str = "hugepages-";
const REQUESTED_HUGE_PAGES: &str = "requests.hugepages-";

/// Whether quotas know a name without a domain.
pub(super) fn is_standard_for_quota(name: &str) -> bool {
    COUNTED.contains(&name)
        || COMPUTED.contains(&name)
        || name == "requests.storage"
        || name.starts_with(HUGE_PAGES)
        || name.starts_with(REQUESTED_HUGE_PAGES)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more may be promised of a resource than there is.
pub(super) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

/// Any resource.
pub(super) fn validate_resource(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let wrong = names::qualified_name(name);
    if wrong.is_empty() && !name.contains('/') && name != "storage" && !is_standard_for_quota(name) {
        errors.invalid(at, name, "must be a standard resource type or fully qualified");
    }
    errors.invalid_each(at, name, wrong);
}

/// A resource that containers may ask for.
pub(crate) fn validate_container_resource(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_resource(name, at, errors);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !name.starts_with(HUGE_PAGES) {
            errors.invalid(at, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(at, name, "doesn't follow extended resource name standard");
    }
}

/// A resource that quotas may limit, and its amount.
pub(super) fn validate_quota_entry(name: &str, amount: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_resource(name, at, errors);
    if !name.contains('/') && !is_standard_for_quota(name) {
        errors.invalid(at, name, "must be a standard resource for quota");
    }
    validate_amount(name, amount, at, errors);
}

/// An amount of a resource: not negative, and whole where it is counted.
pub(super) fn validate_amount(name: &str, amount: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(amount) = quantity(amount) else { return };
    if amount.sign() < 0 {
        errors.invalid(at, amount.to_string(), "must be greater than or equal to 0");
    }
    if (COUNTED.contains(&name) || is_extended(name)) && amount.milli_value() % 1000 != 0 {
        errors.invalid(at, amount.to_string(), "must be an integer");
    }
}
