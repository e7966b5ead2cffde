//! Pod specs: what pods and the templates of workloads share.

mod containers;
pub mod defaults;
mod env;
pub mod match_labels;
mod mounts;
mod probes;
pub mod qos;
pub(crate) mod resize;
pub(crate) mod resources;
pub mod scheduling;
mod security;
pub mod spec;
pub mod update;
pub mod vendor_volumes;
pub mod volumes;
pub mod warnings;

use machinery::field::FieldError;
use machinery::json::Value;

use crate::metadata::{validate_annotations, validate_labels};
use crate::place::{Place, Report};
use crate::read::Read;

/// A template: its labels, annotations and pod spec.
pub(crate) fn validate_template(template: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let metadata = template.get("metadata").unwrap_or(&empty);
    validate_labels(metadata, "labels", &at.field("labels"), errors);
    validate_annotations(metadata, &at.field("annotations"), errors);
    let spec = template.get("spec").unwrap_or(&empty);
    spec::validate(spec, None, &at.field("spec"), errors);
    if !spec.items("ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.forbidden(&at.field("spec.ephemeralContainers"), detail);
    }
}
