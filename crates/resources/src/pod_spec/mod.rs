//! Pod specs: what pods and the templates of workloads share.

pub mod defaults;
pub mod qos;

use machinery::field::FieldError;
use machinery::json::Value;

use crate::metadata::{validate_annotations, validate_labels};
use crate::place::Place;

/// A template: its labels, annotations and pod spec.
pub(crate) fn validate_template(template: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let metadata = template.get("metadata").unwrap_or(&empty);
    validate_labels(metadata, "labels", &at.field("labels"), errors);
    validate_annotations(metadata, &at.field("annotations"), errors);
}
